-- SPDX-License-Identifier: Apache-2.0
--
-- What wrk sends, and how it reports: wrk -s requests.lua URL -- show IDFILE | list | create | pages PATHFILE
-- One line of JSON at the end: requests, seconds, bad answers, median and 99th percentile in microseconds.

local ids, next_id = {}, 0
local what

function init(args)
	what = args[1]
	if what == "show" or what == "pages" then
		for line in io.lines(args[2]) do ids[#ids + 1] = line end
	elseif what == "create" then
		wrk.method = "POST"
		wrk.headers["Content-Type"] = "application/json"
		wrk.body = '{"name": "bench", "disk_format": "raw", "container_format": "bare", ' ..
			'"tags": ["bench"], "os_distro": "debian", "hw_disk_bus": "virtio"}'
	end
end

function request()
	if what == "show" then
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
