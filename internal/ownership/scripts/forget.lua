-- ARGV: conferences.
for i = 1, #ARGV do
  local conf = ARGV[i]
  if redis.call('HEXISTS', conferences, conf) == 0 and #livenamers(conf) == 0
    and not alive(redis.call('HGET', owners, conf)) then
    for _, key in ipairs({named, owners, terms, handovers, offers}) do redis.call('HDEL', key, conf) end
    redis.call('ZREM', demand, conf)
    bump(conf)
  end
end
return {}
