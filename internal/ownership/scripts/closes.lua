redis.call('HSET', meta, 'closes', text(now))
return {text(redis.call('HINCRBY', meta, 'closed', 1))}
