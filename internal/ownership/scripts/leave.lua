-- ARGV: worker.
redis.call('ZREM', workers, ARGV[1])
redis.call('HDEL', infos, ARGV[1])
return {}
