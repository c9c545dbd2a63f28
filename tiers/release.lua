-- Gives the key back, where the token holds it.
--
-- KEYS: the claim
-- ARGV: token, channel, name for the channel
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
