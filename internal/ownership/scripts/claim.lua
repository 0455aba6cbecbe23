-- ARGV: worker, its previous incarnation, conferences. Answers lost, or a term and a reason for each, both empty where it was
-- refused.
local me, previous = ARGV[1], ARGV[2]
if not alive(me) then return {'lost'} end
local answer = {}
for i = 3, #ARGV do
  local conf = ARGV[i]
  local owner = redis.call('HGET', owners, conf)
  local to, phase = handover(conf)
  local reason = ''
  if owner == me then
    reason = 'again'
  elseif not owner then
    reason = 'start'
  elseif owner == previous then
    reason = 'again'
  elseif not alive(owner) then
    reason = 'death'
  elseif to == me and phase == 'offered' then
    reason = 'handover'
  end
  local term = ''
  if reason ~= '' then
    if owner == me then
      term = redis.call('HGET', terms, conf) or '0'
    else
      term = text(redis.call('HINCRBY', terms, conf, 1))
      redis.call('HSET', owners, conf, me)
      endhandover(conf)
      bump(conf)
    end
  end
  answer[#answer + 1] = term
  answer[#answer + 1] = reason
end
return answer
