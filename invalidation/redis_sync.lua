-- Reports where an instance stands, returns what it has not applied, and grants
-- its lease where that is all.
-- ARGV: random word, id or nothing, epoch and sequence number that it has
-- applied, its lease in milliseconds, how many records it takes, and for each
-- instance that is to be told the channel.
local e = epoch()
local head, floor = bounds()
local applied = tonumber(ARGV[4])
local same = ARGV[3] == e and applied <= head
local from = floor
if same and applied > floor then from = applied end
local records = {}
if from < head then
	records = redis.call('XRANGE', KEYS[1], text(from + 1) .. '-0', '+', 'COUNT', ARGV[6])
end
local granted = 0
if ARGV[2] ~= '' and same then
	if from + #records == head then granted = 1 end
	local report = e .. ' ' .. ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. text(clock())
	-- A server that is full refuses what may grow, but not in a script that has
	-- deleted something before: it must not cut everybody off. And nobody may hold
	-- a lease without standing here, because nobody would wait for it.
	redis.call('HDEL', KEYS[2], ARGV[2])
	redis.call('HSET', KEYS[2], ARGV[2], report)
	for i = 7, #ARGV do
		redis.pcall('PUBLISH', ARGV[i], 'a ' .. ARGV[2] .. ' ' .. e .. ' ' .. ARGV[4])
	end
end
return { e, text(head), text(floor), granted, records }
