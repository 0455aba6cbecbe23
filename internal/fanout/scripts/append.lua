-- Appends one entry, and publishes the same bytes.
-- KEYS: meta, log, ckpt. ARGV: term, nonce, epoch, after, count, body, TTL in seconds, publishing command, channel, then for
-- each topic in the entry its number and the place of its last change, from 1.
-- Answers the seq reached, as a number, fenced, position, or epoch.
local meta = redis.call('HMGET', KEYS[1], 'term', 'nonce', 'epoch', 'seq', 'after', 'run')
if not meta[1] then
  return {'epoch'}
end
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then
  return {'fenced'}
end
if not meta[3] or meta[3] ~= ARGV[3] then
  return {'epoch'}
end
-- Numbers are compared as the texts that they are stored as.
local here, done = meta[4] == ARGV[4], meta[5] == ARGV[4]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if meta[6] ~= run then
  -- Another server, after a fail-over or a restart: it may lack what the old one acknowledged. If it is just where this
  -- owner is, nothing was lost.
  if not here and not done then
    return {'epoch'}
  end
  redis.call('HSET', KEYS[1], 'run', run)
end
if not here then
  if done then
    return tonumber(meta[4])
  end
  return {'position'}
end

for i = 1, 3 do
  redis.call('EXPIRE', KEYS[i], ARGV[7])
end
local count = tonumber(ARGV[5])
if count == 0 then
  return tonumber(meta[4])
end

local after = tonumber(ARGV[4])
local seq = string.format('%.0f', after + count)
local header = {ARGV[3], string.format('%.0f', after + 1), ARGV[5]}
local set = {'seq', seq, 'after', ARGV[4]}
for i = 10, #ARGV, 2 do
  local field = 'p' .. ARGV[i]
  header[#header + 1] = ARGV[i] .. ':' .. (redis.call('HGET', KEYS[1], field) or '0')
  set[#set + 1] = field
  set[#set + 1] = string.format('%.0f', after + tonumber(ARGV[i + 1]))
end
local message = table.concat(header, ' ') .. '\n' .. ARGV[6]
-- First what can fail, for want of memory: a script isn't rolled back.
redis.call('XADD', KEYS[2], seq .. '-0', 'e', message)
redis.call('HSET', KEYS[1], unpack(set))
redis.call('HINCRBY', KEYS[1], 'bytes', #message)
redis.call('EXPIRE', KEYS[2], ARGV[7])
redis.call(ARGV[8], ARGV[9], message)
return after + count
