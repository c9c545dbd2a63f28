-- Appends a record and tells it.
-- ARGV: random word, record, how many records are kept, how many milliseconds
-- each, the channel, 1 for the register.
local e, now = epoch(), clock()
local head = bounds()
local seq = head + 1
-- Under an explicit id, so that the numbers have no gap whatever was refused.
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], text(seq) .. '-0', 'r', ARGV[2], 'a', text(now))
-- Two of the oldest at most for each that comes: it cannot grow, and takes no long time.
local keep
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 2)) do
	if tonumber(entry[2][4]) < now - ARGV[4] then keep = seqOf(entry[1]) + 1 end
end
if keep then redis.call('XTRIM', KEYS[1], 'MINID', text(keep) .. '-0') end
-- The record is in the log, whether it can be told or not.
redis.pcall('PUBLISH', ARGV[5], 'r ' .. e .. ' ' .. text(seq) .. ' ' .. text(now) .. ' ' .. ARGV[2])
local members = {}
if ARGV[6] == '1' then members = redis.call('HGETALL', KEYS[2]) end
return { e, text(seq), text(now), members }
