-- Stores again what was put before the records were lost, where nobody has since.
-- ARGV: TTL in s, then conference and sealed password of each.
for i = 2, #ARGV, 2 do
  if redis.call('HSETNX', conferences, ARGV[i], ARGV[i + 1]) == 1 then
    bump(ARGV[i])
  end
end
redis.call('EXPIRE', conferences, ARGV[1])
return {}
