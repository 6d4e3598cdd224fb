-- decide.lua: the storm decision for new episodes of one group, in one atomic step.
--
-- Is a storm open? Then the episode joins it. Else it is counted in the sliding window; the episode that brings the
-- count to the threshold opens the storm, which takes in the whole window. A storm that was quiet for too long, or is
-- too old, is closed here first, so that nothing joins it however late the sweep is.
--
-- An alert that came while the store was away counts at the time of its receipt: it joins the storm that was open then,
-- or is counted among those that came within a window of it, whatever was decided meanwhile; the storm that it opens
-- began then, and may be quiet by now. If the threshold is reached before the window of a storm that is open already,
-- that storm began earlier than was known, and its window with it. A storm that ends between two alerts of one call ends
-- the call: the caller must record who joined it before it hears of the close, so the rest is not answered yet.
--
-- A group's time never goes back: where the clock was set back (or a failover led to a server whose clock is behind),
-- time stands still until the clock has caught up, for five minutes at most. The rows find a storm's window by the
-- times of its decisions, so an earlier decision must not look later than the opening.
--
-- KEYS  1 state       hash: open (only while a storm is), opened_us, opened_by, window_from_us, last_us, count, quiet_us,
--                     max_us, reopened_us, notified_us: the open storm or the last one; closed, closed_us,
--                     closed_reason: the last storm that was closed
--       2 window      sorted set: member -> us; what was counted in the window and is in no storm
--       3 decisions   hash: episode -> answer
--       4 remembered  sorted set: episode -> us; the same episodes by time
-- ARGV  1 now_us      '' for the store's own clock; tests pass a clock of theirs
--       2 threshold   number of episodes
--       3 window_us   4 hold_us   5 quiet_us   6 max_us   7 reopen_us   of the policy, microseconds
--       8 storm       id to use if this call opens a storm
--       9 memory_us   how long an answer is remembered
--      10 known       id of the storm that the database knows as open, or ''
--      11 known_opened_us  12 known_quiet_us  13 known_max_us  14 known_count   of that storm
--      15 known_window_from_us   of that storm
--      16 known_wins  '1': the database's storm replaces whatever is open here (after a conflict there)
--      17 waiting_us  since when alerts wait that came while the store was away, or '': they may have kept an open storm
--                     from being quiet, so one that was quiet only later is not closed for that
--      18 n           number of window members that the database knows, then n pairs: member, us;
--                     -1: not asked yet, so a store that forgot the group replies { 'cold' } and decides nothing;
--                     so does one whose storm the rows do not know yet, if it matters for an alert of the past
--      then           the episodes to decide, in their order, each 'episode', 'episode/member' or 'episode/member/us':
--                     a member of its own name makes several episodes (of a flapping alert) count as one; us is when
--                     it came, if the store was away then (the member may be empty)
-- RETURNS { now_us, open, opened_us, opened_by, window_from_us, notify, reopened_us, { answer, answer, ... } }
--      open           id of the open storm or '' (then what follows of it is '' too)
--      notify         '1' at most once per second and storm: its resource is worth a refresh
--      reopened_us    when it was reopened last, or ''
--      window_from_us since when what came belongs to the storm
--      answers        in the order of the episodes, of the first of them at least
--      answer         'outcome|count|decided_us|storm|release_us', empty where a field does not apply; decided_us is
--                     the time that it counts at
-- TTL   state two days after its last use, none while a storm is open; the others as long as they can matter.

local state, window, decisions, remembered = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local threshold, window_us, hold_us = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local quiet_us, max_us, reopen_us = ARGV[5], ARGV[6], tonumber(ARGV[7])
local proposed, memory_us = ARGV[8], tonumber(ARGV[9])
local known, known_opened_us, known_quiet_us, known_max_us = ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local known_count, known_window_from_us, known_wins = ARGV[14], ARGV[15], ARGV[16] == '1'
local waiting_us, hints, first = tonumber(ARGV[17]), tonumber(ARGV[18]), 19 + 2 * math.max(tonumber(ARGV[18]), 0)
local STATE_TTL_MS, NOTIFY_US, STAND_STILL_US, SETTLED_US = 172800000, 1000000, 300000000, 5000000

local function text(number) return string.format('%.0f', number) end

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function not_before(us)
  if us > now and us - now <= STAND_STILL_US then now = us end
end

local s = {}
local raw = redis.call('HGETALL', state)
for i = 1, #raw, 2 do s[raw[i]] = raw[i + 1] end
local cold = #raw == 0
if s.seen_us then not_before(tonumber(s.seen_us)) end

-- The database is the truth: restore its open storm unless it was closed here, or a newer one was opened here.
if known ~= '' and known ~= s.open
    and (known_wins or (known ~= s.closed and (not s.open or tonumber(known_opened_us) > tonumber(s.opened_us)))) then
  not_before(tonumber(known_opened_us))
  s = { closed = s.closed, closed_us = s.closed_us, closed_reason = s.closed_reason,
        open = known, opened_us = known_opened_us, opened_by = '', window_from_us = known_window_from_us, last_us = text(now),
        count = known_count, quiet_us = known_quiet_us, max_us = known_max_us, notified_us = '0' }
  -- What was answered under another storm holds no longer.
  redis.call('DEL', decisions, remembered, window)
elseif cold and hints < 0 then
  return { 'cold' }
end
local came = first <= #ARGV and tonumber(ARGV[first]:match('([^/]*)$'))
if came and s.open and s.open ~= known and came <= tonumber(s.window_from_us)
    and now - tonumber(s.opened_us) < SETTLED_US then
  -- Who is in it is still being recorded; they count with what came just before.
  return { 'cold' }
end
for i = 1, hints do
  not_before(tonumber(ARGV[18 + 2 * i]))
  redis.call('ZADD', window, 'GT', ARGV[18 + 2 * i], ARGV[17 + 2 * i])
end

-- When the open storm ends by itself, and why.
local function ending()
  local quiet_end, max_end = tonumber(s.last_us) + tonumber(s.quiet_us), tonumber(s.opened_us) + tonumber(s.max_us)
  if waiting_us and waiting_us < quiet_end then quiet_end = math.huge end
  if quiet_end <= max_end then return quiet_end, 'quiet' end
  return max_end, 'max_duration'
end

-- More than come in, or a busy group's memory would grow for ever; no more than Lua unpacks.
local forget = math.min(math.max(100, 2 * #ARGV), 4000)
local old = redis.call('ZRANGEBYSCORE', remembered, '-inf', text(now - memory_us), 'LIMIT', 0, forget)
if #old > 0 then
  redis.call('HDEL', decisions, unpack(old))
  redis.call('ZREM', remembered, unpack(old))
end

-- A storm that closed by itself a moment ago goes on, if the policy says so and it is not too old.
local function may_reopen(us)
  return s.closed and (s.closed_reason == 'quiet' or s.closed_reason == 'resolved') and s.opened_us
    and us >= tonumber(s.closed_us) and us - tonumber(s.closed_us) <= reopen_us
    and us < tonumber(s.opened_us) + tonumber(s.max_us)
end

-- Of all windows with `us` in them the first that reaches the threshold, else one of the fuller: how many, since when.
local function fullest_window(us)
  local count, from = redis.call('ZCOUNT', window, '(' .. text(us - window_us), text(us)), us - window_us
  if us == now or count >= threshold
      or redis.call('ZCOUNT', window, '(' .. text(us - window_us), '(' .. text(us + window_us)) < threshold then
    return math.max(count, 1), from
  end
  local members = redis.call('ZRANGEBYSCORE', window, '(' .. text(us - window_us), '(' .. text(us + window_us), 'WITHSCORES')
  local oldest = 1
  for latest = count + 1, #members / 2 do
    if count >= threshold then break end
    local ends = tonumber(members[2 * latest])
    while tonumber(members[2 * oldest]) <= ends - window_us do oldest = oldest + 1 end
    if latest - oldest + 1 > count then count, from = latest - oldest + 1, ends - window_us end
  end
  return math.max(count, 1), from
end

-- The open storm began earlier than was known: how many it takes in for that.
local function begin_earlier(from)
  local older = redis.call('ZCOUNT', window, '(' .. text(from), s.window_from_us)
  s.window_from_us, s.count = text(from), text(tonumber(s.count) + older)
end

-- One of the past that joins: with those that came right before the storm's window, too few by themselves, and the
-- members around it there may have been enough.
local looked_back = {}
local function look_back(member, us)
  -- They are decided in the order of their receipt: where nothing came before for one, nothing did for the next.
  if redis.call('ZCOUNT', window, '(' .. text(us - window_us), s.window_from_us) == 0 then return end
  redis.call('ZADD', window, 'GT', text(us), member)
  looked_back[#looked_back + 1] = member
  local count, from = fullest_window(us)
  if count >= threshold and from < tonumber(s.window_from_us) then begin_earlier(from) end
end

local answers = {}
local function decide(episode, member, us)
  if not s.open and reopen_us > 0 and may_reopen(us) then
    s.open, s.reopened_us, s.notified_us = s.closed, text(us), '0'
    s.closed, s.closed_us, s.closed_reason = nil, nil, nil
  end
  if s.open and (us == now or us > tonumber(s.window_from_us)) then
    s.count, s.last_us = text(tonumber(s.count) + 1), text(math.max(us, tonumber(s.last_us)))
    if us < now then look_back(member, us) end
    return 'aggregated', s.count, s.open, ''
  end
  redis.call('ZADD', window, 'GT', text(us), member)
  local count, from = fullest_window(us)
  if count < threshold then
    if hold_us == 0 then return 'individual', text(count), '', '' end
    return 'held', text(count), '', text(now + hold_us)
  end
  if s.open then
    begin_earlier(from)
    return 'aggregated', s.count, s.open, ''
  end
  s.open, s.opened_us, s.opened_by, s.last_us = proposed, text(from + window_us), episode, text(from + window_us)
  s.window_from_us, s.count, s.quiet_us, s.max_us, s.notified_us = text(from), text(count), quiet_us, max_us, '0'
  s.reopened_us = nil
  return 'storm_opened', text(count), proposed, ''
end

local joined = false
for i = first, #ARGV do
  local episode, member, came = ARGV[i]:match('^([^/]*)/?([^/]*)/?(.*)$')
  if member == '' then member = episode end
  local us = math.min(tonumber(came) or now, now)
  if s.open then
    local ends, reason = ending()
    if ends <= us then
      if joined then break end
      s.closed, s.closed_us, s.closed_reason, s.open = s.open, text(ends), reason, nil
    end
  end
  local answer = redis.call('HGET', decisions, episode)
  -- An answer under a storm that closed since was never recorded (else the caller would not ask): count it anew.
  local decided_us, storm
  if answer then decided_us, storm = answer:match('^[^|]*|[^|]*|([^|]*)|([^|]*)|') end
  if not answer or (storm ~= '' and storm ~= s.open) then
    local outcome, count, release_us
    outcome, count, storm, release_us = decide(episode, member, us)
    answer = table.concat({ outcome, count, text(us), storm, release_us }, '|')
    redis.call('HSET', decisions, episode, answer)
    redis.call('ZADD', remembered, text(now), episode)
  elseif tonumber(came) and storm == '' then
    -- Not recorded then, so it is in no hint: those after it count it all the same.
    redis.call('ZADD', window, 'GT', decided_us, member)
  end
  joined = joined or storm ~= ''
  answers[#answers + 1] = answer
end

-- What was decided after the opening of a storm that began in the past, and before that was known, is not in it.
local counted_from = now - window_us
if s.open then counted_from = math.max(counted_from, tonumber(s.opened_us)) end
redis.call('ZREMRANGEBYSCORE', window, '-inf', text(counted_from))
if s.open and #looked_back > 0 then redis.call('ZREM', window, unpack(looked_back)) end

local notify = '0'
if s.open and now - tonumber(s.notified_us) >= NOTIFY_US then
  s.notified_us, notify = text(now), '1'
end

local fields = { 'seen_us', text(now) }
for field, value in pairs(s) do
  if field ~= 'seen_us' then
    fields[#fields + 1], fields[#fields + 2] = field, value
  end
end
redis.call('DEL', state)
redis.call('HSET', state, unpack(fields))
if not s.open then redis.call('PEXPIRE', state, STATE_TTL_MS) end
redis.call('PEXPIRE', window, math.ceil(window_us / 1000) + 1000)
redis.call('PEXPIRE', decisions, math.ceil(memory_us / 1000))
redis.call('PEXPIRE', remembered, math.ceil(memory_us / 1000))

if not s.open then return { text(now), '', '', '', '', notify, '', answers } end
return { text(now), s.open, s.opened_us, s.opened_by, s.window_from_us, notify, s.reopened_us or '', answers }
