-- close.lua: close one storm of a group, atomically against a join.
--
-- A join and a close of one group are two script calls, so one comes first: an alert that joined before is a member
-- (and a storm that was to close for quietness stays open), one that comes after is counted anew.
--
-- KEYS  1 state    hash, see decide.lua
-- ARGV  1 now_us   '' for the store's own clock
--       2 storm    id
--       3 reason   recorded with the close
--       4 idle_us  close only if no episode joined for this long; 0: close in any case
--       5 last_us  when the last episode joined, as the database knows it; counts where the store forgot
-- RETURNS { verdict, us, reason }
--       verdict    'closed': it is closed, at us, for reason (perhaps since an earlier call); for 'quiet' and
--                  'max_duration' that is when it ended by itself, however late this is called
--                  'active': an episode joined too recently, at us
--                  'other':  another storm is open in this group, so nothing can join this one any more
-- TTL   state two days.

local state, storm, reason = KEYS[1], ARGV[2], ARGV[3]
local idle_us, known_last_us = tonumber(ARGV[4]), tonumber(ARGV[5])

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local function text(number) return string.format('%.0f', number) end

local s = redis.call('HMGET', state, 'open', 'last_us', 'closed', 'closed_us', 'closed_reason', 'seen_us',
  'opened_us', 'max_us')
local open, last_us, closed, seen_us = s[1], s[2], s[3], tonumber(s[6] or '0')
-- The group's time never goes back, as in decide.lua: what joined did so before the close.
if seen_us > now and seen_us - now <= 300000000 then now = seen_us end
if closed == storm then return { 'closed', s[4], s[5] } end
if open and open ~= storm then return { 'other', text(now), '' } end

local last = known_last_us
if open then last = tonumber(last_us) end
if now - last < idle_us then return { 'active', text(last), '' } end

local closed_us = now
if reason == 'quiet' and idle_us > 0 then closed_us = math.min(now, last + idle_us) end
if reason == 'max_duration' and open then closed_us = math.min(now, tonumber(s[7]) + tonumber(s[8])) end

-- What was the open storm's stays, for decide.lua may reopen it.
redis.call('HDEL', state, 'open')
redis.call('HSET', state, 'closed', storm, 'closed_us', text(closed_us), 'closed_reason', reason, 'seen_us', text(now))
redis.call('PEXPIRE', state, 172800000)
return { 'closed', text(closed_us), reason }
