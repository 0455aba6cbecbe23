-- ARGV: span in ms, conferences. Only what wasn't in demand is a change.
redis.call('ZREMRANGEBYSCORE', demand, '-inf', text(now))
for i = 2, #ARGV do
  local before = redis.call('ZSCORE', demand, ARGV[i])
  redis.call('ZADD', demand, text(math.max(now + tonumber(ARGV[1]), tonumber(before or '0'))), ARGV[i])
  if not before then bump(ARGV[i]) end
end
return {}
