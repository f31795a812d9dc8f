-- Charges each of the budgets once, or none of them where one has no room (GCRA over Redis's own clock).
-- KEYS: the budgets. ARGV: of each in turn, what one charge puts on it and what may be on it, in nanoseconds.
-- Answers of each in turn: what is on it now, and how long until there is room; in microseconds, as everything here.
-- A budget is the moment at which nothing will be on it any more, and expires then.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stored = redis.call('MGET', unpack(KEYS))
local answer, room = {}, true
for i = 1, #KEYS do
  local one, whole = ARGV[2 * i - 1] / 1000, ARGV[2 * i] / 1000
  local free_at = tonumber(stored[i] or '') or 0
  local used = math.min(math.max(free_at - now, 0), whole)
  local missing = used + one - whole
  room = room and missing <= 0
  answer[2 * i - 1], answer[2 * i] = used, math.max(math.ceil(missing), 0)
end
if room then
  for i = 1, #KEYS do
    local used = answer[2 * i - 1] + ARGV[2 * i - 1] / 1000
    answer[2 * i - 1] = used
    redis.call('SET', KEYS[i], string.format('%.3f', now + used), 'PX', math.ceil(used / 1000))
  end
end
return answer
