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
	local kept = redis.pcall('HSET', KEYS[2], ARGV[2], report)
	-- A full server must not cut everybody off: whoever waits is then told below,
	-- or waits out the lease. Any other refusal may say that this is no master any
	-- more, which must grant nothing.
	if type(kept) == 'table' and kept.err and not string.find(kept.err, 'OOM') then return kept end
	for i = 7, #ARGV do
		redis.pcall('PUBLISH', ARGV[i], 'a ' .. ARGV[2] .. ' ' .. e .. ' ' .. ARGV[4])
	end
end
return { e, text(head), text(floor), granted, records }
