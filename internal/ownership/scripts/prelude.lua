-- What all scripts share. KEYS: meta, workers, infos, conferences, named, owners, terms, handovers, offers, changes, demand.
local meta, workers, infos, conferences, named, owners, terms, handovers, offers, changes, demand = unpack(KEYS)
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function text(n) return string.format('%.0f', n) end

local function alive(worker)
  local over = worker and redis.call('ZSCORE', workers, worker)
  return over and tonumber(over) > now
end

-- Writes down that a conference changed. The stream is short: who is further behind reads everything. What was written gets
-- its time to live here too, since a fleet may die before its next poll.
local function bump(conf)
  for _, key in ipairs({meta, owners, terms, handovers, offers}) do redis.call('EXPIRE', key, 86400) end
  local version = redis.call('HINCRBY', meta, 'version', 1)
  redis.call('XADD', changes, 'MAXLEN', '~', '4096', text(version) .. '-0', 'c', conf)
  redis.call('EXPIRE', changes, 86400)
end

local function livenamers(conf)
  local live = {}
  for worker in string.gmatch(redis.call('HGET', named, conf) or '', '%S+') do
    if alive(worker) then live[#live + 1] = worker end
  end
  return live
end

-- "successor phase" of the handover under way; nil where there is none.
local function handover(conf)
  local h = redis.call('HGET', handovers, conf)
  if h then return string.match(h, '^(%S+) (%S+)$') end
end

local function endhandover(conf)
  redis.call('HDEL', handovers, conf)
  redis.call('HDEL', offers, conf)
end

-- All that is known of a conference, ten texts. The offer is for the successor only.
local function record(conf, me)
  local sealed = redis.call('HGET', conferences, conf)
  local to, phase = handover(conf)
  local offer = ''
  if to == me then offer = redis.call('HGET', offers, conf) or '' end
  local wanted = redis.call('ZSCORE', demand, conf)
  return {conf, sealed and '1' or '0', sealed or '', redis.call('HGET', named, conf) or '',
    redis.call('HGET', owners, conf) or '', redis.call('HGET', terms, conf) or '0',
    to or '', phase or '', offer, wanted and text(math.max(tonumber(wanted) - now, 0)) or '0'}
end
