-- Removes a frame, where it is still the one of that birth and time.
--
-- KEYS: the key
-- ARGV: field, epoch, seq, time (ms)
local raw = redis.call('HGET', KEYS[1], 'i')
local ok, index = pcall(cjson.decode, raw or '')
if not ok or type(index) ~= 'table' or type(index.f) ~= 'table' then
  return 0
end
local row = index.f[ARGV[1]]
if type(row) ~= 'table' or row[1] ~= ARGV[2] or row[2] ~= ARGV[3] or row[3] ~= ARGV[4] then
  return 0
end
index.f[ARGV[1]] = nil
if next(index.f) == nil and index.m == '' then
  redis.call('UNLINK', KEYS[1])
else -- the mark stays, and so does the time that the key has left
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HSET', KEYS[1], 'i', cjson.encode(index))
end
return 1
