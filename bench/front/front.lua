-- What nginx cannot say in its configuration: a wait before each answer, If-Match on a cached answer, and a container
-- with as many names as one likes. One process, so plain variables are the state.

local M = {}

local PAGE = 10000        -- container_listing_limit
local A_DIRECTORY = 1000  -- names in each directory of a made container
local EMPTY = "d41d8cd98f00b204e9800998ecf8427e"

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

-- A container "names-<count>": empty objects in directories of a thousand. Only listings of it are answered.

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
    '{"bytes":0,"hash":"%s","name":"%s","content_type":"application/octet-stream",'
      .. '"last_modified":"2024-05-01T00:00:00.000000"}',
    EMPTY, name_of(number))
end

-- The first number whose name comes after the marker.
local function after(marker)
  if marker == "" then return 0 end
  local part, number = marker:match("^part_(%d+)/(%d*)")
  if not part then
    part = marker:match("^part_(%d+)")
    return part and tonumber(part) * A_DIRECTORY or 0
  end
  if number == "" then
    return marker:sub(-1) == "/" and (tonumber(part) + 1) * A_DIRECTORY or tonumber(part) * A_DIRECTORY
  end
  return tonumber(number) + 1
end

function M.names()
  local container, name = ngx.var.uri:match("^/v1/[^/]+/([^/]+)/?(.*)$")
  local total = tonumber(container:match("^names%-(%d+)$"))
  if not total or name ~= "" then return answer(404) end
  ngx.header["X-Container-Object-Count"] = total
  ngx.header["X-Container-Bytes-Used"] = 0
  ngx.header["X-Timestamp"] = "1714521600.00000"
  if ngx.req.get_method() == "HEAD" then return answer(204) end
  local asked = ngx.req.get_uri_args()
  local prefix, marker = asked.prefix or "", asked.marker or ""
  local limit = math.min(tonumber(asked.limit) or PAGE, PAGE)
  local rows = {}
  if asked.delimiter == "/" and prefix == "" then
    local part = math.ceil(after(marker) / A_DIRECTORY)
    while part * A_DIRECTORY < total and #rows < limit do
      rows[#rows + 1] = string.format('{"subdir":"part_%04d/"}', part)
      part = part + 1
    end
    return answer(200, rows)
  end
  local first, last = after(marker), total
  local part = prefix:match("^part_(%d+)/$")
  if part then
    first = math.max(first, tonumber(part) * A_DIRECTORY)
    last = math.min(last, (tonumber(part) + 1) * A_DIRECTORY)
  elseif prefix ~= "" then
    last = 0
  end
  while first < last and #rows < limit do
    rows[#rows + 1] = row_of(first)
    first = first + 1
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
