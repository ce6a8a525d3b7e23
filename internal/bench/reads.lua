-- The load for wrk: the requests of a file, one per line, in turn from a random one
-- on. A line is a path, a tab, and an ETag or nothing; or a path, a tab, "POST", a tab
-- and a body.
local requests, count, at = {}, 0, 0

function init(args)
  math.randomseed(tonumber(args[1]))
  for line in io.lines(args[2]) do
    local path, second, body = line:match("^([^\t]*)\t([^\t]*)\t?(.*)$")
    count = count + 1
    if second == "POST" then
      requests[count] = wrk.format("POST", path, { ["Content-Type"] = "application/json" }, body)
    else
      local headers = {}
      if second ~= "" then headers["If-None-Match"] = second end
      requests[count] = wrk.format("GET", path, headers)
    end
  end
  at = math.random(1, count)
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
