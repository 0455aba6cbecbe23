-- ARGV: worker, then for each step conference, action, successor, phase, offer. Answers 1 or 0 for each.
local me, answer = ARGV[1], {}
for i = 2, #ARGV, 5 do
  local conf, action, successor, wanted, offer = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local mine = redis.call('HGET', owners, conf) == me and alive(me)
  local to, phase = handover(conf)
  local done = false
  if action == 'propose' then
    done = mine and not to and alive(successor)
    if done then redis.call('HSET', handovers, conf, successor .. ' ' .. wanted) end
  elseif action == 'accept' then
    done = to == me and (phase == 'proposed' or phase == 'breaking')
    if done then redis.call('HSET', handovers, conf, me .. ' ready') end
  elseif action == 'offer' then
    done = mine and to == successor and phase == 'ready'
    if done then
      redis.call('HSET', handovers, conf, successor .. ' offered')
      redis.call('HSET', offers, conf, offer)
    end
  elseif action == 'withdraw' then
    done = mine
    if done then endhandover(conf) end
  elseif action == 'decline' then
    done = to == me
    if done then endhandover(conf) end
  end
  if done then bump(conf) end
  answer[#answer + 1] = done and '1' or '0'
end
return answer
