-- SPDX-License-Identifier: Apache-2.0
--
-- What wrk sends, and how it reports: wrk -s requests.lua URL -- show IDFILE | list | create | pages PATHFILE |
-- identity IDFILE CALLERFILE (a caller a line: names and values of request headers, a tab between them).
-- One line of JSON at the end: requests, seconds, bad answers, median and 99th percentile in microseconds.

local ids, next_id = {}, 0
local ready = {} -- requests that are written beforehand, so that they cost the client alike
local what

local function prepare(path)
	local callers = {}
	for line in io.lines(path) do
		local headers = {}
		for name, value in line:gmatch("([^\t]+)\t([^\t]+)") do headers[name] = value end
		callers[#callers + 1] = headers
	end
	for i = 0, math.max(#ids, #callers) - 1 do
		ready[i + 1] = wrk.format(nil, "/v2/images/" .. ids[i % #ids + 1], callers[i % #callers + 1])
	end
end

function init(args)
	what = args[1]
	if what == "show" or what == "pages" or what == "identity" then
		for line in io.lines(args[2]) do ids[#ids + 1] = line end
		if what == "identity" then prepare(args[3]) end
	elseif what == "create" then
		wrk.method = "POST"
		wrk.headers["Content-Type"] = "application/json"
		wrk.body = '{"name": "bench", "disk_format": "raw", "container_format": "bare", ' ..
			'"tags": ["bench"], "os_distro": "debian", "hw_disk_bus": "virtio"}'
	end
end

function request()
	if what == "identity" then
		next_id = next_id % #ready + 1
		return ready[next_id]
	elseif what == "show" then
		next_id = next_id % #ids + 1
		return wrk.format(nil, "/v2/images/" .. ids[next_id])
	elseif what == "pages" then
		next_id = next_id % #ids + 1
		return wrk.format(nil, ids[next_id])
	elseif what == "list" then
		return wrk.format(nil, "/v2/images?limit=25")
	end
	return wrk.format(nil, "/v2/images")
end

function done(summary, latency)
	local e = summary.errors
	print(string.format('{"requests": %d, "seconds": %.3f, "bad": %d, "p50_us": %d, "p99_us": %d}',
		summary.requests, summary.duration / 1e6, e.status + e.connect + e.read + e.write + e.timeout,
		latency:percentile(50), latency:percentile(99)))
end
