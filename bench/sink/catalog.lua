-- What a container holds and in which order it is listed, and how names and times are written down.

local cjson = require "cjson"
local M = {}

local SIZE, MANIFEST = 1, 6
-- An object is an array, to be small: size, MD5, content type, mtime or false, time, manifest's text, manifest's MD5.
M.FIELDS = { SIZE, 2, 3, 4, 5, MANIFEST, 7 }

function M.unquoted(text)
  if not text:find("%", 1, true) then return text end
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

function M.quoted(text)
  return (text:gsub("[^%w%-%._~/]", function(byte) return string.format("%%%02X", byte:byte()) end))
end

function M.json_text(text)
  if text:find('[%c"\\]') then return cjson.encode(text) end
  return '"' .. text .. '"'
end

local iso_second, iso_text = nil, nil
function M.iso(time)
  local second = math.floor(time)
  if second ~= iso_second then iso_second, iso_text = second, os.date("!%Y-%m-%dT%H:%M:%S", second) end
  return string.format("%s.%06d", iso_text, math.floor((time - second) * 1e6 + 0.5))
end

function M.http_date(time) return ngx.http_time(math.ceil(time)) end


function M.make_container()
  return { objects = {}, count = 0, bytes = 0, time = ngx.now(), sorted = nil }
end

local function stored_size(object) return object[MANIFEST] and #object[MANIFEST] or object[SIZE] end

function M.store(container, name, object)
  local old = container.objects[name]
  if old then
    container.bytes = container.bytes - stored_size(old)
  else
    container.count = container.count + 1
    container.sorted = nil
  end
  container.objects[name] = object
  container.bytes = container.bytes + stored_size(object)
end

function M.remove(container, name)
  local old = container and container.objects[name]
  if not old then return false end
  container.objects[name] = nil
  container.count = container.count - 1
  container.bytes = container.bytes - stored_size(old)
  container.sorted = nil
  return true
end

function M.names_of(container)
  if not container.sorted then
    local names, number = {}, 0
    for name in pairs(container.objects) do
      number = number + 1
      names[number] = name
    end
    table.sort(names)
    container.sorted = names
  end
  return container.sorted
end

local function first_after(names, text, inclusive)
  local low, high = 1, #names + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local name = names[middle]
    if name < text or (name == text and not inclusive) then low = middle + 1 else high = middle end
  end
  return low
end

-- The names of a page: `visit` gets each name, or a common prefix and true.
function M.walk(names, query, visit)
  local limit, prefix, delimiter = query.limit, query.prefix, query.delimiter
  local marker, place = query.marker, 1
  if prefix ~= "" then place = first_after(names, prefix, true) end
  if marker ~= "" then place = math.max(place, first_after(names, marker, false)) end
  local found = 0
  while place <= #names and found < limit do
    local name = names[place]
    if query.end_marker ~= "" and name >= query.end_marker then return end
    if prefix ~= "" and name:sub(1, #prefix) ~= prefix then return end
    local stop = delimiter ~= "" and name:find(delimiter, #prefix + 1, true) or nil
    if stop then
      local shared = name:sub(1, stop + #delimiter - 1)
      if shared ~= marker then
        visit(shared, true)
        found = found + 1
      end
      while place <= #names and names[place]:sub(1, #shared) == shared do place = place + 1 end
    else
      visit(name, false)
      found = found + 1
      place = place + 1
    end
  end
end

return M
