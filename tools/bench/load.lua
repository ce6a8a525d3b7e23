-- The load for wrk: documented read callbacks of random (user, group) pairs.
-- init gets the seed and the number of states; pair.go names pairs the same way.

local body = '{"callbackCommand":"callbackGroupMsgReadCommand","sendID":"user%08d",' ..
  '"receiveID":"group%08d","unreadMsgNum":%d,"contentType":101}'
local head, states
local prebuilt = {}

local function callback(n)
  -- The unread number has two digits: every body is equally long.
  return head .. string.format(body, math.floor(n / 5), n % 10000, math.random(10, 99))
end

function init(args)
  math.randomseed(tonumber(args[1]))
  states = tonumber(args[2])
  local sample = string.format(body, 0, 0, 10)
  local whole = wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, sample)
  head = string.sub(whole, 1, #whole - #sample)
  if states <= 200000 then -- more would cost more memory than time
    for n = 0, states - 1 do prebuilt[n] = callback(n) end
  end
end

function request()
  local n = math.random(0, states - 1)
  return prebuilt[n] or callback(n)
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
