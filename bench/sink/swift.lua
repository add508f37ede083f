-- Swift as a client sees it, without the bytes: names, sizes, MD5s and times are kept, bodies are hashed and dropped.
-- One process, so plain tables are the store and nothing needs a lock: a handler runs from one wait to the next.
-- What is answered to what was read off a real Swift 2.38; tests/t1_swift/test_bench_sink.py replays both.

local cjson = require "cjson"
local catalog = require "catalog"
local M = {}

local PAGE = 10000     -- container_listing_limit
local BULK = 10000     -- max_deletes_per_request
local LONGEST_NAME = 1024
local SIZE, MD5, TYPE, MTIME, TIME, MANIFEST, ETAG = unpack(catalog.FIELDS)
local unquoted = catalog.unquoted
local quoted = catalog.quoted
local json_text = catalog.json_text
local iso = catalog.iso
local http_date = catalog.http_date
local make_container = catalog.make_container
local store = catalog.store
local remove = catalog.remove
local names_of = catalog.names_of
local walk = catalog.walk

local TEXT = {
  [201] = { "Created", "" },
  [202] = { "Accepted", "The request is accepted for processing." },
  [400] = { "Bad Request",
    "The server could not comply with the request since it is either malformed or otherwise incorrect." },
  [401] = { "Unauthorized",
    "This server could not verify that you are authorized to access the document you requested." },
  [404] = { "Not Found", "The resource could not be found." },
  [405] = { "Method Not Allowed", "The method is not allowed for this resource." },
  [409] = { "Conflict", "There was a conflict when trying to complete your request." },
  [413] = { "Request Entity Too Large", "The body of your request was too large for this server." },
  [422] = { "Unprocessable Entity", "Unable to process the contained instructions" },
}

local settings           -- account, token, credential, secret, region
local containers = {}    -- name -> { objects = {name -> object}, count, bytes, time, sorted = names or nil }
local counts = {}        -- what was asked -> how often
local received = 0       -- bytes of object bodies that arrived whole
local delay = 0          -- seconds before each answer
local transactions = 0
local born = ngx.now()

function M.setup(given) settings = given end

-- Answers

local function count(what)
  counts[what] = (counts[what] or 0) + 1
end

local function transaction()
  transactions = transactions + 1
  local id = string.format("tx%021x-%010x", transactions, ngx.time())
  ngx.header["X-Trans-Id"] = id
  ngx.header["X-Openstack-Request-Id"] = id
end

local function answer(status, body, content_type)
  ngx.status = status
  ngx.header["Content-Type"] = content_type or "text/html; charset=UTF-8"
  if ngx.req.get_method() == "HEAD" then body = "" end
  ngx.header["Content-Length"] = #body
  if #body > 0 then ngx.print(body) end
  return ngx.exit(ngx.HTTP_OK)
end

local function page(status)
  local text = TEXT[status]
  return answer(status, text[2] == "" and "" or "<html><h1>" .. text[1] .. "</h1><p>" .. text[2] .. "</p></html>")
end

local function chunked(status, body)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.print(body)
  return ngx.exit(ngx.HTTP_OK)
end

local function body_text()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  if text then return text end
  local path = ngx.req.get_body_file() -- larger than the buffer
  if not path then return "" end
  local file = assert(io.open(path, "rb"))
  text = file:read("*a")
  file:close()
  return text
end

-- Listings

local function listing_query()
  local args = ngx.req.get_uri_args(0)
  local function text(name) return type(args[name]) == "string" and args[name] or "" end
  local limit = tonumber(text("limit")) or PAGE
  if limit > PAGE then
    answer(412, "Maximum limit is " .. PAGE)
    return nil
  end
  local accept = ngx.var.http_accept or ""
  return {
    limit = limit, prefix = text("prefix"), marker = text("marker"), end_marker = text("end_marker"),
    delimiter = text("delimiter"), json = text("format") == "json" or accept:find("application/json", 1, true) ~= nil,
  }
end

local function list(names, query, row)
  local rows = {}
  if not query.json then
    walk(names, query, function(name) rows[#rows + 1] = name .. "\n" end)
    local text = table.concat(rows)
    return answer(text == "" and 204 or 200, text, "text/plain; charset=utf-8")
  end
  walk(names, query, function(name, shared)
    rows[#rows + 1] = shared and '{"subdir": ' .. json_text(name) .. "}" or row(name)
  end)
  return answer(200, "[" .. table.concat(rows, ", ") .. "]", "application/json; charset=utf-8")
end

local function object_row(container)
  return function(name)
    local object = container.objects[name]
    local slo = object[MANIFEST] and string.format(', "slo_etag": "\\"%s\\""', object[MD5]) or ""
    return '{"bytes": ' .. string.format("%d", object[SIZE]) .. ', "hash": "' .. (object[ETAG] or object[MD5])
      .. '", "name": ' .. json_text(name) .. ', "content_type": ' .. json_text(object[TYPE])
      .. ', "last_modified": "' .. iso(object[TIME]) .. '"' .. slo .. "}"
  end
end

-- Accounts

local function account_totals()
  local number, objects, bytes, names = 0, 0, 0, {}
  for name, container in pairs(containers) do
    number, objects, bytes = number + 1, objects + container.count, bytes + container.bytes
    names[number] = name
  end
  table.sort(names)
  return names, number, objects, bytes
end

local function account(method)
  local names, number, objects, bytes = account_totals()
  if method ~= "GET" and method ~= "HEAD" then return page(405) end
  ngx.header["X-Account-Container-Count"] = number
  ngx.header["X-Account-Object-Count"] = objects
  ngx.header["X-Account-Bytes-Used"] = string.format("%d", bytes)
  ngx.header["X-Timestamp"] = string.format("%.5f", born)
  ngx.header["Accept-Ranges"] = "bytes"
  if method == "HEAD" then return answer(204, "", "text/plain; charset=utf-8") end
  local query = listing_query()
  if not query then return end
  return list(names, query, function(name)
    local container = containers[name]
    return string.format('{"name": %s, "count": %d, "bytes": %d, "last_modified": "%s", '
      .. '"storage_policy": "Policy-0"}', json_text(name), container.count,
      container.bytes, iso(container.time))
  end)
end

local function bulk_answer(status, text, deleted, missing, errors)
  local rows = {}
  for number, row in ipairs(errors) do
    rows[number] = "[" .. json_text(row[1]) .. ", " .. json_text(row[2]) .. "]"
  end
  return chunked(200, string.format(
    '{"Response Status": %s, "Response Body": %s, "Number Deleted": %d, "Number Not Found": %d, "Errors": [%s]}',
    json_text(status), json_text(text), deleted, missing, table.concat(rows, ", ")))
end

local function bulk_delete()
  local deleted, missing, lines = 0, 0, {}
  for line in body_text():gmatch("[^\r\n]+") do lines[#lines + 1] = unquoted(line) end
  if #lines > BULK then
    return bulk_answer("413 Request Entity Too Large", "Maximum Bulk Deletes: " .. BULK .. " per request", 0, 0, {})
  end
  local errors = {}
  local last = {}
  for _, line in ipairs(lines) do
    local container, name = line:match("^/*([^/]+)/(.+)$")
    if name then
      if remove(containers[container], name) then deleted = deleted + 1 else missing = missing + 1 end
    else
      last[#last + 1] = line:gsub("/", "")
    end
  end
  for _, name in ipairs(last) do -- containers after all objects
    if not containers[name] then
      missing = missing + 1
    elseif containers[name].count > 0 then
      errors[#errors + 1] = { quoted(name), "409 Conflict" }
    else
      containers[name] = nil
      deleted = deleted + 1
    end
  end
  if #errors > 0 then return bulk_answer("400 Bad Request", "", deleted, missing, errors) end
  if deleted + missing == 0 then return bulk_answer("400 Bad Request", "Invalid bulk delete.", 0, 0, {}) end
  return bulk_answer("200 OK", "", deleted, missing, errors)
end

-- Containers

local function container_request(method, name)
  local container = containers[name]
  if method == "PUT" then
    ngx.req.discard_body()
    if container then return page(202) end
    containers[name] = make_container()
    return page(201)
  end
  if not container then return page(404) end
  if method == "DELETE" then
    if container.count > 0 then return page(409) end
    containers[name] = nil
    return answer(204, "")
  elseif method == "POST" then
    ngx.req.discard_body()
    return answer(204, "")
  elseif method ~= "GET" and method ~= "HEAD" then
    return page(405)
  end
  local query = listing_query()
  if not query then return end
  ngx.header["X-Container-Object-Count"] = container.count
  ngx.header["X-Container-Bytes-Used"] = string.format("%d", container.bytes)
  ngx.header["X-Timestamp"] = string.format("%.5f", container.time)
  ngx.header["Last-Modified"] = http_date(container.time)
  ngx.header["Accept-Ranges"] = "bytes"
  ngx.header["X-Storage-Policy"] = "Policy-0"
  if method == "HEAD" then return answer(204, "", "text/plain; charset=utf-8") end
  return list(names_of(container), query, object_row(container))
end

-- Objects

local function manifest_row(path, object)
  return string.format('{"name": %s, "bytes": %d, "hash": "%s", "content_type": %s, "last_modified": "%s"}',
    json_text(path), object[SIZE], object[MD5], json_text(object[TYPE]), iso(math.ceil(object[TIME])))
end

local function put_manifest(container, name, heartbeat)
  local read, wanted = pcall(cjson.decode, body_text())
  if not read or type(wanted) ~= "table" then return answer(400, "Manifest must be valid JSON.\n") end
  local errors, rows, size, digests = {}, {}, 0, {}
  for number, part in ipairs(wanted) do
    local home, segment = tostring(part.path):match("^/*([^/]+)/(.+)$")
    local object = home and containers[home] and containers[home].objects[segment]
    local path = "/" .. tostring(home) .. "/" .. tostring(segment)
    if not object then
      errors[#errors + 1] = { quoted(path), "404 Not Found" }
    else
      if type(part.size_bytes) == "number" and part.size_bytes ~= object[SIZE] then
        errors[#errors + 1] = { quoted(path), "Size Mismatch" }
      end
      if type(part.etag) == "string" and part.etag ~= object[MD5] then
        errors[#errors + 1] = { quoted(path), "Etag Mismatch" }
      end
      rows[number], digests[number], size = manifest_row(path, object), object[MD5], size + object[SIZE]
    end
  end
  local function refused()
    local found = {}
    for number, row in ipairs(errors) do
      found[number] = "[" .. json_text(row[1]) .. ", " .. json_text(row[2]) .. "]"
    end
    return '"Errors": [' .. table.concat(found, ", ") .. "]}"
  end
  if #errors > 0 then
    if not heartbeat then return answer(400, "{" .. refused(), "application/json") end
    local text = table.concat(TEXT[400], "\n")
    return chunked(202, ' \r\n\r\n{"Response Status": "400 Bad Request", "Response Body": ' .. json_text(text) .. ", "
      .. refused())
  end
  local text = "[" .. table.concat(rows, ", ") .. "]"
  local object = {
    size, ngx.md5(table.concat(digests)), ngx.var.http_content_type or "application/octet-stream",
    ngx.var.http_x_object_meta_mtime or false, ngx.now(), text, ngx.md5(text),
  }
  store(container, name, object)
  local etag, modified = '"' .. object[MD5] .. '"', http_date(object[TIME])
  if heartbeat then
    return chunked(202, ' \r\n\r\n{"Response Status": "201 Created", "Etag": ' .. json_text(etag)
      .. ', "Last Modified": "' .. modified .. '", "Response Body": "", ' .. refused())
  end
  ngx.header["Etag"], ngx.header["Last-Modified"] = etag, modified
  return page(201)
end

local function put_object(container, name)
  local text = body_text()
  received = received + #text
  local md5 = ngx.md5(text)
  local time = ngx.now()
  local wanted = ngx.var.http_etag
  ngx.header["Last-Modified"] = http_date(time)
  if wanted and wanted:gsub('"', "") ~= md5 then return page(422) end
  store(container, name, {
    #text, md5, ngx.var.http_content_type or "application/octet-stream", ngx.var.http_x_object_meta_mtime or false, time,
  })
  ngx.header["Etag"] = md5
  return page(201)
end

local function delete_object(container, name, args)
  local object = container.objects[name]
  if args["multipart-manifest"] ~= "delete" then
    if not remove(container, name) then return page(404) end
    return answer(204, "")
  end
  local deleted, missing = 0, 0
  if not object then return bulk_answer("200 OK", "", 0, 1, {}) end
  if not object[MANIFEST] then
    return bulk_answer("400 Bad Request", "", 0, 0, { { quoted(ngx.ctx.path), "Not an SLO manifest" } })
  end
  for _, part in ipairs(cjson.decode(object[MANIFEST])) do
    local home, segment = part.name:match("^/([^/]+)/(.+)$")
    if remove(containers[home], segment) then deleted = deleted + 1 else missing = missing + 1 end
  end
  remove(container, name)
  return bulk_answer("200 OK", "", deleted + 1, missing, {})
end

local function show_object(method, object, args)
  ngx.header["Last-Modified"] = http_date(object[TIME])
  ngx.header["X-Timestamp"] = string.format("%.5f", object[TIME])
  ngx.header["Accept-Ranges"] = "bytes"
  if object[MTIME] then ngx.header["X-Object-Meta-Mtime"] = object[MTIME] end
  if object[MANIFEST] then ngx.header["X-Static-Large-Object"] = "True" end
  if method == "GET" then
    if not object[MANIFEST] or args["multipart-manifest"] ~= "get" then
      return answer(501, "The sink keeps no bytes.\n", "text/plain")
    end
    ngx.header["Etag"] = object[ETAG]
    return answer(200, object[MANIFEST], "application/json; charset=utf-8")
  end
  if object[MANIFEST] then ngx.header["X-Manifest-Etag"] = object[ETAG] end
  ngx.header["Etag"] = object[MANIFEST] and '"' .. object[MD5] .. '"' or object[MD5]
  ngx.status = 200
  ngx.header["Content-Type"] = object[TYPE]
  ngx.header["Content-Length"] = string.format("%d", object[SIZE])
  return ngx.exit(ngx.HTTP_OK)
end

local function object_request(method, container, name)
  if method == "PUT" and #name > LONGEST_NAME then
    return answer(400, "Object name length of " .. #name .. " longer than " .. LONGEST_NAME, "text/plain")
  end
  if not container then
    ngx.req.discard_body()
    return page(404)
  end
  local args = ngx.req.get_uri_args(0)
  if method == "PUT" then
    if args["multipart-manifest"] == "put" then return put_manifest(container, name, args["heartbeat"] == "on") end
    return put_object(container, name)
  elseif method == "DELETE" then
    return delete_object(container, name, args)
  end
  local object = container.objects[name]
  if not object then return page(404) end
  if method == "POST" then
    ngx.req.discard_body()
    object[MTIME], object[TIME] = ngx.var.http_x_object_meta_mtime or false, ngx.now()
    if ngx.var.http_content_type then object[TYPE] = ngx.var.http_content_type end
    return page(202)
  elseif method == "GET" or method == "HEAD" then
    return show_object(method, object, args)
  end
  return page(405)
end

-- Entries: one for each location of nginx.conf

function M.swift()
  if delay > 0 then ngx.sleep(delay) end
  local method = ngx.req.get_method()
  local path = ngx.var.request_uri:match("^[^?]*")
  transaction()
  local owner, rest = path:match("^/v1/([^/]+)/?(.*)$")
  if not owner then return page(404) end
  local container, name = rest:match("^([^/]+)/(.+)$")
  if not container then container = rest:match("^([^/]+)/?$") end
  local level = name and "object" or container and "container" or "account"
  local bulk = level == "account" and ngx.req.get_uri_args(0)["bulk-delete"] ~= nil
  count(method .. " " .. (bulk and "bulk-delete" or level))
  if ngx.var.http_x_auth_token ~= settings.token or owner ~= settings.account then
    ngx.header["Www-Authenticate"] = 'Swift realm="' .. owner .. '"'
    return page(401)
  end
  if bulk and (method == "POST" or method == "DELETE") then return bulk_delete() end
  if level == "account" then return account(method) end
  container = unquoted(container)
  if level == "container" then return container_request(method, container) end
  ngx.ctx.path = "/" .. container .. "/" .. unquoted(name)
  return object_request(method, containers[container], unquoted(name))
end

function M.info()
  if delay > 0 then ngx.sleep(delay) end
  count("GET info")
  return answer(200, settings.info, "application/json; charset=UTF-8")
end

function M.token()
  if delay > 0 then ngx.sleep(delay) end
  count("POST token")
  local read, asked = pcall(cjson.decode, body_text())
  local given = read and type(asked) == "table" and asked.auth and asked.auth.identity
    and asked.auth.identity.application_credential or {}
  if given.id ~= settings.credential or given.secret ~= settings.secret then
    return answer(401, '{"error":{"code":401,"message":"The request you have made requires authentication.",'
      .. '"title":"Unauthorized"}}', "application/json")
  end
  local base = ngx.var.scheme .. "://" .. ngx.var.http_host
  local now = ngx.time()
  local function endpoints(url)
    local found = {}
    for number, interface in ipairs { "public", "internal", "admin" } do
      found[number] = { id = interface, interface = interface, region = settings.region, region_id = settings.region,
        url = url }
    end
    return found
  end
  local domain = { id = "default", name = "Default" }
  ngx.header["X-Subject-Token"] = settings.token
  return answer(201, cjson.encode { token = {
    methods = { "application_credential" },
    user = { id = "bench", name = "bench", domain = domain },
    project = { id = "bench", name = "bench", domain = domain },
    roles = { { id = "member", name = "member" } },
    issued_at = os.date("!%Y-%m-%dT%H:%M:%S.000000Z", now),
    expires_at = os.date("!%Y-%m-%dT%H:%M:%S.000000Z", now + 3600),
    catalog = {
      { id = "identity", type = "identity", name = "keystone", endpoints = endpoints(base .. "/v3") },
      { id = "swift", type = "object-store", name = "swift", endpoints = endpoints(base .. "/v1/" .. settings.account) },
    },
  } }, "application/json")
end

-- /sink/counts, /sink/reset (counts), /sink/empty (the store), /sink/delay?ms=20: neither delayed nor counted.
function M.control()
  local what = ngx.var.uri:match("^/sink/(%w+)$")
  if what == "reset" then
    counts, received = {}, 0
  elseif what == "empty" then
    containers = {}
    collectgarbage()
  elseif what == "delay" then
    delay = tonumber(ngx.req.get_uri_args(0).ms) / 1000
  elseif what ~= "counts" then
    return page(404)
  end
  local requests = next(counts) and cjson.encode(counts) or "{}"
  return answer(200, '{"requests": ' .. requests .. ', "received": ' .. string.format("%d", received)
    .. ', "lua_bytes": ' .. string.format("%d", collectgarbage("count") * 1024) .. "}", "application/json")
end

return M
