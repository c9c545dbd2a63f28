-- Lets a claim last longer, where the token has it.
--
-- KEYS: the claim
-- ARGV: token, ttl (ms)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
