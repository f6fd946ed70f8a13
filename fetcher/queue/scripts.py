"""What is done in Redis, each step as a whole: scripts in Lua.

Three keys make a queue: the stream of its rows, from which each is deleted when it is done; a hash
of its state: ``run`` tells one run of the list from the next, ``list`` one list from another,
``loaded`` is the number of the last row that was put in, ``whole`` is 1 when there are no more,
``loader`` puts them in, and has until ``till``; ``ok``, ``unchanged`` and ``failed`` count rows;
and a hash of deaths: a field for each worker that died, their number, and how many there were
before the first one over each row.

How often a row was given out and not given back (the stream's own count of deliveries) is how many
workers have died over it. They may all have died of something else. So one over which two have died
comes last, to a worker that has nothing else to do; and it is set aside after the third only where
most workers that have died since were at it.
"""

from __future__ import annotations

GROUP = "workers"

NOBODY = "nobody"
"""Whose rows are that were given back."""

SUSPECT, LAST, MOST = 2, 3, 10
"""Deaths after which a row is worked on alone, after which it is set aside where it is their
likeliest cause, and after which it is in any case."""

KEEP_SECONDS = 7 * 86400
"""For how long the state of a run that has ended stays."""

JOIN = f"""
-- run, list: the run to work for; a new one where there is none, or the last one has ended
local run, list, whole = unpack(redis.call('HMGET', KEYS[2], 'run', 'list', 'whole'))
if run and not (whole == '1' and redis.call('XLEN', KEYS[1]) == 0) then
  if list ~= ARGV[2] then return {{'other', ''}} end
  return {{'joined', run}}
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[2], 'run', ARGV[1], 'list', ARGV[2], 'loaded', 0, 'whole', 0)
redis.call('XGROUP', 'CREATE', KEYS[1], '{GROUP}', '0', 'MKSTREAM')
return {{'joined', ARGV[1]}}
"""

LOAD = """
-- run, worker, lease, at, upto, whole, row ...: rows behind number at, the last of which is upto
if redis.call('HGET', KEYS[2], 'run') ~= ARGV[1] then return {'gone', 0} end
local loaded, whole, loader, till =
  unpack(redis.call('HMGET', KEYS[2], 'loaded', 'whole', 'loader', 'till'))
if whole == '1' then return {'whole', tonumber(loaded)} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if loader and loader ~= ARGV[2] and now < tonumber(till) then
  return {'taken', tonumber(loaded)}
end
redis.call('HSET', KEYS[2], 'loader', ARGV[2], 'till', now + ARGV[3])
if loaded ~= ARGV[4] then return {'at', tonumber(loaded)} end
for each = 7, #ARGV do redis.call('XADD', KEYS[1], '*', 'row', ARGV[each]) end
redis.call('HSET', KEYS[2], 'loaded', ARGV[5], 'whole', ARGV[6])
return {'at', tonumber(ARGV[5])}
"""

LEAVE = """
-- run, worker: who puts rows in stops
if redis.call('HGET', KEYS[2], 'run') == ARGV[1]
    and redis.call('HGET', KEYS[2], 'loader') == ARGV[2] then
  redis.call('HSET', KEYS[2], 'till', 0)
end
"""

TURN = f"""
-- run, worker, lease, want, alone, ask: settle rows, give some back, keep others, take new ones
local rows, state, deaths = unpack(KEYS)
local me, lease, want, alone = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
local ask = cjson.decode(ARGV[6])
local run = redis.call('HGET', state, 'run')
if not run then return {{'gone'}} end
if run ~= ARGV[1] then return {{'over'}} end

local known = {{}}
local function claim(id, who, idle, count)
  redis.call(
    'XCLAIM', rows, '{GROUP}', who, 0, id, 'IDLE', idle, 'RETRYCOUNT', count, 'JUSTID')
end
local function mine(id)
  known[id] = true
  local pending = redis.call('XPENDING', rows, '{GROUP}', id, id, 1)[1]
  if pending and pending[2] == me then return pending end
end

for _, each in ipairs(ask.done) do
  known[each[1]] = true
  if redis.call('XACK', rows, '{GROUP}', each[1]) == 1 then
    redis.call('XDEL', rows, each[1])
    redis.call('HDEL', deaths, each[1])
    redis.call('HINCRBY', state, each[2], 1)
  end
end
for _, each in ipairs(ask.back) do
  local pending = mine(each[1])
  if pending then claim(each[1], '{NOBODY}', each[2], math.max(pending[4] - 1, 0)) end
end
for _, each in ipairs(ask.held) do
  local pending = mine(each[1])
  -- Who gets on with a row does not die over it.
  if pending then claim(each[1], me, 0, each[2] and 1 or pending[4]) end
end

local taken = {{}}
local function give(id, kills, aside)
  local entry = redis.call('XRANGE', rows, id, id)[1]
  if entry then
    claim(id, me, 0, kills + 1)
    taken[#taken + 1] = {{id, entry[2][2], kills, aside and 1 or 0}}
  else
    redis.call('XACK', rows, '{GROUP}', id)
  end
end
local function bury(id, who)
  if who == '{NOBODY}' then return end
  if redis.call('HSETNX', deaths, who, 1) == 1 then redis.call('HINCRBY', deaths, 'all', 1) end
  redis.call('HSETNX', deaths, id, redis.call('HGET', deaths, 'all') - 1)
end
local function guilty(id, kills)
  local since = redis.call('HGET', deaths, 'all') - redis.call('HGET', deaths, id)
  return kills >= {MOST} or (kills >= {LAST} and 2 * kills > since)
end

if ask.lost then
  -- Given to this worker by an answer that has not reached it.
  for _, pending in ipairs(redis.call('XPENDING', rows, '{GROUP}', '-', '+', 10000, me)) do
    if not known[pending[1]] then give(pending[1], pending[4] - 1) end
  end
end
local suspect
if want > 0 then
  local idle = redis.call('XPENDING', rows, '{GROUP}', 'IDLE', lease, '-', '+', 1000)
  for _, pending in ipairs(idle) do
    local id, kills = pending[1], pending[4]
    bury(id, pending[2])
    if #taken < want then
      if kills < {SUSPECT} then
        give(id, kills)
      elseif guilty(id, kills) then
        give(id, kills, true)
      else
        suspect = suspect or pending
      end
    end
  end
end
if #taken < want then
  local new = redis.call(
    'XREADGROUP', 'GROUP', '{GROUP}', me, 'COUNT', want - #taken, 'STREAMS', rows, '>')
  for _, entry in ipairs(new and new[1][2] or {{}}) do
    taken[#taken + 1] = {{entry[1], entry[2][2], 0, 0}}
  end
end
if #taken == 0 and suspect and alone then give(suspect[1], suspect[4]) end

local left, whole = redis.call('XLEN', rows), redis.call('HGET', state, 'whole') == '1'
if whole and left == 0 then
  for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, {KEEP_SECONDS}) end
end
return {{'on', left, whole and 1 or 0, taken}}
"""
