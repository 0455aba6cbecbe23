-- ARGV: conference.
if #livenamers(ARGV[1]) > 0 then return {'named'} end
if redis.call('HDEL', conferences, ARGV[1]) == 0 then return {'none'} end
redis.call('ZREM', demand, ARGV[1])
bump(ARGV[1])
return {'ok'}
