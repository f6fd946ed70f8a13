"""Sessions of protocols that block: each in its thread, lent, bounded, closed when idle."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.handlers.blocking import Login, Refused, TooManyConnections
from fetcher.handlers.blocking import pool as pool_module
from fetcher.handlers.blocking.pool import Pool
from fetcher.handlers.blocking.worker import Worker
from fetcher.rules.replies import Facts

LOGIN = Login("test", "h", None, "me")
OTHER = Login("test", "h", None, "you")


class Server:
    """Lets sessions in, `most` at a time."""

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.door = threading.Event()
        """Logins wait until it is open."""
        self.door.set()
        self.failure: Exception | None = None
        """What the next login meets."""
        self.sessions: list[Session] = []
        self.inside: list[Session] = []
        self.peak = 0
        self.lock = threading.Lock()

    def session(self, login: Login) -> "Session":
        session = Session(self, login)
        self.sessions.append(session)
        return session


class Session:
    """Does nothing, and can wait for ever."""

    ranges = True
    runs_on = False
    reusable = True

    def __init__(self, server: Server, login: Login) -> None:
        self.login_ = login
        self.interrupted = threading.Event()
        self.closed = False
        self._server = server

    def login(self) -> None:
        server = self._server
        while not server.door.wait(0.005):
            if self.interrupted.is_set():
                raise ConnectionAbortedError
        with server.lock:
            failure, server.failure = server.failure, None
            if failure is not None:
                raise failure
            if server.most is not None and len(server.inside) >= server.most:
                raise TooManyConnections("there is no room")
            server.inside.append(self)
            server.peak = max(server.peak, len(server.inside))

    def wait(self) -> None:
        """Until it is interrupted."""
        self.interrupted.wait()
        raise ConnectionAbortedError

    def facts(self, url: str) -> Facts:
        raise Refused(404, "there is nothing here")

    def open(self, url: str, start: int, end: int | None) -> None: ...

    def read(self) -> list[memoryview]:
        return []

    def finish(self) -> None: ...

    def interrupt(self) -> None:
        with self._server.lock:
            # A server notices at once.
            if self in self._server.inside:
                self._server.inside.remove(self)
        self.interrupted.set()

    def close(self) -> None:
        self.interrupt()
        self.closed = True


@pytest.fixture(autouse=True)
def not_even_a_daemon_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 2
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.001)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 2
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def run(
    server: Server, test: Callable[[Pool], Coroutine[Any, Any, None]], *, timeout: float = 5
) -> None:
    """A test with a pool, which is closed at the end: no session may last."""

    async def main() -> None:
        pool = Pool(server.session, timeout)
        try:
            async with asyncio.timeout(10):
                await test(pool)
        finally:
            pool.close()
        await until(lambda: all(session.closed for session in server.sessions))

    asyncio.run(main())


# --- sessions are kept ----------------------------------------------------------------------------


def test_a_session_is_used_again() -> None:
    server = Server()

    async def test(pool: Pool) -> None:
        first = await pool.acquire(LOGIN)
        assert first.served == 0
        pool.release(first)
        again = await pool.acquire(LOGIN)
        assert again is first
        assert again.served == 1
        pool.release(again)

    run(server, test)
    assert len(server.sessions) == 1


def test_two_at_once_have_a_session_each() -> None:
    server = Server()

    async def test(pool: Pool) -> None:
        first, second = await pool.acquire(LOGIN), await pool.acquire(LOGIN)
        assert first is not second
        pool.release(first)
        pool.release(second)
        # The one whose server has waited least.
        assert await pool.acquire(LOGIN) is second

    run(server, test)


@pytest.mark.parametrize(
    "other",
    [
        OTHER,
        Login("test", "h", None, "me", "password"),
        Login("test", "h", 21, "me"),
        Login("test", "i", None, "me"),
    ],
)
def test_a_session_is_for_one_login(other: Login) -> None:
    server = Server()

    async def test(pool: Pool) -> None:
        first = await pool.acquire(LOGIN)
        pool.release(first)
        second = await pool.acquire(other)
        assert second is not first
        assert second.login == other
        assert await pool.acquire(LOGIN) is first

    run(server, test)


def test_an_idle_session_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "IDLE", 0.01)
    server = Server()

    async def test(pool: Pool) -> None:
        worker = await pool.acquire(LOGIN)
        pool.release(worker)
        await until(lambda: server.sessions[0].closed)
        assert await pool.acquire(LOGIN) is not worker

    run(server, test)
    assert len(server.sessions) == 2


def test_a_lent_session_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "IDLE", 0.01)
    server = Server()

    async def test(pool: Pool) -> None:
        worker = await pool.acquire(LOGIN)
        pool.release(worker)
        assert await pool.acquire(LOGIN) is worker
        await asyncio.sleep(0.03)
        assert not server.sessions[0].closed

    run(server, test)


def test_a_discarded_session_is_interrupted_and_not_used_again() -> None:
    server = Server()

    async def test(pool: Pool) -> None:
        worker = await pool.acquire(LOGIN)
        waiting = worker.call(server.sessions[0].wait)
        pool.discard(worker)
        with pytest.raises(ConnectionAbortedError):
            await waiting
        await until(lambda: server.sessions[0].closed)
        assert await pool.acquire(LOGIN) is not worker

    run(server, test)


# --- logins that fail -----------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [Refused(403, "no"), EOFError(), OSError(), KeyError()])
def test_a_login_that_fails(failure: Exception) -> None:
    server = Server()
    server.failure = failure

    async def test(pool: Pool) -> None:
        with pytest.raises(type(failure)) as caught:
            await pool.acquire(LOGIN)
        assert caught.value is failure
        await until(lambda: server.sessions[0].closed)
        await pool.acquire(LOGIN)

    run(server, test)


def test_a_login_that_is_refused_is_not_tried_again() -> None:
    """That is how accounts are locked; and ten at a time are one."""
    server = Server()
    server.failure = Refused(401, "no")

    async def test(pool: Pool) -> None:
        several = (pool.acquire(LOGIN) for _ in range(10))
        results = await asyncio.gather(*several, return_exceptions=True)
        assert all(isinstance(result, Refused) for result in results)
        assert {str(result) for result in results} == {"no"}
        with pytest.raises(Refused):
            await pool.acquire(LOGIN)

    run(server, test)
    assert len(server.sessions) == 1


def test_a_login_that_takes_too_long() -> None:
    server = Server()
    server.door.clear()

    async def test(pool: Pool) -> None:
        with pytest.raises(TimeoutError):
            await pool.acquire(LOGIN)
        await until(lambda: server.sessions[0].closed)
        server.door.set()
        await pool.acquire(LOGIN)

    run(server, test, timeout=0.05)


def test_a_login_that_is_not_waited_for_any_more() -> None:
    server = Server()
    server.door.clear()

    async def test(pool: Pool) -> None:
        task = asyncio.ensure_future(pool.acquire(LOGIN))
        await until(lambda: len(server.sessions) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: server.sessions[0].closed)

    run(server, test)


# --- servers that take few ------------------------------------------------------------------------


async def borrow(pool: Pool, done: list[int], number: int, login: Login = LOGIN) -> None:
    worker = await pool.acquire(login)
    await asyncio.sleep(0.002)
    done.append(number)
    pool.release(worker)


@pytest.mark.parametrize("most", [1, 3])
def test_more_at_once_than_the_server_takes(most: int) -> None:
    server = Server(most)
    done: list[int] = []

    async def test(pool: Pool) -> None:
        await asyncio.gather(*(borrow(pool, done, number) for number in range(20)))

    run(server, test)
    assert sorted(done) == list(range(20))
    assert server.peak == most
    # None has tried more than once without need: servers lock out who knocks too often.
    assert len(server.sessions) <= 20


def test_first_come_first_served() -> None:
    server = Server(1)
    done: list[int] = []

    async def test(pool: Pool) -> None:
        await asyncio.gather(*(borrow(pool, [], number) for number in range(2)))
        await asyncio.gather(*(borrow(pool, done, number) for number in range(10)))

    run(server, test)
    assert done == list(range(10))
    assert len(server.sessions) == 2


def test_a_server_that_takes_none() -> None:
    server = Server(0)

    async def test(pool: Pool) -> None:
        for _ in range(2):
            with pytest.raises(TooManyConnections):
                await pool.acquire(LOGIN)
        server.most = None
        # It was no limit: it took none at all.
        await asyncio.gather(*(pool.acquire(LOGIN) for _ in range(3)))

    run(server, test)
    assert server.peak == 3


def test_a_server_that_takes_none_of_many() -> None:
    server = Server(0)

    async def test(pool: Pool) -> None:
        results = await asyncio.gather(
            *(pool.acquire(LOGIN) for _ in range(10)), return_exceptions=True
        )
        assert all(isinstance(result, TooManyConnections) for result in results)

    run(server, test)
    assert len(server.sessions) < 2 * 10


def test_a_server_that_takes_none_any_more() -> None:
    """Those who wait for a session that breaks are told, too."""
    server = Server(2)

    async def test(pool: Pool) -> None:
        tasks = [asyncio.ensure_future(pool.acquire(LOGIN)) for _ in range(10)]
        await until(lambda: sum(task.done() for task in tasks) == 2 and len(server.sessions) > 2)
        server.most = 0
        lent = [await task for task in tasks if task.done()]
        for worker in lent:
            pool.discard(worker)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(result, TooManyConnections) for result in results) == 8

    run(server, test)
    assert len(server.sessions) < 3 * 10


def test_after_a_while_one_more_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(1)

    async def test(pool: Pool) -> None:
        await asyncio.gather(*(borrow(pool, [], number) for number in range(5)))
        server.most = None
        await asyncio.gather(*(borrow(pool, [], number) for number in range(5)))
        assert server.peak == 1
        monkeypatch.setattr(pool_module, "PATIENCE", 0)
        await asyncio.gather(*(borrow(pool, [], number) for number in range(20)))
        assert server.peak > 1

    run(server, test)


def test_one_more_that_is_tried_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(2)
    done: list[int] = []
    monkeypatch.setattr(pool_module, "PATIENCE", 0.01)

    async def test(pool: Pool) -> None:
        await asyncio.gather(*(borrow(pool, done, number) for number in range(60)))

    run(server, test)
    assert sorted(done) == list(range(60))
    assert server.peak == 2


async def after_a_while(pool: Pool, login: Login) -> Worker:
    """Once the server has noticed who has gone; until then the answer is 503, and soon again."""
    while True:
        try:
            return await pool.acquire(login)
        except TooManyConnections:
            await asyncio.sleep(0.001)


def test_an_idle_session_makes_room_for_another_login() -> None:
    server = Server(1)

    async def test(pool: Pool) -> None:
        await asyncio.gather(*(borrow(pool, [], number) for number in range(2)))
        first = server.sessions[-1] if server.sessions[0].closed else server.sessions[0]
        worker = await after_a_while(pool, OTHER)
        assert worker.login == OTHER
        assert first.closed

    run(server, test)
    assert server.peak == 1


# --- who waits ------------------------------------------------------------------------------------


async def one_lent(pool: Pool) -> Worker:
    """The only session that the server takes, and a pool that knows it."""
    await asyncio.gather(*(borrow(pool, [], number) for number in range(2)))
    return await pool.acquire(LOGIN)


def test_one_that_waits_goes_away() -> None:
    server = Server(1)

    async def test(pool: Pool) -> None:
        worker = await one_lent(pool)
        tasks = [asyncio.ensure_future(pool.acquire(LOGIN)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        pool.release(worker)
        assert await tasks[1] is worker
        assert not tasks[2].done()
        pool.release(worker)
        assert await tasks[2] is worker

    run(server, test)


def test_one_goes_away_when_its_turn_has_just_come() -> None:
    server = Server(1)

    async def test(pool: Pool) -> None:
        worker = await one_lent(pool)
        tasks = [asyncio.ensure_future(pool.acquire(LOGIN)) for _ in range(2)]
        await asyncio.sleep(0)
        pool.release(worker)
        tasks[0].cancel()
        assert await tasks[1] is worker
        assert tasks[0].cancelled()

    run(server, test)


def test_a_session_breaks_and_who_waits_gets_a_new_one() -> None:
    server = Server(1)

    async def test(pool: Pool) -> None:
        worker = await one_lent(pool)
        task = asyncio.ensure_future(pool.acquire(LOGIN))
        await asyncio.sleep(0)
        pool.discard(worker)
        assert await task is not worker

    run(server, test)
    assert server.peak == 1


# --- the end --------------------------------------------------------------------------------------


def test_the_pool_is_closed() -> None:
    server = Server(2)

    async def test(pool: Pool) -> None:
        await asyncio.gather(*(borrow(pool, [], number) for number in range(3)))
        worker = await pool.acquire(LOGIN)
        session = next(each for each in server.sessions if each is worker.session)
        transfer = worker.call(session.wait)
        await pool.acquire(LOGIN)
        late = asyncio.ensure_future(pool.acquire(LOGIN))
        await asyncio.sleep(0)
        pool.close()
        with pytest.raises(ConnectionAbortedError):
            await transfer
        with pytest.raises(ConnectionAbortedError):
            await late
        with pytest.raises(ConnectionAbortedError):
            await pool.acquire(LOGIN)
        pool.discard(worker)  # As whoever had it does in the end.

    run(server, test)


def test_the_pool_is_closed_while_one_logs_in() -> None:
    server = Server()
    server.door.clear()

    async def test(pool: Pool) -> None:
        task = asyncio.ensure_future(pool.acquire(LOGIN))
        await until(lambda: len(server.sessions) == 1)
        pool.close()
        with pytest.raises(ConnectionAbortedError):
            await task

    run(server, test)


steps = st.lists(
    st.tuples(
        st.sampled_from([LOGIN, OTHER]),
        st.integers(0, 3),
        st.sampled_from(["release", "discard", "cancel"]),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(steps, st.none() | st.integers(1, 3))
def test_whoever_comes_is_served(steps: list[tuple[Login, int, str]], most: int | None) -> None:
    """And nobody waits for ever, whatever the others do."""
    server = Server(most)

    async def use(pool: Pool, login: Login, turns: int, end: str) -> None:
        task = asyncio.ensure_future(pool.acquire(login))
        for _ in range(turns):
            await asyncio.sleep(0)
        if end == "cancel":
            task.cancel()
        with suppress(asyncio.CancelledError, TooManyConnections):
            worker = await task
            assert worker.login == login
            await asyncio.sleep(0)
            if end == "discard":
                pool.discard(worker)
            else:
                pool.release(worker)

    async def test(pool: Pool) -> None:
        await asyncio.gather(*(use(pool, *step) for step in steps))
        # All that was lent is back.
        pool.release(await after_a_while(pool, LOGIN))

    run(server, test)
    assert server.inside == []


# --- the worker -----------------------------------------------------------------------------------


def test_a_workers_calls_are_made_in_order_in_one_thread() -> None:
    async def main() -> None:
        worker = Worker(LOGIN, Server().session(LOGIN))
        threads: list[tuple[int, threading.Thread]] = []

        def note(number: int) -> int:
            threads.append((number, threading.current_thread()))
            return number * 2

        futures = [worker.call(note, number) for number in range(5)]
        assert await asyncio.gather(*futures) == [0, 2, 4, 6, 8]
        assert [number for number, _ in threads] == list(range(5))
        assert len({thread for _, thread in threads}) == 1
        assert threads[0][1].name == "test-session"
        worker.close(interrupt=False)

    asyncio.run(main())


def test_a_worker_is_closed_after_what_was_called() -> None:
    server = Server()

    async def main() -> None:
        worker = Worker(LOGIN, server.session(LOGIN))
        server.door.clear()
        login = worker.call(worker.session.login)
        worker.close(interrupt=False)
        worker.close(interrupt=False)
        late = worker.call(worker.session.finish)
        server.door.set()
        await login
        with pytest.raises(ConnectionAbortedError):
            await late
        await until(lambda: server.sessions[0].closed)

    asyncio.run(main())


def test_an_error_that_nobody_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()

    async def main() -> None:
        worker = Worker(LOGIN, server.session(LOGIN))
        given_up = worker.call(server.sessions[0].wait)
        given_up.cancel()
        forgotten = worker.call(server.sessions[0].wait)
        worker.close(interrupt=True)
        await until(lambda: server.sessions[0].closed)
        assert given_up.cancelled()
        assert isinstance(forgotten.exception(), ConnectionAbortedError)

    asyncio.run(main())
    assert caplog.records == []


def test_a_loop_that_ends_before_the_worker() -> None:
    server = Server()
    workers: list[Worker] = []

    async def main() -> None:
        worker = Worker(LOGIN, server.session(LOGIN))
        workers.append(worker)
        worker.call(server.sessions[0].wait)

    asyncio.run(main())
    workers[0].close(interrupt=True)
