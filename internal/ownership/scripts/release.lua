-- ARGV: worker, conferences.
for i = 2, #ARGV do
  if redis.call('HGET', owners, ARGV[i]) == ARGV[1] then
    redis.call('HDEL', owners, ARGV[i])
    endhandover(ARGV[i])
    bump(ARGV[i])
  end
end
return {}
