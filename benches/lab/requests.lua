-- Sends the prepared requests of a file in random order, the same order in every run; says what came back as one line of JSON.

local requests = {}

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  -- Each request ends with an empty line.
  for head in file:read("*a"):gmatch("(.-\r\n\r\n)") do
    requests[#requests + 1] = head
  end
  file:close()
  math.randomseed(7)
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'RESULT {"requests": %d, "seconds": %f, "bytes": %.0f, "refused": %d, "failed": %d, "p50_us": %.0f, "p99_us": %.0f}',
    summary.requests, summary.duration / 1e6, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)
  ))
end
