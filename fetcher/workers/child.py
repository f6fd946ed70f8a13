"""The child: reads its job, runs one crawl, and stops when its parent says so or is gone."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from scrapy.crawler import AsyncCrawlerProcess
from scrapy.settings import Settings
from scrapy.utils.project import get_project_settings

from fetcher.commands.run import FAILED, USAGE, load_handler, make_crawler, run_crawl
from fetcher.errors import FetchError
from fetcher.lists import make_row
from fetcher.spiders.assignment import prepare
from fetcher.spiders.fetch import FetchSpider
from fetcher.workers.channel import Channel, Event, Job, RelayHandler
from fetcher.workers.relay import Relay

GRACE = 5.0
"""Seconds that a crawl without a parent has to end by itself."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def main() -> None:
    """Run as a process of its own; see :mod:`fetcher.workers`."""
    # The parent decides, and tells by closing the pipe: Ctrl-C reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    lifeline, channel = os.dup(_STDIN), Channel(os.dup(_STDOUT))
    # What anybody prints must not get between the events.
    os.dup2(_STDERR, _STDOUT)
    line = _read_line(lifeline)
    if not line:
        sys.exit(FAILED)
    job: Job = json.loads(line)
    _take_stdin(job)
    wrong: list[FetchError] = []
    try:
        done = _run(job, channel, lifeline, wrong.append)
    except FetchError as error:
        wrong.append(error)
        done = {"kind": "done", "status": USAGE}
    if wrong:
        done["usage"] = wrong[0].message
    channel.send(done)
    sys.exit(done["status"])


def _read_line(lifeline: int) -> bytes:
    """The job; nothing comes after it but the end."""
    with os.fdopen(lifeline, "rb", closefd=False) as stdin:
        return stdin.readline()


def _take_stdin(job: Job) -> None:
    """Put in its place what the crawl may read as standard input."""
    descriptor = job["stdin"] if "stdin" in job else os.open(os.devnull, os.O_RDONLY)
    os.dup2(descriptor, _STDIN)
    os.close(descriptor)


def _run(job: Job, channel: Channel, lifeline: int, tell: Callable[[FetchError], None]) -> Event:
    settings = _settings(job)
    load_handler()
    spider, arguments = _spider(job, settings, channel)
    process = AsyncCrawlerProcess(settings, install_root_handler=False)
    logging.root.addHandler(RelayHandler(channel))
    logging.root.setLevel(settings["LOG_LEVEL"])
    crawler = make_crawler(process, spider)
    relay = Relay(crawler, channel, progress=job.get("progress", False))
    _watch(lifeline, relay.stop)
    status = run_crawl(process, crawler, signals=False, tell=tell, **arguments)
    return {"kind": "done", "status": status, "reason": relay.reason}


def _settings(job: Job) -> Settings:
    if "orders" in job:
        # The program that uses this library may stand in a Scrapy project of its own.
        settings = Settings()
        settings.setmodule("fetcher.settings", priority="project")
        settings.setdict(job["settings"], priority="project")
        return settings
    settings = get_project_settings()
    settings.setdict(job["settings"], priority="cmdline")
    for extension in job.get("muted", ()):
        settings["EXTENSIONS"].set(extension, None, priority="cmdline")
    return settings


def _spider(
    job: Job, settings: Settings, channel: Channel
) -> tuple[type[FetchSpider], dict[str, Any]]:
    if "orders" in job:
        from fetcher.library.orders import OrderSpider, take

        return OrderSpider, {"assignment": take(job["orders"], channel)}
    rows = tuple(make_row(0, fields) for fields in job.get("rows", ()))
    headers = tuple((name, value) for name, value in job.get("headers", ()))
    return FetchSpider, {"assignment": prepare(job["arguments"], settings, rows, headers)}


def _watch(lifeline: int, stop: Callable[[], None]) -> None:
    """Stop when the parent closes its end of the pipe, dies, or somebody sends SIGTERM."""
    from twisted.internet import reactor

    parent = os.getppid()

    def stop_soon(*_: object) -> None:
        reactor.callFromThread(stop)

    def wait() -> None:
        # The pipe's other end may live on in somebody whom the parent has forked.
        while os.getppid() == parent:
            if select.select([lifeline], [], [], 1.0)[0] and not os.read(lifeline, 1):
                break
        stop_soon()
        threading.Event().wait(GRACE)
        # The journals are made for that.
        os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop_soon)
    threading.Thread(target=wait, name="lifeline", daemon=True).start()
