"""What Redis carries out in one piece: it alone can compare and store without anybody in between.

Each has two keys: the entry, and beside it the mark, which says what an entry must not be older than and outlives it. The
text of a script goes along each time, as a Redis that was flushed or restarted knows none by its digest.

Numbers are compared as decimal digits. A number in Lua is a double, which cannot tell 2^53 from 2^53 + 1.
"""

_COMPARING = """
local function more(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end
local function stands(key, form)
  local text = redis.pcall('GET', key)
  if type(text) == 'string' then return string.match(text, form) end
end
local mark_epoch, mark_version, mark_ended = stands(KEYS[2], '^%[(%d+),(%d+),([01])%]$')
local function mark(epoch, version, ended)
  redis.call('SET', KEYS[2], '[' .. epoch .. ',' .. version .. ',' .. ended .. ']', 'PX', ARGV[1])
end
"""

# KEYS entry, mark. ARGV ms a mark lives, epoch, version, good until (µs), sealed entry.
# An entry raises the mark too: its own time may be over long before that of an older one that is still on its way.
OFFER = (
    _COMPARING
    + """
local epoch, version, till = ARGV[2], ARGV[3], ARGV[4]
if mark_epoch and (more(mark_epoch, epoch) or (mark_epoch == epoch and
    (mark_ended == '1' or more(mark_version, version)))) then return 'marked' end
local its_epoch, its_version, its_till = stands(KEYS[1], '^%[(%d+),(%d+),(%d+),"')
if its_epoch and (more(its_epoch, epoch) or (its_epoch == epoch and
    (more(its_version, version) or (its_version == version and more(its_till, till))))) then return 'old' end
local now = redis.call('TIME')
local left_ms = math.floor(tonumber(till) / 1000 - tonumber(now[1]) * 1000 - tonumber(now[2]) / 1000)
if left_ms < 1 then return 'late' end
mark(epoch, version, '0')
redis.call('SET', KEYS[1], ARGV[5], 'PX', string.format('%.0f', left_ms))
return 'put'
"""
)

# KEYS entry, mark. ARGV ms a mark lives, epoch, version, ended (0 or 1).
# Deleting comes first. It is allowed when Redis is full, and after it the script may also write.
MARK = (
    _COMPARING
    + """
local epoch, version, ended = ARGV[2], ARGV[3], ARGV[4]
if mark_epoch and more(mark_epoch, epoch) then
  epoch, version, ended = mark_epoch, mark_version, mark_ended
elseif mark_epoch == epoch then
  if more(mark_version, version) then version = mark_version end
  if mark_ended == '1' then ended = '1' end
end
local its_epoch, its_version = stands(KEYS[1], '^%[(%d+),(%d+),(%d+),"')
if not its_epoch or more(epoch, its_epoch) or (its_epoch == epoch and (ended == '1' or more(version, its_version))) then
  redis.call('DEL', KEYS[1])
end
mark(epoch, version, ended)
return 'marked'
"""
)
