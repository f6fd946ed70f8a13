"""A process that does a job for another one: it listens to its parent, and to nobody else."""

from __future__ import annotations

import logging
import os
import select
import signal
from pathlib import Path

from fetcher.workers.channel import Event, Order
from fetcher.workers.process import Child
from tests.servers.content import Content
from tests.servers.origin import Origin
from tests.servers.resource import Resource

MIB = 1 << 20


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_child_is_deaf_to_ctrl_c_from_its_first_moment() -> None:
    before = children(os.getpid())
    child = Child({"settings": {"FEEDS": {}}, "orders": []})
    try:
        (pid,) = set(children(os.getpid())) - {*before}
        os.kill(pid, signal.SIGINT)
        assert not child.write()
        while child.read() is not None:
            select.select([child.stdout], [], [])
        assert (child.status, child.reason) == (0, "finished")
    finally:
        child.close()


def test_a_child_that_is_told_to_stop_before_it_has_begun_says_nothing_else(
    origin: Origin, tmp_path: Path
) -> None:
    url = origin.add("/a.bin", Resource(Content(3 * MIB), rate=MIB // 4))
    order: Order = {"fields": {"name": "a.bin", "url": url}, "out": str(tmp_path), "headers": []}
    child = Child({"settings": {"FEEDS": {}}, "orders": [order]})
    events: list[Event] = []
    try:
        assert not child.write()
        child.release()
        while (said := child.read()) is not None:
            events += said
            select.select([child.stdout], [], [])
    finally:
        child.close()
    assert child.reason == "shutdown"
    assert [event for event in events if event.get("level", 0) >= logging.WARNING] == []


def test_a_long_job_is_written_as_the_child_reads_it() -> None:
    rows = [{"url": f"gopher://h/{number}"} for number in range(20_000)]
    child = Child({"settings": {"FEEDS": {}}, "orders": [], "rows": rows})
    try:
        assert child.write()
        while child.write():
            select.select([], [child.stdin], [])
        while child.read() is not None:
            select.select([child.stdout], [], [])
        assert child.status == 0
    finally:
        child.close()
