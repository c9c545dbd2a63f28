-- Returns frames without their bodies, in the order of the fields, until it has
-- read so much that others should have their turn; but always one.
--
-- KEYS: the key
-- ARGV: most bytes, length of a frame's header, where the metadata's length is in it, fields
local left, header, at = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local heads = {}
for i = 4, #ARGV do
  left = left - redis.call('HSTRLEN', KEYS[1], ARGV[i])
  if left < 0 and i > 4 then
    break
  end
  local frame = redis.call('HGET', KEYS[1], ARGV[i]) or ''
  local size = 0
  if #frame >= header then
    size = struct.unpack('>I4', string.sub(frame, at, at + 3))
  end
  heads[#heads + 1] = string.sub(frame, 1, header + size)
end
return heads
