"""What Redis is told to do with sessions: Lua, so that each is atomic and one round trip.

A session is a hash at `session:{id}` that Redis itself lets go of when its time is over; a user's are a sorted set at
`user_sessions:{user}`, by when they were made. Redis cannot take what expires out of a set, so whoever reads or counts the set
looks whether each is there, and takes out what is not.

KEYS[1] is the session's key, ARGV[1] what stands in front of all keys. Times are microseconds of Redis's own clock: less than
2^53 until the year 2255, so a number of Lua holds them. Epochs and versions are compared as the text they are.
"""

from typing import Final

_COMMON: Final = """
local front = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function whole(number) return string.format('%.0f', number) end
local function key_of(id) return front .. 'session:' .. id end
local function index_of(user) return front .. 'user_sessions:' .. user end
local function standing(key)
    local found = redis.call('HMGET', key, 'user', 'epoch', 'version', 'body', 'ttl', 'created', 'active')
    return found[2] and found
end
local function with(word, found) return {word, unpack(found)} end
local function live_on(key, user, epoch, id, ttl)
    local left = whole(ttl * 1000)
    redis.call('PEXPIRE', key, left)
    if user ~= '' then
        redis.call('ZADD', index_of(user), epoch, id)
        if redis.call('PTTL', index_of(user)) < ttl * 1000 then redis.call('PEXPIRE', index_of(user), left) end
    end
end
local function prune(user)
    local gone = 0
    for _, id in ipairs(redis.call('ZRANGE', index_of(user), 0, -1)) do
        if redis.call('HGET', key_of(id), 'user') ~= user then gone = gone + redis.call('ZREM', index_of(user), id) end
    end
    return gone
end
"""

# id, user or '', body, ttl, most per user. An existing one is returned as it is; the count and the new one are one.
CREATE: Final = (
    _COMMON
    + """
local id, user, body, ttl, most = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local found = standing(KEYS[1])
if found then return with('there', found) end
if user ~= '' and redis.call('ZCARD', index_of(user)) >= most then
    prune(user)
    if redis.call('ZCARD', index_of(user)) >= most then return {'full'} end
end
redis.call('HSET', KEYS[1], 'user', user, 'epoch', whole(now), 'version', '1', 'body', body, 'ttl', ARGV[5],
    'created', whole(now), 'active', whole(now))
live_on(KEYS[1], user, whole(now), id, ttl)
return with('made', standing(KEYS[1]))
"""
)

# id, whether to extend. Writes only when a share of the time has passed. A Redis that is full refuses a script whose first write
# takes memory; PEXPIRE takes none, so a read does not fail for that.
LOAD: Final = (
    _COMMON
    + """
local found = standing(KEYS[1])
if not found then return {'gone'} end
local ttl = tonumber(found[5])
if ARGV[3] == '1' and tonumber(found[7]) + math.min(ttl / 10, 60) * 1000000 <= now then
    redis.call('PEXPIRE', KEYS[1], whole(ttl * 1000))
    found[7] = whole(now)
    redis.call('HSET', KEYS[1], 'active', found[7])
    live_on(KEYS[1], found[1], found[2], ARGV[2], ttl)
end
return with('there', found)
"""
)

# id, epoch, version, body. Writes over what was read and nothing else; refused, it gives back what stands there.
SWAP: Final = (
    _COMMON
    + """
local found = standing(KEYS[1])
if not found then return {'gone'} end
if found[2] ~= ARGV[3] or found[3] ~= ARGV[4] then return with('there', found) end
found[3], found[4], found[7] = whole(tonumber(found[3]) + 1), '', whole(now)
redis.call('HSET', KEYS[1], 'body', ARGV[5], 'version', found[3], 'active', found[7])
live_on(KEYS[1], found[1], found[2], ARGV[2], tonumber(found[5]))
return with('done', found)
"""
)

# id, ttl. A change like any other.
EXPIRE: Final = (
    _COMMON
    + """
local found = standing(KEYS[1])
if not found then return {'gone'} end
found[3], found[5], found[7] = whole(tonumber(found[3]) + 1), ARGV[3], whole(now)
redis.call('HSET', KEYS[1], 'ttl', found[5], 'version', found[3], 'active', found[7])
live_on(KEYS[1], found[1], found[2], ARGV[2], tonumber(found[5]))
return with('there', found)
"""
)

# ids. Gives the IDs and epochs of those that were there.
DELETE: Final = (
    _COMMON
    + """
local gone = {}
for number = 2, #ARGV do
    local key = key_of(ARGV[number])
    local found = standing(key)
    redis.call('DEL', key)
    if found then
        if found[1] ~= '' then redis.call('ZREM', index_of(found[1]), ARGV[number]) end
        gone[#gone + 1] = {ARGV[number], found[2]}
    end
end
return gone
"""
)

# user.
OF_USER: Final = (
    _COMMON
    + """
prune(ARGV[2])
return redis.call('ZRANGE', index_of(ARGV[2]), 0, -1)
"""
)

# user. Gives how many it took out.
PRUNE: Final = (
    _COMMON
    + """
return prune(ARGV[2])
"""
)
