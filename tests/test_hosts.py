"""How many connections a server bears, learned from what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fetcher.errors import Stopped
from fetcher.rules.backoff import Backoff
from fetcher.rules.ranges import Claim
from fetcher.transfer import hosts
from fetcher.transfer.hosts import Host, Hosts, Turn
from fetcher.transfer.writer import RangeWriter
from tests.test_plan import Counter


def writer(status: int | None = None) -> RangeWriter:
    made = RangeWriter(Claim(0, 10), Counter(10), Backoff(3, 1.0))
    made.status = status
    return made


def serving(host: Host, count: int) -> list[RangeWriter]:
    writers = [writer(206) for _ in range(count)]
    for each in writers:
        host.enter(each)
        each.served = True
        host.serve(each)
    return writers


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


@pytest.mark.parametrize("status", [None, 429, 503, 509])
def test_what_is_refused_beside_others_is_about_their_number(status: int | None) -> None:
    async def test() -> None:
        host = Host()
        serving(host, 2)
        assert host.turns_away(writer(status), alone=True)
        assert (host.limit, host.full) == (2, True)

    in_loop(test)


@pytest.mark.parametrize("status", [404, 500, 200, 416])
def test_what_is_not(status: int) -> None:
    async def test() -> None:
        host = Host()
        serving(host, 2)
        assert not host.turns_away(writer(status), alone=True)
        assert host.limit is None

    in_loop(test)


def silent(host: Host) -> RangeWriter:
    made = writer()
    host.enter(made)
    made.silent = True
    return made


def test_silence_beside_others_is_about_their_number() -> None:
    async def test() -> None:
        host = Host()
        serving(host, 2)
        waiting = silent(host)
        assert host.turns_away(waiting, alone=True)
        assert host.limit == 2
        waiting.turn = Turn.FREE
        assert host.turns_away(waiting, alone=True), "who asked before it is still being served"

    in_loop(test)


def test_who_has_just_been_served_is_still_taken_to_be() -> None:
    """The server has not come to the next one in its queue yet."""

    async def test() -> None:
        host = Host()
        first, waiting = serving(host, 1), silent(host)
        host.rest(first[0])
        assert host.turns_away(waiting, alone=True)
        assert host.limit == 1
        host.serve(first[0])
        host.leave(first[0])
        assert host.turns_away(waiting, alone=True)

    in_loop(test)


def test_silence_is_about_the_file_where_the_server_has_served_more_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "TURN_SECONDS", 0)

    async def test() -> None:
        host = Host()
        first, waiting = serving(host, 1), silent(host)
        host.leave(serving(host, 1)[0])
        assert not host.turns_away(waiting, alone=True)
        host.leave(first[0])
        assert not host.turns_away(waiting, alone=True), "it serves nobody any more"

    in_loop(test)


def test_silence_in_its_turn_is_about_the_file_where_others_come_after_it() -> None:
    async def test() -> None:
        host = Host()
        first, waiting = serving(host, 1), silent(host)
        waiting.turn = Turn.FREE
        host.rest(first[0])
        serving(host, 1)
        assert not host.turns_away(waiting, alone=True)

    in_loop(test)


def test_nothing_is_learned_from_a_server_that_serves_nobody() -> None:
    async def test() -> None:
        host = Host()
        assert not host.turns_away(writer(503), alone=True)
        assert not Hosts().of("ftp://h/a").turns_away(writer(503), alone=True)

    in_loop(test)


def test_403_is_about_the_link_unless_the_same_file_is_served() -> None:
    async def test() -> None:
        host = Host()
        serving(host, 2)
        refused = writer(403)
        assert host.turns_away(refused, alone=True), "one more try"
        assert host.limit is None
        refused.turn = Turn.FREE
        assert not host.turns_away(refused, alone=True)
        assert host.turns_away(writer(403), alone=False)
        assert host.limit == 2
        assert host.turns_away(writer(403), alone=True)

    in_loop(test)


def test_first_come_first_served_and_refused_again_it_is_no_longer_about_the_number() -> None:
    async def test() -> None:
        host = Host()
        first, _ = serving(host, 2)
        late = [writer(503), writer(503)]
        assert host.turns_away(late[0], alone=True)
        turns = [asyncio.ensure_future(host.wait(each)) for each in late]
        await asyncio.sleep(0)
        assert host.wanted
        host.leave(first)
        await asyncio.wait_for(turns[0], 5)
        assert late[0].turn is Turn.FREE
        assert not turns[1].done()
        assert host.full, "the place is taken"
        assert not host.turns_away(late[0], alone=True)
        host.leave(late[0])
        await asyncio.wait_for(turns[1], 5)

    in_loop(test)


def test_one_more_is_tried_after_a_while_and_each_failure_doubles_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "RAISE_SECONDS", 0.1)
    monkeypatch.setattr(hosts, "LOOK_SECONDS", 0.01)

    async def test() -> None:
        host = Host()
        serving(host, 1)
        refused = writer(503)
        waits = []
        for _ in range(3):
            assert host.turns_away(refused, alone=True)
            assert not host.bears_more
            began = asyncio.get_running_loop().time()
            await host.wait(refused)
            waits.append(asyncio.get_running_loop().time() - began)
            assert refused.turn is Turn.TRIAL
        assert waits[1] > 1.5 * waits[0]
        assert waits[2] > 1.5 * waits[1]
        host.serve(refused)
        assert host.limit == 2, "the trial went well"

    in_loop(test)


def test_a_file_with_one_connection_tries_another_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A single connection that broke must not slow a file down for hours."""
    monkeypatch.setattr(hosts, "RAISE_SECONDS", 0.05)

    async def test() -> None:
        host = Host()
        serving(host, 1)
        assert host.turns_away(writer(None), alone=False)
        assert not host.bears_more
        deadline = asyncio.get_running_loop().time() + 5
        while not host.bears_more:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)

    in_loop(test)


def test_who_is_stopped_waits_no_longer() -> None:
    async def test() -> None:
        host = Host()
        serving(host, 1)
        refused = writer(503)
        host.turns_away(refused, alone=True)
        turn = asyncio.ensure_future(host.wait(refused))
        await asyncio.sleep(0)
        refused.stop(Stopped("stopped"))
        with pytest.raises(Stopped):
            await asyncio.wait_for(turn, 5)
        assert not host.wanted

    in_loop(test)
