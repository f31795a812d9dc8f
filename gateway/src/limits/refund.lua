-- Takes one charge back from each of the budgets, over Redis's own clock. KEYS, ARGV and the answers as in gcra.lua.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stored = redis.call('MGET', unpack(KEYS))
local answer = {}
for i = 1, #KEYS do
  local free_at = tonumber(stored[i] or '') or 0
  local used = math.max(free_at - now - ARGV[2 * i - 1] / 1000, 0)
  if free_at > now then
    redis.call('SET', KEYS[i], string.format('%.3f', now + used), 'PX', math.max(math.ceil(used / 1000), 1))
  end
  answer[2 * i - 1], answer[2 * i] = used, 0
end
return answer
