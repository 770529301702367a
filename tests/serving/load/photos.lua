-- For wrk: posts the photos that a list names, one after the other, and says in JSON what came of it.
local requests, at = {}, 0

function init(args)
  for path in io.lines(args[1]) do
    local file = assert(io.open(path, "rb"))
    wrk.headers["Content-Type"] = "image/jpeg"
    requests[#requests + 1] = wrk.format("POST", args[2], nil, file:read("*a"))
    file:close()
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('\n{"answered":%d,"refused":%d,"failed":%d,"seconds":%.6f,"p50":%.3f,"p99":%.3f}\n',
    summary.requests - summary.errors.status, summary.errors.status, failed, summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
