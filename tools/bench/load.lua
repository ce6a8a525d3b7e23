-- The load for wrk: documented read callbacks of random (user, group) pairs.
-- init gets the seed and the number of states; pair.go names pairs the same way.

local body = '{"callbackCommand":"callbackGroupMsgReadCommand","sendID":"user%08d",' ..
  '"receiveID":"group%08d","unreadMsgNum":%d,"contentType":101}'
local message = '{"sendID":"user%08d","callbackCommand":"%s","serverMsgID":"%s","clientMsgID":"%s","operationID":"bench",' ..
  '"senderPlatformID":5,"senderNickname":"somebody","sessionType":3,"msgFrom":200,"contentType":101,"status":0,"sendTime":%d,' ..
  '"createTime":%d,"content":"{\\"content\\":\\"hello\\"}","seq":%d,"atUserList":null,"faceURL":"","ex":"","groupID":"group%08d"}'
local commands = { announced = "callbackAfterSendGroupMsgCommand", stored = "callbackAfterMsgSaveDBCommand" }
local head, states, kind, run
local prebuilt, sent = {}, 0

local function callback(n)
  -- The unread number has two digits: every body is equally long.
  return head .. string.format(body, math.floor(n / 5), n % 10000, math.random(10, 99))
end

-- message_of is a message of a random pair that nobody has seen.
local function message_of(n)
  sent = sent + 1
  local id, now = string.format("%08x%08x%016d", run, os.time(), sent), os.time() * 1000
  local seq = kind == "stored" and 1000000 + sent or 0
  local text = string.format(message, math.floor(n / 5), commands[kind], id, id, now, now, seq, n % 10000)
  return wrk.format("POST", "/" .. commands[kind], { ["Content-Type"] = "application/json" }, text)
end

function init(args)
  math.randomseed(tonumber(args[1]))
  states = tonumber(args[2])
  kind, run = args[3], math.random(0, 2 ^ 31 - 1)
  if kind and kind ~= "" then return end
  local sample = string.format(body, 0, 0, 10)
  local whole = wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, sample)
  head = string.sub(whole, 1, #whole - #sample)
  if states <= 200000 then -- more would cost more memory than time
    for n = 0, states - 1 do prebuilt[n] = callback(n) end
  end
end

function request()
  local n = math.random(0, states - 1)
  if commands[kind] then return message_of(n) end
  return prebuilt[n] or callback(n)
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
