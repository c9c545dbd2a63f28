-- Removes all that the key holds, and marks it.
--
-- KEYS: the key
-- ARGV: mark, for how long it is remembered (ms)
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], 'i', cjson.encode({m = ARGV[1], f = {}}))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
