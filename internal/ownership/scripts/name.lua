-- ARGV: worker, conferences.
for i = 2, #ARGV do
  local live = livenamers(ARGV[i])
  local mine = false
  for _, worker in ipairs(live) do mine = mine or worker == ARGV[1] end
  if not mine then live[#live + 1] = ARGV[1] end
  redis.call('HSET', named, ARGV[i], table.concat(live, ' '))
  bump(ARGV[i])
end
return {}
