-- The load for wrk: the requests of a file, one per line, in turn from a random one
-- on. A line is a path, a tab, and an ETag or nothing; or a path, a tab, "POST", a tab
-- and a body. A third argument is how many requests to send per second; without it,
-- each connection sends its next one at once.
local requests, count, at = {}, 0, 0
local key = os.getenv("READMARK_BENCH_KEY")

function init(args)
  math.randomseed(tonumber(args[1]))
  for line in io.lines(args[2]) do
    local path, second, body = line:match("^([^\t]*)\t([^\t]*)\t?(.*)$")
    count = count + 1
    if second == "POST" then
      local headers = { ["Content-Type"] = "application/json" }
      if key then headers["Authorization"] = "Bearer " .. key end
      requests[count] = wrk.format("POST", path, headers, body)
    else
      local headers = {}
      if key then headers["Authorization"] = "Bearer " .. key end
      if second ~= "" then headers["If-None-Match"] = second end
      requests[count] = wrk.format("GET", path, headers)
    end
  end
  at = math.random(1, count)
  if args[3] then steady(tonumber(args[3])) end
end

-- steady has each request wait for its turn. wrk asks for the milliseconds to wait, and
-- LuaJIT for the time; what came too late is made up for, so that the rate is kept
-- unless all connections wait for answers.
function steady(rate)
  local ffi = require("ffi")
  ffi.cdef("typedef struct { long seconds, nanoseconds; } moment; int clock_gettime(int clock, moment *now);")
  local now, turn = ffi.new("moment"), nil
  function delay()
    ffi.C.clock_gettime(0, now) -- CLOCK_REALTIME, which has this number on every system
    local milliseconds = tonumber(now.seconds) * 1000 + tonumber(now.nanoseconds) / 1e6
    turn = (turn or milliseconds) + 1000 / rate
    return math.max(0, math.floor(turn - milliseconds))
  end
end

function request()
  at = at % count + 1
  return requests[at]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
