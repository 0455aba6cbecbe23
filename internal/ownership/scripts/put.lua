-- ARGV: conference, sealed password, TTL in s.
local known = redis.call('HEXISTS', conferences, ARGV[1]) == 1 or #livenamers(ARGV[1]) > 0
redis.call('HSET', conferences, ARGV[1], ARGV[2])
redis.call('EXPIRE', conferences, ARGV[3])
bump(ARGV[1])
return {known and '0' or '1'}
