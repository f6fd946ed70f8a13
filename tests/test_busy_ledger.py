"""Somebody keeps the memory of what was completed locked: the crawl waits for that, and only it."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.crawl import start_crawl, wait_for, write_list
from tests.servers.content import Content
from tests.servers.exchange import Exchange
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource

SMALL = Content(5000, seed=1)
BIG = Content(3 << 20, seed=2)
NAMED = {"Content-Disposition": "attachment; filename=server.bin"}


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """As by another process that writes for as long as the block takes."""
    (path,) = (out / ".fetcher").glob("*.sqlite3")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


def test_transfers_go_on_meanwhile_and_a_stop_waits_for_nobody(
    origin: Origin, tmp_path: Path
) -> None:
    out, gate = tmp_path / "out", Gate(after=100)
    part = out / "big.part"

    def unanswered(exchange: Exchange) -> None:
        while not gate.is_open:
            exchange.wait(0.01)

    rows = [
        ("first", origin.add("/first", SMALL)),
        ("big", origin.add("/big", Resource(BIG, rate=BIG.size // 8))),
        ("held", origin.add("/held", Resource(SMALL, gate=gate))),
        ("", origin.add("/unnamed", Resource(SMALL, headers=NAMED, script=unanswered))),
    ]
    command: dict[str, Any] = {
        "out": out,
        "urls": write_list(tmp_path / "list.tsv", rows),
        "settings": {"FETCHER_MAX_PARALLEL": 3, "FETCHER_MAX_SPLITS": 1},
    }
    with start_crawl(**command) as crawl:
        gate.wait_until_held()
        wait_for(lambda: origin.requests_for("/unnamed"), 10, "the last row")
        with locked(out):
            gate.open()
            there = part.stat().st_size
            wait_for(lambda: part.stat().st_size > there + BIG.size // 16, 10, "what is in flight")
            at = time.monotonic()
            crawl.send_signal(signal.SIGINT)
            result = crawl.wait(timeout=50)
            assert time.monotonic() - at < 2

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    kinds = {row["error"]["type"] for row in result.report if row["error"]}
    assert kinds == {"Stopped"}
    assert {row["name"] for row in result.report} == {"first", "big", "held", "unnamed"}

    origin.replace("/big", BIG)
    with start_crawl(**command) as crawl:
        again = crawl.wait()

    assert again.returncode == 0, again.stderr
    for name, content in [("big", BIG), ("held", SMALL), ("server.bin", SMALL)]:
        assert (out / name).read_bytes() == content.read(0, content.size)
    assert again.by_name["held"]["received"] == 1, "it was whole: only asked for once more"
