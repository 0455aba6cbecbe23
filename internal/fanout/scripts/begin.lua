-- Starts an epoch, at seq 0.
-- KEYS: meta, log, ckpt. ARGV: term, nonce, epoch, checkpoint body, memory, TTL in seconds, publishing command, channel.
-- Answers the seq reached, fenced, or epoch (the claim itself is gone).
local meta = redis.call('HMGET', KEYS[1], 'term', 'nonce')
if not meta[1] then
  return {'epoch'}
end
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then
  return {'fenced'}
end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'term', ARGV[1], 'nonce', ARGV[2], 'epoch', ARGV[3], 'seq', '0', 'run', run, 'bytes', '0')
redis.call('HSET', KEYS[3], 'epoch', ARGV[3], 'seq', '0', 'prev', '', 'body', ARGV[4], 'memory', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('EXPIRE', KEYS[3], ARGV[6])
redis.call(ARGV[7], ARGV[8], ARGV[3] .. ' 0 0\n')
return 0
