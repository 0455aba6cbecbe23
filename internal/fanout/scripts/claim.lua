-- Raises the fence of a conference.
-- KEYS: meta, log, ckpt. ARGV: nonce, TTL in seconds.
-- Answers the new term, and the position; the epoch is empty where continuity was lost: there is nothing, the server isn't
-- the one that the log was written to, or a part of the log is gone (expired, evicted).
local meta = redis.call('HMGET', KEYS[1], 'term', 'epoch', 'seq', 'run')
local term = (tonumber(meta[1]) or 0) + 1
redis.call('HSET', KEYS[1], 'term', string.format('%.0f', term), 'nonce', ARGV[1])
-- What the old claim did last is no answer to the new one.
redis.call('HDEL', KEYS[1], 'after')
for i = 1, 3 do
  redis.call('EXPIRE', KEYS[i], ARGV[2])
end

local epoch, seq = meta[2], meta[3]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if not epoch or meta[4] ~= run then
  return {string.format('%.0f', term), '', '0'}
end
local stored = redis.call('HMGET', KEYS[3], 'epoch', 'seq')
if stored[1] ~= epoch or (stored[2] ~= seq and redis.call('EXISTS', KEYS[2]) == 0) then
  return {string.format('%.0f', term), '', '0'}
end
return {string.format('%.0f', term), epoch, seq}
