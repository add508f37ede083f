-- What nginx cannot say in its configuration: a wait before each answer, If-Match on a cached answer, and a container
-- with as many names as one likes. One process, so plain variables are the state.

local M = {}

local PAGE = 10000        -- container_listing_limit
local A_DIRECTORY = 1000  -- names in each directory of a made container
local ONE = "9dd4e461268c8034f5c8564e155c67a6" -- MD5 of the one byte x: an empty object may be a manifest, and clients ask

local delay = 0 -- seconds before each answer
local rate = 0  -- bytes a second of one connection; 0: as fast as it goes

function M.rate() return rate end

-- Every request comes through here first. nginx compares ETags letter by letter, and only for whole answers, but Swift
-- sends them without quotes: so the condition is taken away here and decided in head().
function M.arrive()
  local wanted = ngx.req.get_headers()["If-Match"]
  if wanted then
    ngx.ctx.if_match = type(wanted) == "table" and table.concat(wanted, ",") or wanted
    ngx.req.clear_header("If-Match")
  end
  if delay > 0 then ngx.sleep(delay) end
end

local function bare(etag) return (etag:gsub('^%s*"?', ""):gsub('"?%s*$', "")) end

local function matches(wanted, etag)
  for one in wanted:gmatch("[^,]+") do
    if bare(one) == "*" or (etag and bare(one) == bare(etag)) then return true end
  end
  return false
end

function M.head()
  local wanted = ngx.ctx.if_match
  if wanted and (ngx.status == 200 or ngx.status == 206) and not matches(wanted, ngx.header["ETag"]) then
    ngx.status = 412
    ngx.header["Content-Length"] = 0
    ngx.header["Content-Range"] = nil
    ngx.ctx.refused = true
  end
end

function M.body()
  if ngx.ctx.refused then ngx.arg[1] = "" end
end

-- A container "names-<count>": objects of one byte in directories of a thousand, listed and read.

local function object()
  local wanted = ngx.ctx.if_match
  if wanted and not matches(wanted, ONE) then
    ngx.status = 412
    ngx.header["Content-Length"] = 0
    return
  end
  ngx.header["Content-Type"] = "application/octet-stream"
  ngx.header["Content-Length"] = 1
  ngx.header["ETag"] = ONE
  ngx.header["Last-Modified"] = "Wed, 01 May 2024 00:00:00 GMT"
  ngx.header["X-Timestamp"] = "1714521600.00000"
  if ngx.var.http_range then
    ngx.status = 206
    ngx.header["Content-Range"] = "bytes 0-0/1"
  end
  if ngx.req.get_method() ~= "HEAD" then ngx.print("x") end
end

local function answer(status, rows)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json; charset=utf-8"
  local text = rows and "[" .. table.concat(rows, ",") .. "]" or ""
  ngx.header["Content-Length"] = #text
  if ngx.req.get_method() ~= "HEAD" then ngx.print(text) end
end

local function name_of(number) return string.format("part_%04d/%07d.bin", math.floor(number / A_DIRECTORY), number) end

local function row_of(number)
  return string.format(
    '{"bytes":1,"hash":"%s","name":"%s","content_type":"application/octet-stream",'
      .. '"last_modified":"2024-05-01T00:00:00.000000"}',
    ONE, name_of(number))
end

local function part_of(number) return string.format("part_%04d/", number) end

-- The first number below total whose text comes after a bound (at: or is it); total when there is none.
local function first_beyond(text_of, total, bound, at)
  local low, high = 0, total
  while low < high do
    local middle = math.floor((low + high) / 2)
    local text = text_of(middle)
    if text > bound or (at and text == bound) then high = middle else low = middle + 1 end
  end
  return low
end

function M.names()
  local container, name = ngx.var.uri:match("^/v1/[^/]+/([^/]+)/?(.*)$")
  local total = tonumber(container:match("^names%-(%d+)$"))
  if not total then return answer(404) end
  if name ~= "" then
    local number = tonumber(name:match("(%d+)%.bin$"))
    if not number or number >= total or name ~= name_of(number) then return answer(404) end
    return object()
  end
  ngx.header["X-Container-Object-Count"] = total
  ngx.header["X-Container-Bytes-Used"] = total
  ngx.header["X-Timestamp"] = "1714521600.00000"
  if ngx.req.get_method() == "HEAD" then return answer(204) end
  local asked = ngx.req.get_uri_args()
  local prefix, marker, stop = asked.prefix or "", asked.marker or "", asked.end_marker or ""
  local limit = math.min(tonumber(asked.limit) or PAGE, PAGE)
  local by_directory = asked.delimiter == "/" and prefix == ""
  local text_of, count = name_of, total
  if by_directory then text_of, count = part_of, math.ceil(total / A_DIRECTORY) end
  local number = marker ~= "" and first_beyond(text_of, count, marker, false) or 0
  local last = stop ~= "" and first_beyond(text_of, count, stop, true) or count
  if prefix ~= "" then
    number = math.max(number, first_beyond(text_of, count, prefix, true))
    last = math.min(last, first_beyond(text_of, count, prefix .. "\255", true))
  end
  local rows = {}
  while number < last and #rows < limit do
    rows[#rows + 1] = by_directory and string.format('{"subdir":"%s"}', part_of(number)) or row_of(number)
    number = number + 1
  end
  return answer(200, rows)
end

function M.control()
  local what = ngx.var.uri:match("^/front/(.*)$")
  local asked = ngx.req.get_uri_args()
  if what == "delay" then delay = tonumber(asked.ms) / 1000
  elseif what == "rate" then rate = tonumber(asked.bytes)
  elseif what ~= "ready" then ngx.status = 404 end
  ngx.header["Content-Length"] = 0
end

return M
