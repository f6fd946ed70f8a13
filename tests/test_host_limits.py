"""Files that share a server which refuses one of them: by itself, or for their number.

What a server with few connections does stands in the matrix (`tests/matrix/load.py`); here it is
about the files that such a server, or such a file, must not hold up.
"""

import signal
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.crawl import Crawl, start_crawl, wait_for, write_list
from tests.servers.content import Content
from tests.servers.exchange import Exchange
from tests.servers.faults import Stall, Status
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource, deliver, plan

SIZE = 1 << 20
TRIES = 2


def held(seed: int) -> tuple[Gate, Resource]:
    """A file that stops in its middle until the gate is opened."""
    gate = Gate(after=SIZE // 2)
    return gate, Resource(Content(SIZE, seed), gate=gate)


def start(tmp_path: Path, rows: Mapping[str, str], **settings: int | str) -> Crawl:
    urls = write_list(tmp_path / "list.tsv", rows.items())
    return start_crawl(tmp_path / "out", urls, settings={"FETCHER_MAX_TRIES": TRIES, **settings})


def test_a_host_gets_no_more_connections_than_the_setting_says(
    origin: Origin, tmp_path: Path
) -> None:
    """Neither at the start, nor when one connection becomes free and many wait for it."""
    resource = Resource(Content(SIZE, 1), rate=4 * SIZE)
    rows = {f"{n}": origin.add(f"/{n}", resource) for n in range(12)}
    seen: list[int] = []
    resource.script = lambda _: seen.append(sum(map(origin.active, (f"/{n}" for n in rows))))
    settings = {"FETCHER_MAX_PARALLEL": 6, "CONCURRENT_REQUESTS_PER_DOMAIN": 2}
    with start(tmp_path, rows, **settings) as crawl:
        assert crawl.wait().returncode == 0
    assert max(seen) == 2
    assert len(seen) == len(rows)


def test_a_file_that_is_refused_by_itself_holds_no_other_up(origin: Origin, tmp_path: Path) -> None:
    """403 beside others that are served fails soon; 503 waits as long as others are served."""
    gate, first = held(1)
    after, last = held(2)
    between = {f"{seed}": Resource(Content(SIZE, seed)) for seed in range(3, 7)}

    def expired(exchange: Exchange) -> Status:
        gate.wait_until_held()
        return Status(403)

    rows = {
        "first": origin.add("/first", first),
        "never": origin.add("/never", Status(503, {"Retry-After": "1"})),
        "expired": origin.add("/expired", Resource(Content(SIZE), script=expired)),
        **{name: origin.add(f"/{name}", resource) for name, resource in between.items()},
        "last": origin.add("/last", last),
    }
    with start(tmp_path, rows, FETCHER_MAX_PARALLEL=3) as crawl:
        gate.wait_until_held()
        after.wait_until_held()
        gate.open()
        after.open()
        result = crawl.wait()

    failed = {row["name"]: row["error"] for row in result.report if row["status"] == "failed"}
    assert set(failed) == {"never", "expired"}
    assert "status 503" in failed["never"]["message"]
    assert "link has expired" in failed["expired"]["message"]
    assert len(origin.requests_for("/never")) <= 2 * TRIES + 1
    assert len(origin.requests_for("/expired")) == 2
    for seed, name in ((1, "first"), (2, "last"), *((int(name), name) for name in between)):
        assert (result.out / name).read_bytes() == Content(SIZE, seed).read(0, SIZE)


class OneAtATime:
    """As a server without threads: who comes meanwhile is accepted by the system, and waits until
    those before have been served, or have gone."""

    def __init__(self) -> None:
        self._queue: deque[Exchange] = deque()

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        self._queue.append(exchange)
        try:
            while self._queue[0] is not exchange:
                exchange.wait(0.01)
            deliver(exchange, resource, plan(exchange, resource))
        finally:
            self._queue.remove(exchange)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_lets_others_wait_in_silence_serves_one_after_the_other(
    origin: Origin, tmp_path: Path, ranges: bool
) -> None:
    server = OneAtATime()
    contents = {str(seed): Content(SIZE, seed) for seed in range(1, 5)}
    rows = {
        name: origin.add(
            f"/{name}",
            Resource(
                content, ranges=ranges, rate=2 * SIZE, script=lambda _: server, keep_alive=ranges
            ),
        )
        for name, content in contents.items()
    }
    with start(
        tmp_path, rows, FETCHER_CONNECT_TIMEOUT="0.3", FETCHER_MIN_SPLIT_SIZE="256K"
    ) as crawl:
        result = crawl.wait()

    assert result.returncode == 0, result.stderr
    for name, content in contents.items():
        assert (result.out / name).read_bytes() == content.read(0, SIZE)


def test_a_file_that_is_never_answered_fails_while_others_are_served(
    origin: Origin, tmp_path: Path
) -> None:
    small = Content(SIZE // 4, seed=1)
    rows = {"never": origin.add("/never", Stall(None))}
    for number in range(24):
        url = origin.add(f"/{number}", Resource(small, rate=SIZE))
        rows[str(number)] = url
    gate, last = held(2)
    rows["last"] = origin.add("/last", last)
    with start(tmp_path, rows, FETCHER_CONNECT_TIMEOUT="0.3", FETCHER_MAX_PARALLEL=3) as crawl:
        gate.wait_until_held()
        wait_for(lambda: "/never gave no answer" in crawl.stderr, 10, "the failure")
        gate.open()
        result = crawl.wait()

    failed = [row["name"] for row in result.report if row["status"] == "failed"]
    assert failed == ["never"]
    assert len(origin.requests_for("/never")) <= 2 * TRIES + 1


def test_who_has_to_pause_does_not_keep_others_out(origin: Origin, tmp_path: Path) -> None:
    gate, resource = held(1)
    after, last = held(2)
    rows = {
        "first": origin.add("/first", resource),
        "busy": origin.add("/busy", Status(503, {"Retry-After": "60"})),
        "last": origin.add("/last", last),
    }
    with start(tmp_path, rows, FETCHER_MAX_PARALLEL=2) as crawl:
        gate.wait_until_held()
        wait_for(lambda: origin.requests_for("/busy"), 20, "the refusal")
        gate.open()
        # Before it is time to try whether the server bears another connection by now.
        after.wait_until_held(timeout=3)
        crawl.send_signal(signal.SIGINT)
        result = crawl.wait(5)
    after.open()
    assert {name: row["status"] for name, row in result.by_name.items()} == {
        "first": "ok",
        "busy": "failed",
        "last": "failed",
    }
    assert result.by_name["busy"]["error"]["type"] == "Stopped"
