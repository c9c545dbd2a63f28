-- Gives the key to one holder, and tells it what is there now: between its look
-- and its claim another may have come to an end.
--
-- KEYS: the key, its claim
-- ARGV: token, ttl (ms), fields
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return {0, redis.call('PTTL', KEYS[2])}
end
return {1, redis.call('HMGET', KEYS[1], unpack(ARGV, 3))}
