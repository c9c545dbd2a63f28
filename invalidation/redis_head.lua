-- Stands before each of the scripts of the log.
-- KEYS: the stream of records, the register. ARGV[1]: a random word.

-- The epoch is another one whenever Redis may have lost what it acknowledged:
-- the word is lost with the data, the server's run_id changes with a restart,
-- and the master_replid with each change of the master, also back to one whose
-- process has lived on. The word stands in the register, so that neither can be
-- lost alone, and where the stream is lost it is drawn anew.
local function epoch()
	local word = redis.call('HGET', KEYS[2], '.epoch')
	if not word or redis.call('EXISTS', KEYS[1]) == 0 then
		word = ARGV[1]
		redis.call('HSET', KEYS[2], '.epoch', word)
		if redis.call('EXISTS', KEYS[1]) == 0 then
			redis.call('XADD', KEYS[1], '0-1', 'r', '', 'a', '0')
			redis.call('XDEL', KEYS[1], '0-1')
		end
	end
	local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
	local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
	return string.sub(redis.sha1hex(word .. run .. replication), 1, 16)
end

local function seqOf(id) return tonumber(string.match(id, '^(%d+)')) end

-- text writes a number without an exponent.
local function text(n) return string.format('%.0f', n) end

-- bounds returns the sequence number of the last record, which survives
-- trimming, and that before the oldest one that is kept.
local function bounds()
	local info = redis.call('XINFO', 'STREAM', KEYS[1])
	local head, floor = 0, nil
	for i = 1, #info, 2 do
		if info[i] == 'last-generated-id' then head = seqOf(info[i + 1]) end
		if info[i] == 'first-entry' and info[i + 1] then floor = seqOf(info[i + 1][1]) - 1 end
	end
	return head, floor or head
end

local function clock()
	local t = redis.call('TIME')
	return t[1] * 1000 + math.floor(t[2] / 1000)
end
