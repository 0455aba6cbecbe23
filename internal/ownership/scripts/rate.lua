-- The place of one more call in the schedule of an API (GCRA). KEYS: rate. ARGV: configured interval between calls and burst
-- tolerance in µs, interval and tolerance learned from the provider (0: none), the longest wait in µs that is worth a place,
-- TTL in s of what was learned.
-- Answers the wait in µs and whether the place is taken.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
if tonumber(ARGV[3]) > 0 then
  redis.call('HSET', KEYS[1], 'interval', ARGV[3], 'tolerance', ARGV[4], 'until', string.format('%.0f', now + ARGV[6] * 1000000))
end
local kept = redis.call('HMGET', KEYS[1], 'interval', 'tolerance', 'until', 'next')
if kept[3] and tonumber(kept[3]) > now and tonumber(kept[1]) > interval then
  interval, tolerance = tonumber(kept[1]), tonumber(kept[2])
end
-- No later than a whole burst from now: a server whose clock was set back mustn't stop everything.
local next = math.max(tonumber(kept[4] or '0'), now)
local wait = math.max(next - tolerance - now, 0)
local taken = wait <= tonumber(ARGV[5])
if taken then
  redis.call('HSET', KEYS[1], 'next', string.format('%.0f', next + interval))
end
redis.call('EXPIRE', KEYS[1], math.max(tonumber(ARGV[6]), 60) * 2)
return {string.format('%.0f', wait), taken and '1' or '0'}
