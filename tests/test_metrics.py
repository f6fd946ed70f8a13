"""The crawl's numbers, as Prometheus collects them."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fetcher.config import Config
from tests.crawl import Crawl, clean_environment, start_crawl, wait_for, write_list
from tests.servers.content import Content
from tests.servers.faults import Status
from tests.servers.origin import Origin
from tests.servers.redis import RedisServer
from tests.servers.resource import Gate, Resource

MIB = 1 << 20
ADDRESS = re.compile(r"metrics: (http://127\.0\.0\.1:\d+/metrics)")


def address(crawl: Crawl) -> str:
    wait_for(lambda: ADDRESS.search(crawl.stderr))
    found = ADDRESS.search(crawl.stderr)
    assert found is not None
    return found[1]


def numbers(crawl: Crawl) -> dict[str, float]:
    """By name, and by the label's value where there is one."""
    with urlopen(address(crawl), timeout=10) as answer:  # noqa: S310 - of this machine
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = answer.read().decode()
    return {
        " ".join([sample.name.removeprefix("fetcher_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_a_crawl_is_at(origin: Origin, tmp_path: Path) -> None:
    gate = Gate(MIB)
    large = Resource(Content(2 * MIB), gate=gate, rate=MIB, faults=[Status(503)])
    rows = [
        ("small", origin.add("/small", Resource(Content(100, seed=1)))),
        ("missing", origin.url("/missing")),
        ("large", origin.add("/large", large)),
        ("next", origin.add("/next", Resource(Content(100, seed=2)))),
    ]
    folder = tmp_path / "redis"
    folder.mkdir()
    urls = write_list(tmp_path / "l.tsv", rows)
    with RedisServer(folder) as redis:
        settings: dict[str, str | int | float] = {
            "FETCHER_METRICS_PORT": 0,
            "FETCHER_MAX_PARALLEL": 1,
            "FETCHER_MAX_SPLITS": 1,
            "FETCHER_QUEUE": redis.url,
        }
        with start_crawl(tmp_path / "out", urls, settings=settings) as crawl:
            wait_for(lambda: numbers(crawl)["received_bytes_total"] >= MIB // 2)
            gate.wait_until_held()
            wait_for(lambda: numbers(crawl)["queue_rows"] == 2)
            seen = numbers(crawl)
            gate.open()
            assert crawl.wait().returncode == 1
    assert seen["files_total ok"] == 1
    assert seen["files_total failed"] == 1
    assert seen["files_total unchanged"] == 0
    assert seen["retries_total 503"] == 1
    assert seen["received_bytes_total"] <= MIB + 200
    assert seen["resumed_bytes_total"] == 0
    assert seen["files_in_flight"] == 1
    assert seen["connections"] == 1
    assert seen["speed_bytes_per_second"] > 0
    assert seen["rows_left"] == 2


def test_those_of_several_processes_are_one(origin: Origin, tmp_path: Path) -> None:
    gate = Gate(10)
    rows = [(f"f{n}", origin.add(f"/f{n}", Resource(Content(100), gate=gate))) for n in range(8)]
    urls = write_list(tmp_path / "l.tsv", rows)
    command = ["--processes", "2", "--max-parallel", "16", "-i", str(urls), "--quiet"]
    scrapy = [sys.executable, "-m", "scrapy", "download", "--dir", str(tmp_path / "out")]
    command = [*scrapy, *command, "-L", "INFO", "-s", "FETCHER_METRICS_PORT=0"]
    with Crawl(command, tmp_path / "out", clean_environment(), "") as crawl:
        gate.wait_until_held(8)
        wait_for(lambda: numbers(crawl)["connections"] == 8)
        assert numbers(crawl)["files_in_flight"] == 8
        gate.open()
        assert crawl.wait().returncode == 0


def test_a_port_that_is_in_use_stops_nobody(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/f", Resource(Content(100)))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = {"FETCHER_METRICS_PORT": port}
        with start_crawl(tmp_path / "out", url=url, settings=settings) as crawl:
            ended = crawl.wait()
    assert ended.returncode == 0
    assert f"no metrics: port {port} of 127.0.0.1 is in use" in ended.stderr


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("", None), (9410, (9410, 9410)), ("9410-9429", (9410, 9429)), ("0", (0, 0))],
)
def test_ports(value: object, expected: tuple[int, int] | None) -> None:
    assert Config.from_settings({"FETCHER_METRICS_PORT": value}).metrics_port == expected
