-- limit.lua: may a receiver send so many alerts now? Asked and counted in one call.
--
-- A leaky bucket (GCRA): each alert uses up 1/limit of a minute. `until_us` is when all that was let in is used up; a
-- batch is let in if that is at most a minute away after it. A batch larger than the limit is let in when nothing is
-- used up, or it could never be sent; the minute after it is then used up too.
--
-- KEYS  1 until    string: microseconds
-- ARGV  1 now_us   '' for the store's own clock
--       2 limit    alerts per minute, at least 1
--       3 count    alerts in the batch, at least 1
-- RETURNS 0: they are let in, and counted; else the microseconds after which they may be sent again
-- TTL   two minutes, after which nothing is used up in any case.

local key, limit, count = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local MINUTE = 60000000

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local each = MINUTE / limit
-- Not beyond what can have been used up: the clock may have been set back.
local used_until = math.min(math.max(tonumber(redis.call('GET', key) or 0), now), now + 2 * MINUTE)
local wait = used_until + math.min(count, limit) * each - (now + MINUTE)
-- Half a microsecond is rounding.
if wait > 0.5 then return math.ceil(wait) end

used_until = math.min(used_until + count * each, now + 2 * MINUTE)
redis.call('SET', key, string.format('%.0f', used_until), 'PX', 120000)
return 0
