-- Reports where an instance stands, returns what it has not applied, and grants
-- its lease where that is all.
-- ARGV: random word, id or nothing, epoch and sequence number that it has
-- applied, its lease in milliseconds, how many records it takes and about how
-- many bytes of them, and for each instance that is to be told the channel.
local e = epoch()
local head, floor = bounds()
local applied = tonumber(ARGV[4])
local same = ARGV[3] == e and applied <= head
local from = floor
if same and applied > floor then from = applied end
-- A few at a time, and no more than can be sent within a time-out: who cannot
-- read a page would never get past it.
local records, count, left = {}, tonumber(ARGV[6]), tonumber(ARGV[7])
while from + #records < head and #records < count and left > 0 do
	local few = redis.call('XRANGE', KEYS[1], text(from + #records + 1) .. '-0', '+', 'COUNT', math.min(16, count - #records))
	if #few == 0 then break end
	for _, entry in ipairs(few) do
		records[#records + 1] = entry
		left = left - #entry[2][2]
	end
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
	for i = 8, #ARGV do
		redis.pcall('PUBLISH', ARGV[i], 'a ' .. ARGV[2] .. ' ' .. e .. ' ' .. ARGV[4])
	end
end
return { e, text(head), text(floor), granted, records }
