-- Puts a frame in its place, where the key's mark is the writer's and nothing of
-- a later birth is there. The index is kept in step.
--
-- KEYS: the key, its claim
-- ARGV: field, frame, note, mark, epoch, seq, time (ms), ttl (ms), expiry (ms), most fields, token, channel, name for the channel
local field, mark, epoch, seq, time = ARGV[1], ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local index = {m = '', f = {}}
local raw = redis.call('HGET', KEYS[1], 'i')
if raw then
  local ok, read = pcall(cjson.decode, raw)
  if ok and type(read) == 'table' and type(read.m) == 'string' and type(read.f) == 'table' then
    index = read
  else
    redis.call('UNLINK', KEYS[1])
  end
end

local function later(other)
  if other[1] == epoch and tonumber(other[2]) ~= seq then
    return tonumber(other[2]) > seq
  end
  return tonumber(other[3]) > time
end

local stored = 0
if index.m == mark and not (index.f[field] and later(index.f[field])) then
  index.f[field] = {epoch, ARGV[6], ARGV[7], ARGV[9], ARGV[3]}
  local names, now = {}, tonumber(ARGV[9]) - tonumber(ARGV[8])
  for name, it in pairs(index.f) do
    if name ~= field then
      if tonumber(it[4]) < now then
        redis.call('HDEL', KEYS[1], name)
        index.f[name] = nil
      else
        names[#names + 1] = name
      end
    end
  end
  table.sort(names, function(a, b) return tonumber(index.f[a][3]) < tonumber(index.f[b][3]) end)
  for i = 1, #names + 1 - tonumber(ARGV[10]) do -- the oldest
    redis.call('HDEL', KEYS[1], names[i])
    index.f[names[i]] = nil
  end
  redis.call('HSET', KEYS[1], field, ARGV[2], 'i', cjson.encode(index))
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[8]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[8])
  end
  stored = 1
end

if ARGV[11] ~= '' and redis.call('GET', KEYS[2]) == ARGV[11] then
  redis.call('DEL', KEYS[2])
  redis.call('PUBLISH', ARGV[12], ARGV[13])
end
return stored
