-- Stores a checkpoint, and trims the stream up to it as far as the resume window allows.
-- KEYS: meta, log, ckpt. ARGV: term, nonce, epoch, seq, prev, body, memory, TTL in seconds, window in milliseconds, window in
-- bytes.
-- Answers the seq reached, fenced, or epoch.
--
-- Entry ids are seqs, so what is old has to be remembered: meta's "marks" says for moments in the past what seq and how many
-- bytes the log had reached then, "time:seq:bytes " each. "cut" is how many bytes had been appended up to the last trimming.
local meta = redis.call('HMGET', KEYS[1], 'term', 'nonce', 'epoch', 'seq', 'bytes', 'marks', 'cut')
if not meta[1] then
  return {'epoch'}
end
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then
  return {'fenced'}
end
local upto = tonumber(ARGV[4])
if not meta[3] or meta[3] ~= ARGV[3] or tonumber(meta[4]) < upto then
  return {'epoch'}
end
local stored = redis.call('HMGET', KEYS[3], 'epoch', 'seq')
if stored[1] ~= ARGV[3] or tonumber(stored[2]) <= upto then
  redis.call('HSET', KEYS[3], 'epoch', ARGV[3], 'seq', ARGV[4], 'prev', ARGV[5], 'body', ARGV[6], 'memory', ARGV[7])
end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local window, limit = tonumber(ARGV[9]), tonumber(ARGV[10])
local total, cut = tonumber(meta[5]) or 0, tonumber(meta[7]) or 0
local marks, newest, weight = {}, -math.huge, 0
for at, seq, bytes in string.gmatch(meta[6] or '', '(%d+):(%d+):(%d+) ') do
  marks[#marks + 1] = {tonumber(at), tonumber(seq), tonumber(bytes)}
  newest, weight = tonumber(at), tonumber(bytes)
end
-- A mark each 64th of the window, in time or in bytes, is fine enough and keeps the field short.
if now - newest >= window / 64 or total - weight >= limit / 64 then
  marks[#marks + 1] = {now, tonumber(meta[4]), total}
end
local trim, rest = 0, {}
for _, m in ipairs(marks) do
  -- Everything up to the mark's seq is at least as old as the mark. A mark beyond the checkpoint waits.
  if m[2] <= upto and (now - m[1] >= window or total - cut > limit) then
    trim, cut = m[2], m[3]
  else
    rest[#rest + 1] = string.format('%.0f:%.0f:%.0f ', m[1], m[2], m[3])
  end
end
redis.call('HSET', KEYS[1], 'marks', table.concat(rest), 'cut', string.format('%.0f', cut))
if trim > 0 then
  redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f-0', trim + 1))
end
for i = 1, 3 do
  redis.call('EXPIRE', KEYS[i], ARGV[8])
end
return tonumber(meta[4])
