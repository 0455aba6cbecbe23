-- ARGV: worker, mode (join, renew, look), info, lease in ms, fleet and version that the worker knows, a name for the fleet if
-- it has none, TTL of the keys in s, TTL of the conferences in s.
local me, mode = ARGV[1], ARGV[2]
if redis.call('HSETNX', meta, 'fleet', ARGV[7]) == 1 then
  -- Nothing was there, or what was there is old: versions begin again.
  redis.call('DEL', changes)
end
local lost = '0'
if mode == 'renew' and not alive(me) then
  lost = '1'
elseif mode ~= 'look' then
  redis.call('ZADD', workers, text(now + tonumber(ARGV[4])), me)
  if redis.call('HGET', infos, me) ~= ARGV[3] then redis.call('HSET', infos, me, ARGV[3]) end
end
if mode ~= 'look' then
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', text(now), 'LIMIT', 0, 64)) do
    redis.call('ZREM', workers, dead)
    redis.call('HDEL', infos, dead)
  end
  for i = 1, #KEYS do
    redis.call('EXPIRE', KEYS[i], KEYS[i] == conferences and ARGV[9] or ARGV[8])
  end
end

local version = tonumber(redis.call('HGET', meta, 'version') or '0')
local fleet = redis.call('HGET', meta, 'fleet')
local peers = {}
local live = redis.call('ZRANGEBYSCORE', workers, '(' .. text(now), '+inf', 'WITHSCORES')
for i = 1, #live, 2 do
  peers[#peers + 1] = {live[i], text(tonumber(live[i + 1]) - now), redis.call('HGET', infos, live[i]) or '{}'}
end

-- What changed, or everything where that isn't known any more.
local known = tonumber(ARGV[6])
local whole, seen, records = fleet ~= ARGV[5] or known > version, {}, {}
if not whole and known < version then
  local news = redis.call('XRANGE', changes, text(known + 1) .. '-0', '+', 'COUNT', 1000)
  whole = #news == 0 or news[1][1] ~= text(known + 1) .. '-0'
  if not whole then
    for _, n in ipairs(news) do seen[n[2][2]] = true end
    version = tonumber(string.match(news[#news][1], '^%d+'))
  end
end
if whole then
  for _, key in ipairs({conferences, named, owners}) do
    for _, conf in ipairs(redis.call('HKEYS', key)) do seen[conf] = true end
  end
end
for conf in pairs(seen) do records[#records + 1] = record(conf, me) end

local closes = redis.call('HGET', meta, 'closes')
closes = closes and now - tonumber(closes) < 86400000
return {lost, fleet, text(version), whole and '1' or '0', closes and '1' or '0', peers, records}
