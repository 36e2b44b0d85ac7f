"""Counters in Redis or Valkey, which several processes and machines share.

The problem: a reservation reads and changes several counts at once, the answer to a script may be lost although it has
run, and a process may be killed while it holds places. The strategy: one Lua script per call, so that nothing comes
between. Each reservation has a name in a set of open ones, which settling removes. So settling twice changes nothing,
and a reservation whose answer was lost can be repeated or given back. A place in flight is a lease that its process
renews; those of a process that was killed end by themselves. Redis's clock counts, so that the clocks of the processes
need not agree. A server that starts again, perhaps with the data of an old snapshot, and one that takes another's place
have an identity of their own. It is asked for on each new connection: none of them outlives its server. The cost: two
round trips per request.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Literal

import msgspec

from acytoo.errors import AcytooError, MissingExtraError, ServerError, UsageError
from acytoo.gateway.counters import Claim, Claims, Exceeded, Hold, Level, Plan, Window, retry_after
from acytoo.secret import Secret, redact, secrets_of, split_secrets

_LOG = logging.getLogger("acytoo.gateway")

_TIMEOUT = 5.0
"""Seconds that Redis may take to accept a connection, and to answer. An event loop that is busy counts too."""

_TRY_AGAIN_AFTER = 1.0
"""Seconds without another try after a failure: otherwise each request would wait for `_TIMEOUT`."""

_MAX_CONNECTIONS = 8
"""Redis runs one script at a time, so that more would only wait there."""

_MAX_UNSETTLED = 10_000
"""Reservations to settle that are kept while Redis cannot be reached. Later ones keep their estimate."""

_IDENTITY = re.compile(r"^(?:run_id|master_replid):(\w+)", re.MULTILINE)
"""What a server chooses at random: when it starts, and when it is promoted."""

_EVICTS = re.compile(r"^maxmemory:[1-9].*^maxmemory_policy:(?!noeviction)([\w-]+)", re.MULTILINE | re.DOTALL)
"""Whether a server may forget counts when its memory is full, and by which policy."""

_COMMON = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local DAY = 86400000000

-- The first day of a month, in days since 1970: the inverse of month_of, after Howard Hinnant's date algorithms.
local function first_day(year, month)
  if month <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5)
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

local function month_of(days)
  days = days + 719468
  local era = math.floor(days / 146097)
  local of_era = days - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = (math.floor((5 * of_year + 2) / 153) + 2) % 12 + 1
  year = year + era * 400
  if month <= 2 then year = year + 1 end
  return year, month
end

local function bounds(window)
  if window == 'minute' then return now, now + 60000000 end
  local day = math.floor(now / DAY)
  if window == 'day' then return day * DAY, (day + 1) * DAY end
  local year, month = month_of(day)
  local next_year, next_month = year, month + 1
  if month == 12 then next_year, next_month = year + 1, 1 end
  return first_day(year, month) * DAY, first_day(next_year, next_month) * DAY
end

-- What is used in the current window, its end, and the number of the reservation that began it: nil if none has.
local function current(key, window)
  local found = redis.call('HMGET', key, 'used', 'start', 'end', 'first')
  if found[1] and tonumber(found[2]) <= now and now < tonumber(found[3]) then
    return tonumber(found[1]), tonumber(found[3]), tonumber(found[4])
  end
  local _, last = bounds(window)
  return 0, last, nil
end

local function begin(key, window, used, number)
  local first, last = bounds(window)
  redis.call('HSET', key, 'used', used, 'start', first, 'end', last,
    'first', number)
  redis.call('PEXPIRE', key, math.ceil((last - first) / 1000) * 2)
end

-- Leases end in the future, but not further than their length: else the clock has jumped back.
local function places(key, lease)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', key, string.format('(%.0f', now + lease), '+inf')
  return redis.call('ZCARD', key)
end

local function lease_place(key, lease, name)
  redis.call('ZADD', key, now + lease, name)
  redis.call('PEXPIRE', key, math.ceil(lease / 1000) * 2)
end
"""
"""ARGV[1]: the time in microseconds, or nothing for Redis's own."""

_RESERVE = (
    _COMMON
    + """
-- KEYS: number, open, id, each claim. ARGV: now, name, lease, open at most, the id that the data must have, or nothing,
-- then for each claim window, limit, amount. Returns the claim that does not fit, from 0, or -1, or -2 for data with
-- another id; the id of the data; then used and time left of each.
local name, lease, expected = ARGV[2], tonumber(ARGV[3]), ARGV[5]
redis.call('SET', KEYS[3], name, 'NX')
local data_id = redis.call('GET', KEYS[3])
if expected ~= '' and expected ~= data_id then return {-2, data_id} end
local is_made = redis.call('ZSCORE', KEYS[2], name)  -- by a call whose answer was lost
local states, result = {}, {-1, data_id}
for i = 4, #KEYS do
  local at = 3 * i - 6
  local window, limit, amount = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local used, last, first
  if window == 'flight' then
    used, last = places(KEYS[i], lease), now
  else
    used, last, first = current(KEYS[i], window)
  end
  if is_made then
    amount = 0
  elseif result[1] < 0 and used + math.max(amount, 1) > limit then
    result[1] = i - 4
  end
  states[i] = {window, amount, first}
  result[#result + 1] = used
  result[#result + 1] = last - now
end
if is_made or result[1] >= 0 then return result end
local number = redis.call('INCR', KEYS[1])
for i = 4, #KEYS do
  local window, amount, first = states[i][1], states[i][2], states[i][3]
  result[2 * i - 5] = result[2 * i - 5] + amount
  if window == 'flight' then
    lease_place(KEYS[i], lease, name)
  elseif first then
    redis.call('HINCRBY', KEYS[i], 'used', amount)
  else
    begin(KEYS[i], window, amount, number)
  end
end
redis.call('ZADD', KEYS[2], number, name)
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[4]))
return result
"""
)

_SETTLE = (
    _COMMON
    + """
-- KEYS: open, id, each claim. ARGV: now, name, then for each claim window, difference.
-- Returns whether the reservation was open, and the id of the data.
redis.call('SET', KEYS[2], ARGV[2], 'NX')
local data_id = redis.call('GET', KEYS[2])
local number = redis.call('ZSCORE', KEYS[1], ARGV[2])
redis.call('ZREM', KEYS[1], ARGV[2])
for i = 3, #KEYS do
  local window, difference = ARGV[2 * i - 3], ARGV[2 * i - 2]
  if window == 'flight' then
    redis.call('ZREM', KEYS[i], ARGV[2])  -- also if the reservation was lost, and its place renewed
  elseif number then
    local _, _, first = current(KEYS[i], window)
    if first and first <= tonumber(number) then redis.call('HINCRBY', KEYS[i], 'used', difference) end
  end
end
return {number and 1 or 0, data_id}
"""
)

_RENEW = (
    _COMMON
    + """
-- KEYS: one counter of places. ARGV: now, lease, names.
for i = 3, #ARGV do lease_place(KEYS[1], tonumber(ARGV[2]), ARGV[i]) end
"""
)

_RESTORE = (
    _COMMON
    + """
-- KEYS: number, counter. ARGV: now, window, used, and the time at which that much was used, or nothing.
local at, start, last = tonumber(ARGV[4]), bounds(ARGV[2])
if at and (at < start or at >= last) then return end
local used, _, first = current(KEYS[2], ARGV[2])
if not first then
  begin(KEYS[2], ARGV[2], ARGV[3], redis.call('INCR', KEYS[1]))
elseif used < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[2], 'used', ARGV[3])
end
"""
)

_MAX_OPEN = 100_000
"""Reservations that may be open in Redis. Older ones are those of processes that were killed."""

_NAMES_PER_CALL = 1000

_RESTORED = ("day", "month")
"""The windows of which a ledger knows what is used."""

_UNLIMITED = 2**53
"""A limit that no count reaches."""

_OTHER_DATA = -2
"""What `_RESERVE` returns if the data has another id than the one to which everything was restored."""

_NOTHING_RESTORED = b"none"
"""An id that no data has."""


class RedisHold(msgspec.Struct, Hold, eq=False):
    """A reservation in Redis by its name, "" if it was not counted."""

    claims: Claims
    levels: Sequence[Level]
    name: str = ""
    is_settled: bool = False


class RedisCounters:
    """Counters in the Redis or Valkey (5 or later, no cluster) at a URL, for one event loop.

    While Redis cannot be reached, `on_failure` "open" lets requests through uncounted, "closed" refuses them with
    status 503; `budgets_on_failure` is for claims on money. `lease`: seconds after which the places in flight of a
    killed process are free again. `on_empty` restores what is known from elsewhere. It is called at the first request,
    and if Redis has lost data, until it raises nothing. Claims on days and months wait for it; if it
    fails, they are counted from zero, or refused as if Redis could not be reached. `prefix` begins all keys. `now`
    replaces Redis's clock, in tests.
    """

    def __init__(
        self,
        url: Secret | str,
        *,
        on_failure: Literal["open", "closed"] = "open",
        budgets_on_failure: Literal["open", "closed"] = "closed",
        lease: float = 15.0,
        on_empty: Callable[[], Coroutine[Any, Any, None]] | None = None,
        prefix: str = "acytoo",
        now: Callable[[], float] | None = None,
    ) -> None:
        self._secrets, self._shown, self._client = connect(Secret(url).reveal(), "counters", self._identify)
        errors: Any = import_module("redis.exceptions")
        self._disconnected: type[Exception] = errors.ConnectionError
        self._refused: type[Exception] = errors.ResponseError
        self._failures: tuple[type[Exception], ...] = (errors.RedisError, OSError)
        self._is_open = {False: on_failure == "open", True: budgets_on_failure == "open"}
        self._lease = lease
        self._on_empty = on_empty
        self._prefix = prefix
        self._now = now
        self._reserve, self._settle, self._renew, self._restore = (
            self._client.register_script(script) for script in (_RESERVE, _SETTLE, _RENEW, _RESTORE)
        )
        self._open: dict[str, Claims] = {}
        """The claims of reservations that are not settled, by name."""
        self._unsettled: deque[tuple[str, Claims, Sequence[int]]] = deque(maxlen=_MAX_UNSETTLED)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._renewal = asyncio.Lock()
        """Held while places are renewed or reservations made again: what is settled then must wait."""
        self._connections = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._try_again_at = 0.0
        self._is_lost = False
        self._restored_id = _NOTHING_RESTORED
        """The id of the data in Redis to which everything was restored: other data has another id."""
        self._identity: list[str] = []
        """What the server is known by that was connected last."""
        self._restoring: asyncio.Task[None] | None = None
        self._is_restore_complete = self._is_restore_failing = False
        self._restore_again_at = 0.0

    async def reserve(self, claims: Sequence[Claim]) -> Hold | Exceeded:
        """Count all claims, or none if one does not fit. Raises ServerError if it is not known and must be."""
        claims = Claims.of(claims)
        if not claims:
            return RedisHold(claims, ())
        task = self._start(self._try_to_reserve(claims))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:

            def undo(done: asyncio.Task[Any]) -> None:
                # After an error nothing is counted, and nobody else looks at it.
                if done.exception() is None and isinstance(held := done.result(), RedisHold) and held.name:
                    self._give_back(held.name, claims)

            task.add_done_callback(undo)
            raise

    def reserve_now(self, plan: Plan, amounts: Sequence[int]) -> None:
        """Return None: Redis has to be asked."""

    def settle(self, hold: Hold, actual: Sequence[int]) -> None:
        """Begin to replace the reserved amounts by the real ones; later, if Redis is lost."""
        assert isinstance(hold, RedisHold)
        if hold.name and not hold.is_settled:
            hold.is_settled = True
            _ = self._start(self._settle_or_keep(hold.name, hold.claims, actual))

    async def restore(self, counter: str, window: Window, used: int, at: float | None = None) -> None:
        """Count at least `used` in the current window. Does nothing while Redis cannot be reached."""
        keys = [self._key("number"), self._key(counter, window)]
        try:
            await self._call(self._restore, keys, [window, used, "" if at is None else round(at * 1e6)])
        except _Lost:
            self._is_restore_complete = False

    async def renew(self) -> None:
        """Renew the leases of the places in flight, and settle what could not be settled before."""
        names: dict[str, list[str]] = {}
        async with self._renewal:
            for name, claims in self._open.items():
                for claim in claims:
                    if claim.window == "flight":
                        names.setdefault(self._key(claim.counter, claim.window), []).append(name)
            for key, held in names.items():
                for start in range(0, len(held), _NAMES_PER_CALL):
                    part = held[start : start + _NAMES_PER_CALL]
                    await self._call(self._renew, [key], [round(self._lease * 1e6), *part])
        for _ in range(len(self._unsettled)):
            name, claims, actual = self._unsettled.popleft()
            await self._settle_or_keep(name, claims, actual)

    async def close(self) -> None:
        """Settle what is left, if Redis can be reached, and close the connections."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
        self._is_restore_failing = True  # so that nobody waits for a database that may never answer
        while self._tasks:  # one that ends may start another
            if self._restoring is not None:
                self._restoring.cancel()
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        with suppress(_Lost):
            await self.renew()
        await self._client.aclose()

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run work that goes on if the caller is cancelled."""
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._keep_renewing())
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _try_to_reserve(self, claims: Claims) -> Hold | Exceeded:
        must_be_restored = self._on_empty is not None and any(claim.window in _RESTORED for claim in claims)
        while True:
            name = uuid.uuid4().hex
            try:
                number, data_id, *used_and_left = await self._call_reserve(name, claims, must_be_restored)
            except _Lost as lost:
                if lost.may_have_run:
                    self._give_back(name, claims)
                self._check_open(claims, "the counters cannot be reached")
                return RedisHold(claims, ())
            restoring = self._restoring_to(data_id)
            if restoring is None:
                if number != _OTHER_DATA:  # else it has been restored meanwhile
                    break
                continue
            if not must_be_restored:
                break
            if number != _OTHER_DATA:  # on a new connection to another server
                self._give_back(name, claims)
            if not await self._has_restored(restoring):
                known_elsewhere = [claim for claim in claims if claim.window in _RESTORED]
                self._check_open(known_elsewhere, "the counters have lost their data, and the ledger cannot be read")
                must_be_restored = False
        pairs = zip(claims, used_and_left[::2], used_and_left[1::2], strict=True)
        levels = [Level(claim, used, resets_in / 1e6) for claim, used, resets_in in pairs]
        if number >= 0:
            return Exceeded(levels[number], retry_after(levels[number]), levels)
        self._open[name] = claims
        return RedisHold(claims, levels, name)

    async def _reserve_again(self) -> None:
        """Count what is in progress, unless the data has it. So it can be settled, and no limit forgets it."""
        async with self._renewal:
            for name, claims in list(self._open.items()):
                if name in self._open:  # not settled meanwhile
                    unlimited = [claim._replace(limit=_UNLIMITED) for claim in claims]
                    await self._call_reserve(name, unlimited, must_be_restored=False)

    async def _call_reserve(self, name: str, claims: Sequence[Claim], must_be_restored: bool) -> list[Any]:
        keys = [self._key("number"), self._key("open"), self._key("id")]
        expected = self._restored_id if must_be_restored else b""
        values: list[str | int | bytes] = [name, round(self._lease * 1e6), _MAX_OPEN, expected]
        for claim in claims:
            keys.append(self._key(claim.counter, claim.window))
            values += [claim.window, claim.limit, claim.amount]
        result: list[Any] = await self._call(self._reserve, keys, values)
        return result

    def _restoring_to(self, data_id: bytes) -> asyncio.Task[None] | None:
        """Return what restores everything to the data with an id, None if that was done."""
        if data_id == self._restored_id or self._on_empty is None:
            return None
        if self._restoring is None:
            self._restoring = self._start(self._restore_all(data_id, self._on_empty))
        return self._restoring

    async def _has_restored(self, restoring: asyncio.Task[None]) -> bool:
        """Wait until a try to restore has ended, and return whether it may have succeeded. Not if the last one failed:
        no request waits for a database that is away."""
        if not self._is_restore_failing:
            done, _ = await asyncio.wait({restoring}, timeout=_TIMEOUT)
            if not done:
                self._report_restore_failure("the ledger does not answer")
        return not self._is_restore_failing

    async def _restore_all(self, data_id: bytes, restore: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Restore to the data with an id what is known from elsewhere. A later reservation tries again if it fails."""
        await asyncio.sleep(self._restore_again_at - time.monotonic())
        self._is_restore_complete = True
        self._restore_again_at = time.monotonic() + _TRY_AGAIN_AFTER
        try:
            await restore()
            await self._reserve_again()
            self._is_restore_failing = False
            if self._is_restore_complete:
                self._restored_id, self._restore_again_at = data_id, 0.0
        except _Lost:
            pass  # the next request finds out
        except Exception as error:  # also one that nobody expects: requests wait for this
            self._report_restore_failure(str(error) if isinstance(error, AcytooError) else repr(error))
        finally:
            self._restoring = None

    def _report_restore_failure(self, reason: str) -> None:
        if not self._is_restore_failing:
            _LOG.error("cannot restore the counters at %s, trying again: %s", self._shown, reason)
        self._is_restore_failing = True

    def _check_open(self, claims: Sequence[Claim], why: str) -> None:
        """Raise ServerError if one of the limits must not be passed while it is not known what is used of it."""
        for claim in claims:
            if not self._is_open[claim.counter.endswith(":money")]:
                raise ServerError(
                    f"the limits cannot be checked, because {why}: try again later",
                    status=503,
                    code="overloaded_error",
                    retry_after=_TRY_AGAIN_AFTER,
                )

    def _give_back(self, name: str, claims: Claims) -> None:
        """Undo a reservation that nobody uses, if it was made."""
        _ = self._start(self._settle_or_keep(name, claims, [0] * len(claims.amounts)))

    async def _settle_or_keep(self, name: str, claims: Claims, actual: Sequence[int]) -> None:
        """Settle, or keep what is to be settled until Redis can be reached again."""
        self._open.pop(name, None)
        async with self._renewal:  # one that has begun would lease the place again
            pass
        keys = [self._key("open"), self._key("id")]
        values: list[str | int] = [name]
        for counter, window, _, unit in claims.plan.limits:
            keys.append(self._key(counter, window))
            values += [window, actual[unit] - claims.amounts[unit]]
        try:
            was_open, data_id = await self._call(self._settle, keys, values)
        except _Lost:
            self._unsettled.append((name, claims, actual))
            return
        if not was_open and self._restoring_to(data_id) is not None:
            self._is_restore_complete = False  # the ledger may have been read before it had this

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(min(self._lease / 3, _TRY_AGAIN_AFTER) if self._unsettled else self._lease / 3)
            with suppress(_Lost):
                await self.renew()

    async def _call(self, script: Any, keys: list[str], values: Sequence[str | int | bytes]) -> Any:
        """Run a script. Raises _Lost if Redis does not answer, or has not answered a moment ago."""
        async with self._connections:
            if self._is_lost and time.monotonic() < self._try_again_at:
                raise _Lost(may_have_run=False)
            self._try_again_at = time.monotonic() + _TRY_AGAIN_AFTER
            arguments = ["" if self._now is None else round(self._now() * 1e6), *values]
            try:
                try:
                    result = await script(keys=keys, args=arguments)
                except self._disconnected:  # Redis has restarted: none of the connections is left
                    await self._client.connection_pool.disconnect(inuse_connections=False)
                    result = await script(keys=keys, args=arguments)
            except self._failures as error:
                # Another server may have its address now, such as if this one has become a replica.
                await self._client.connection_pool.disconnect(inuse_connections=False)
                self._report_loss(error)
                raise _Lost(may_have_run=True) from error
        if self._is_lost:
            self._is_lost = False
            _LOG.warning("the counters at %s can be reached again", self._shown)
        return result

    async def _identify(self, connection: Any) -> None:
        """Prepare a new connection; if its server is another one than before, all has to be restored again.

        Where INFO is forbidden, each connection counts as one to another server.
        """
        await connection.on_connect()
        await connection.send_command("INFO")
        try:
            reply = await connection.read_response()
        except self._refused:
            reply = b""
        text = reply.decode() if isinstance(reply, bytes) else reply
        identity = _IDENTITY.findall(text)
        if not identity or identity != self._identity:
            self._identity, self._restored_id, self._is_restore_complete = identity, _NOTHING_RESTORED, False
            if policy := _EVICTS.search(text):
                _LOG.warning(
                    "the counters at %s may be forgotten when its memory is full, and limits passed: "
                    "set maxmemory-policy to noeviction there, not %s",
                    self._shown,
                    policy[1],
                )

    def _report_loss(self, error: Exception) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        reason = redact(f"{type(error).__name__}: {error}", self._secrets)
        words = {True: "let through uncounted", False: "refused"}
        _LOG.error(
            "the counters at %s cannot be reached, trying again every second (%s); requests with budgets are %s, "
            "others with limits %s",
            self._shown,
            reason,
            words[self._is_open[True]],
            words[self._is_open[False]],
        )

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


class _Lost(Exception):
    """Redis does not answer; the script may have run nevertheless."""

    def __init__(self, *, may_have_run: bool) -> None:
        super().__init__()
        self.may_have_run = may_have_run


def connect(
    url: str, what: str, on_connect: Callable[[Any], Coroutine[Any, Any, None]] | None = None
) -> tuple[list[Secret], str, Any]:
    """Return the secrets of a URL, the URL without them, and a client for `what`.

    `on_connect` prepares each new connection in place of its own method of that name. Nothing is sent yet. Raises
    MissingExtraError and UsageError.
    """
    try:
        redis: Any = import_module("redis.asyncio")
    except ImportError as error:
        raise MissingExtraError(f"{what} in Redis", "redis") from error
    for name, other in (("valkey://", "redis://"), ("valkeys://", "rediss://")):
        if url.startswith(name):
            url = other + url.removeprefix(name)
    try:
        shown, user, query = split_secrets(url)
        retry = import_module("redis.asyncio.retry").Retry(import_module("redis.backoff").NoBackoff(), 0)
        pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=retry,  # `_call` tries again
            redis_connect_func=on_connect,
        )
    except ValueError:
        raise UsageError(f"invalid URL for the {what}: expected redis://HOST:PORT/DATABASE") from None
    secrets = [Secret(url), *secrets_of(user, query, {})]
    try:
        pool.make_connection()  # not connected yet: it only looks at the parameters, which a pool keeps until then
    except TypeError as error:
        name = str(error).rpartition("unexpected keyword argument ")[2]
        raise UsageError(f"invalid URL for the {what}: unknown parameter {name}: leave it out") from None
    except redis.RedisError as error:
        raise UsageError(f"invalid URL for the {what}: {redact(str(error), secrets)}") from None
    return secrets, shown, redis.Redis.from_pool(pool)
