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

function done(summary)
  local errors = summary.errors
  print(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "refused": %d, "failed": %d}',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
