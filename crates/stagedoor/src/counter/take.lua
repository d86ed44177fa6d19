-- Takes tokens of many keys by GCRA. Of each key: the TAT, in microseconds of this server's clock.
-- ARGV, six for each key: microseconds for one token, microseconds for all of them, the least and
-- the most that is taken, how many come back, and 1 where it goes together with the one before.
-- Answers two numbers for each key: tokens given, and microseconds until it is at rest.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {}

-- What a key would give; nothing is written yet.
local function look(at)
  local a = (at - 1) * 6
  local emission, tolerance = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local least, most = tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local back = tonumber(ARGV[a + 5])
  local tat = tonumber(redis.call('GET', KEYS[at]) or now)
  -- a limit that was lowered, or a clock that was set back, holds nobody longer than the limit does
  tat = math.min(math.max(tat, now), now + tolerance)
  tat = math.max(tat - back * emission, now)
  local tokens = math.min(most, math.floor((now + tolerance - tat) / emission))
  return { tat = tat, emission = emission, tokens = tokens, short = tokens < least, back = back }
end

local function settle(at, seen, short)
  local tokens = short and 0 or seen.tokens
  local tat = seen.tat + tokens * seen.emission
  if tokens > 0 or seen.back > 0 then
    if tat > now then
      local rest = math.ceil((tat - now) / 1000)
      redis.call('SET', KEYS[at], string.format('%.0f', tat), 'PX', rest)
    else
      redis.call('DEL', KEYS[at])
    end
  end
  answers[#answers + 1] = tokens
  answers[#answers + 1] = tat - now
end

local first = 1
while first <= #KEYS do
  local seen, short = {}, false
  local last = first
  repeat
    seen[last] = look(last)
    short = short or seen[last].short
    last = last + 1
  until last > #KEYS or ARGV[(last - 1) * 6 + 6] ~= '1'
  for at = first, last - 1 do
    settle(at, seen[at], short)
  end
  first = last
end
return answers
