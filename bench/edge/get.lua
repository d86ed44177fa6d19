-- A browser's GET with four arguments, two cookies and, where TOKEN_FILE is set, a session token.
local cookie = "theme=dark; cart=9f2c41d08a7b4e55"
local file = os.getenv("TOKEN_FILE")
if file then
  cookie = cookie .. "; __Host-stagedoor_token=" .. io.open(file):read("*l")
end
wrk.method = "GET"
wrk.path = "/products/list?category=shoes&page=2&sort=price&live=1"
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
wrk.headers["Accept"] = "application/json"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.9"
wrk.headers["Referer"] = "https://shop.example/live/42"
wrk.headers["Cookie"] = cookie
done = function(summary)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
