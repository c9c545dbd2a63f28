-- Returns the register.
local e = epoch()
local head = bounds()
return { e, text(head), text(clock()), redis.call('HGETALL', KEYS[2]) }
