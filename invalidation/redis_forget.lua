-- Takes an instance out of the register, where it has not reported since.
-- KEYS: the register. ARGV: id, its report as it was.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
	return redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
