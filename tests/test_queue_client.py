"""One worker's steps in a real Redis, over a line that loses answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fetcher.errors import QueueError
from fetcher.queue.client import Ask, Given, QueueClient
from fetcher.queue.plan import QueuePlan
from tests.servers.redis import RedisServer

LEASE = 0.2


class Line:
    """Between a worker and Redis.

    :ivar losing: whether the next answer is lost, and the connection with it.
    """

    def __init__(self, port: int) -> None:
        self.losing = False
        self._port = port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)

        async def back() -> None:
            while data := await theirs.read(1 << 16):
                if self.losing:
                    self.losing = False
                    break
                writer.write(data)
            writer.close()

        answering = asyncio.ensure_future(back())
        while data := await reader.read(1 << 16):
            ours.write(data)
        ours.close()
        await answering


@asynccontextmanager
async def worker(server: RedisServer, name: str = "w") -> AsyncIterator[tuple[QueueClient, Line]]:
    line = Line(server.port)
    listening = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = QueueClient(QueuePlan(f"redis://127.0.0.1:{port}/0", "q", LEASE, name), lambda: True)
    try:
        await client.join("list")
        yield client, line
    finally:
        await client.close()
        listening.close()


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    redis_server.client.flushall()
    return redis_server


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def texts(rows: tuple[Given, ...]) -> list[str]:
    return [row.text for row in rows]


async def load(client: QueueClient, *rows: str) -> None:
    assert await client.load(0, len(rows), rows, whole=False) == ("at", len(rows))
    assert await client.load(len(rows), len(rows), (), whole=True) == ("at", len(rows))


def test_rows_whose_answer_was_lost_come_with_the_next(server: RedisServer) -> None:
    async def test() -> None:
        async with worker(server) as (client, line):
            await load(client, "a", "b", "c", "d")
            # The first time, Redis asks for the script itself.
            await client.turn(0, True, Ask())
            line.losing = True
            first = await client.turn(2, True, Ask())
            held = [(row.id, False) for row in first.rows]
            second = await client.turn(0, False, Ask(held=held))
            assert texts(first.rows) == ["c", "d"]
            assert texts(second.rows) == ["a", "b"]
            assert {row.kills for row in second.rows} == {0}
            third = await client.turn(4, False, Ask(held=held))
            assert third.rows == ()
            assert third.left == 4

    run(test)


def test_a_row_is_done_once_however_often_it_is_told(server: RedisServer) -> None:
    async def test() -> None:
        async with worker(server) as (client, line):
            await load(client, "a")
            (row,) = (await client.turn(1, True, Ask())).rows
            line.losing = True
            turn = await client.turn(0, True, Ask(done=[(row.id, "ok")]))
            assert (turn.left, turn.whole) == (0, True)
            await client.turn(0, True, Ask(done=[(row.id, "ok")]))
            assert server.state("q")["ok"] == "1"

    run(test)


def test_rows_are_put_in_once_though_the_answer_was_lost(server: RedisServer) -> None:
    async def test() -> None:
        async with worker(server) as (client, line):
            assert await client.load(-1, -1, (), whole=False) == ("at", 0)
            line.losing = True
            await load(client, "a", "b")
            assert texts((await client.turn(9, True, Ask())).rows) == ["a", "b"]

    run(test)


def test_who_gives_a_row_back_has_not_died_over_it(server: RedisServer) -> None:
    async def test() -> None:
        async with worker(server, "one") as (one, _), worker(server, "two") as (two, _):
            await load(one, "a")
            for _ in range(5):
                (row,) = (await one.turn(1, True, Ask())).rows
                assert (row.kills, row.aside) == (0, 0)
                await one.turn(0, True, Ask(back=[(row.id, one.lease)]))
            assert texts((await two.turn(1, True, Ask())).rows) == ["a"]

    run(test)


def test_who_gets_on_with_a_row_is_not_taken_to_die_over_it(server: RedisServer) -> None:
    """Five workers in turn get some way, and are killed."""

    async def test() -> None:
        async with worker(server, "zero") as (zero, _):
            await load(zero, "a")
        for number in range(5):
            async with worker(server, str(number)) as (client, _):
                (row,) = (await client.turn(1, True, Ask())).rows
                assert row.kills == min(number, 1)
                await client.turn(0, False, Ask(held=[(row.id, True)]))
                await asyncio.sleep(LEASE)

    run(test)


def test_a_row_that_two_have_died_of_comes_last_and_alone(server: RedisServer) -> None:
    async def test() -> None:
        async with worker(server, "zero") as (zero, _):
            await load(zero, "a", "b", "c")
        for number in range(2):
            async with worker(server, f"dead-{number}") as (client, _):
                assert texts((await client.turn(1, True, Ask())).rows) == ["a"]
                await asyncio.sleep(LEASE)
        async with worker(server, "busy") as (client, _):
            rows = (await client.turn(1, False, Ask())).rows
            rows += (await client.turn(5, False, Ask())).rows
            assert texts(rows) == ["b", "c"]
            done = [(row.id, "ok") for row in rows]
            assert (await client.turn(5, False, Ask(done=done))).rows == ()
            (last,) = (await client.turn(5, True, Ask())).rows
            assert (last.text, last.kills, last.aside) == ("a", 2, 0)
            await asyncio.sleep(LEASE)
        async with worker(server, "next") as (client, _):
            (aside,) = (await client.turn(5, False, Ask())).rows
            assert (aside.text, aside.kills, aside.aside) == ("a", 3, 1)

    run(test)


def test_where_most_die_of_something_else_a_row_is_not_set_aside(server: RedisServer) -> None:
    async def test() -> None:
        async with worker(server, "zero") as (zero, _):
            await load(zero, "a", "b")
        async with worker(server, "first") as (client, _):
            assert texts((await client.turn(1, True, Ask())).rows) == ["a"]
        await asyncio.sleep(LEASE)
        async with worker(server, "second") as (client, _):
            assert texts((await client.turn(1, True, Ask())).rows) == ["a"]
        for number in range(5):
            async with worker(server, f"other-{number}") as (client, _):
                (row,) = (await client.turn(1, False, Ask())).rows
                assert row.text == "b"
                await client.turn(0, False, Ask(held=[(row.id, True)]))
            await asyncio.sleep(LEASE)
        async with worker(server, "last") as (client, _):
            (row,) = (await client.turn(1, False, Ask())).rows
            await client.turn(0, False, Ask(done=[(row.id, "ok")]))
            (row,) = (await client.turn(1, True, Ask())).rows
            assert (row.text, row.kills) == ("a", 2)
            await asyncio.sleep(LEASE)
            (row,) = (await client.turn(1, True, Ask())).rows
            assert (row.text, row.kills, row.aside) == ("a", 3, 0)

    run(test)


def test_another_list_is_refused_until_the_first_is_done(server: RedisServer) -> None:
    async def test() -> None:
        async with worker(server) as (client, _):
            with pytest.raises(QueueError, match="at work on another list"):
                await client.join("another")
            await load(client, "a")
            (row,) = (await client.turn(1, True, Ask())).rows
            with pytest.raises(QueueError, match="at work on another list"):
                await client.join("another")
            await client.turn(0, True, Ask(done=[(row.id, "ok")]))
            before = client.run
            await client.join("another")
            assert client.run != before

    run(test)


def test_only_one_puts_rows_in_and_another_goes_on_where_it_died(server: RedisServer) -> None:
    async def test() -> None:
        async with worker(server, "one") as (one, _), worker(server, "two") as (two, _):
            assert await one.load(-1, -1, (), whole=False) == ("at", 0)
            assert await one.load(0, 2, ("a", "b"), whole=False) == ("at", 2)
            assert await two.load(-1, -1, (), whole=False) == ("taken", 2)
            await asyncio.sleep(LEASE)
            assert await two.load(-1, -1, (), whole=False) == ("at", 2)
            assert await one.load(2, 3, ("c",), whole=False) == ("taken", 2)
            assert await two.load(2, 3, ("c",), whole=True) == ("at", 3)
            assert await one.load(-1, -1, (), whole=False) == ("whole", 3)
            assert texts((await one.turn(9, True, Ask())).rows) == ["a", "b", "c"]

    run(test)


def test_something_else_under_the_queues_name(server: RedisServer) -> None:
    server.client.set("fetcher:q:rows", "somebody's")
    server.client.hset("fetcher:q:state", mapping={"run": "1", "list": "list", "whole": "1"})

    async def test() -> None:
        with pytest.raises(QueueError, match="does not work: WRONGTYPE"):
            async with worker(server):
                pass

    run(test)
