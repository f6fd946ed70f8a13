"""`FETCHER_QUEUE`: several processes, one list, a Redis that is really there."""

from __future__ import annotations

import json
import os
import random
import signal
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fetcher import settings as project_settings
from fetcher.disk.part import Part
from fetcher.errors import FetchError
from fetcher.spiders.assignment import prepare
from tests.crawl import (
    Crawl,
    CrawlResult,
    read_report,
    run_scrapy,
    start_crawl,
    wait_for,
    write_list,
)
from tests.servers.content import Content
from tests.servers.origin import Origin
from tests.servers.redis import RedisServer
from tests.servers.resource import Gate, Resource

NAME = "list"
"""The queue's, after the list's."""

KIB = 1 << 10
MIB = 1 << 20


@pytest.fixture
def shared(redis_server: RedisServer) -> RedisServer:
    redis_server.client.flushall()
    return redis_server


@dataclass
class Site:
    """A list, the folder that its workers share, and the workers."""

    tmp_path: Path
    origin: Origin
    redis: RedisServer
    stack: ExitStack
    lease: float = 30.0
    contents: dict[str, Content] = field(default_factory=dict)
    rows: list[tuple[str, str]] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.tmp_path / "out"

    def add(self, name: str, size: int, **behaviour: Any) -> Resource:
        content = Content(size, seed=len(self.rows))
        resource = Resource(content, **behaviour)
        self.contents[name] = content
        self.rows.append((name, self.origin.add(f"/{name}", resource)))
        return resource

    def start(
        self,
        settings: Mapping[str, str | int | float] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Crawl:
        urls = write_list(self.tmp_path / f"{NAME}.tsv", self.rows)
        queue: dict[str, str | int | float] = {"FETCHER_QUEUE": self.redis.url}
        queue["FETCHER_QUEUE_LEASE"] = self.lease
        crawl = start_crawl(self.out, urls, settings=queue | dict(settings or {}), env=env)
        return self.stack.enter_context(crawl)

    def there(self) -> int:
        """How many files have their names."""
        return sum((self.out / name).exists() for name in self.contents)

    def check(self) -> None:
        """All files are right, nothing else is left, and the queue is empty."""
        wrong = [
            name
            for name, content in self.contents.items()
            if not (self.out / name).exists()
            or content.first_difference(self.out / name) is not None
        ]
        assert wrong == []
        assert list(self.out.glob("**/*.part*")) == []
        assert self.redis.left(NAME) == 0

    def reports(self) -> list[dict[str, Any]]:
        """The lines of all workers that have come to their end."""
        return [
            row for path in self.out.glob("report-*") for row in read_report(self.out, path.name)
        ]


@pytest.fixture
def site(tmp_path: Path, origin: Origin, shared: RedisServer) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, origin, shared, stack)


@pytest.fixture
def own_redis(site: Site) -> RedisServer:
    """One that the test may kill."""
    folder = site.tmp_path / "redis"
    folder.mkdir()
    site.redis = site.stack.enter_context(RedisServer(folder))
    return site.redis


def report_of(crawl: Crawl, out: Path) -> list[dict[str, Any]]:
    (path,) = out.glob(f"report-*-{crawl.pid}.jsonl")
    return read_report(out, path.name)


def statuses(results: list[CrawlResult]) -> list[int]:
    return [result.returncode for result in results]


class TestTogether:
    def test_each_row_is_done_once(self, site: Site) -> None:
        for number in range(40):
            site.add(f"f{number}", 20 * KIB, rate=40 * KIB)

        workers = [site.start(), site.start()]

        assert statuses([worker.wait() for worker in workers]) == [0, 0]
        site.check()
        done = [Counter(row["name"] for row in report_of(each, site.out)) for each in workers]
        assert min(map(len, done)) > 5, "both had their share"
        assert done[0] + done[1] == Counter(list(site.contents))
        assert all(len(site.origin.requests_for(f"/{name}")) == 1 for name in site.contents)

    def test_run_again_it_finds_the_files_there(self, site: Site) -> None:
        for number in range(5):
            site.add(f"f{number}", KIB)
        assert site.start().wait().returncode == 0

        again = site.start()

        assert again.wait().returncode == 0
        assert {row["status"] for row in report_of(again, site.out)} == {"unchanged"}
        assert len(report_of(again, site.out)) == 5
        assert len(site.origin.requests) == 5

    def test_names_are_those_of_the_list_whoever_has_the_rows(self, site: Site) -> None:
        for number in range(6):
            site.origin.add(f"/{number}/same.bin", Resource(Content(KIB, seed=number)))
            site.rows.append(("same.bin", site.origin.url(f"/{number}/same.bin")))
        site.rows += [site.rows[0], ("bad/../../name", site.origin.url("/x"))]

        workers = [site.start(), site.start()]

        assert sorted(statuses([worker.wait() for worker in workers])) == [0, 1]
        for number in range(6):
            name = f"same.{number}.bin" if number else "same.bin"
            assert Content(KIB, seed=number).first_difference(site.out / name) is None
        rows = {row["name"]: row for row in site.reports()}
        assert len(site.reports()) == 7
        assert rows["bad/../../name"]["error"]["type"] == "InvalidNameError"
        assert rows["bad/../../name"]["error"]["line"] == 9

    def test_a_row_that_fails_for_good_is_done(self, site: Site) -> None:
        site.add("right", KIB)
        site.rows.append(("wrong", site.origin.url("/nothing-there")))

        worker = site.start()

        assert worker.wait().returncode == 1
        assert {row["name"]: row["status"] for row in site.reports()} == {
            "right": "ok",
            "wrong": "failed",
        }
        assert site.redis.left(NAME) == 0
        state = site.redis.state(NAME)
        assert (state["ok"], state["failed"], state["loaded"]) == ("1", "1", "2")

    def test_a_list_at_an_address(self, site: Site) -> None:
        for number in range(8):
            site.add(f"f{number}", KIB, rate=KIB)
        text = "".join(f"{name}\t{url}\n" for name, url in site.rows)
        address = site.origin.add(f"/{NAME}.tsv", text.encode())
        settings = {"FETCHER_QUEUE": site.redis.url}
        workers = [
            site.stack.enter_context(start_crawl(site.out, address, settings=settings))
            for _ in range(2)
        ]

        assert statuses([worker.wait() for worker in workers]) == [0, 0]
        site.check()
        left = [path.name for path in (site.out / ".fetcher/lists").iterdir()]
        assert left == [".fetcher"], "its copies are gone"


class TestDeaths:
    def test_kill_9_half_way(self, site: Site) -> None:
        site.lease = 1.0
        for number in range(200):
            site.add(f"f{number}", 4 * KIB, rate=40 * KIB)
        workers = [site.start(), site.start()]
        wait_for(lambda: site.there() >= 60)

        workers[0].send_signal(signal.SIGKILL)

        assert workers[1].wait().returncode == 0
        site.check()

    def test_ten_times(self, site: Site) -> None:
        site.lease = 1.0
        for number in range(200):
            site.add(f"f{number}", 20 * KIB, rate=100 * KIB)
        chance = random.Random(1)
        workers = [site.start(), site.start()]
        for kill in range(10):
            wait_for(lambda enough=5 + 12 * kill: site.there() >= enough)  # type: ignore[misc]
            victim = chance.randrange(2)
            workers[victim].send_signal(signal.SIGKILL)
            workers[victim].wait()
            workers[victim] = site.start()

        assert statuses([worker.wait() for worker in workers]) == [0, 0]
        site.check()

    def test_a_large_file_goes_on_where_its_worker_died(self, site: Site) -> None:
        site.lease = 1.0
        gate = Gate(3 * MIB)
        site.add("large", 8 * MIB, gate=gate)
        first = site.start({"FETCHER_MAX_SPLITS": 1})
        gate.wait_until_held()
        # Its journal says what is safe.
        wait_for(lambda: (site.out / "large.part.json").exists())
        second = site.start()
        first.send_signal(signal.SIGKILL)
        first.wait()
        gate.open()

        assert second.wait().returncode == 0
        site.check()
        (row,) = report_of(second, site.out)
        assert row["resumed"] >= 2 * MIB

    def test_a_row_that_kills_its_worker_is_set_aside(self, site: Site) -> None:
        site.lease = 0.5
        for number in range(10):
            site.add(f"f{number}", KIB)
        site.add("poison", KIB)
        (site.tmp_path / "lethal.py").write_text(
            "import os\n"
            "class Pipeline:\n"
            "    def process_item(self, item):\n"
            "        if item.name == 'poison' and item.status != 'failed':\n"
            "            os.kill(os.getpid(), 9)\n"
            "        return item\n"
        )
        env = {
            "PYTHONPATH": os.pathsep.join([str(site.tmp_path), os.environ.get("PYTHONPATH", "")])
        }
        pipelines = {"lethal.Pipeline": 50, **project_settings.ITEM_PIPELINES}
        settings = {"ITEM_PIPELINES": json.dumps(pipelines)}

        ended = [site.start(settings, env).wait() for _ in range(4)]

        assert statuses(ended) == [-9, -9, -9, 1]
        rows = {row["name"]: row for row in site.reports()}
        assert rows["poison"]["error"]["type"] == "SetAsideError"
        assert "3 workers have died over this row" in rows["poison"]["error"]["message"]
        del site.contents["poison"]
        assert site.there() == 10
        assert site.redis.left(NAME) == 0

    def test_who_is_stopped_gives_its_rows_back_at_once(self, site: Site) -> None:
        gate = Gate(3 * MIB)
        site.add("large", 8 * MIB, gate=gate)
        for number in range(10):
            site.add(f"f{number}", KIB)
        first = site.start({"FETCHER_MAX_SPLITS": 1, "FETCHER_MAX_PARALLEL": 1})
        gate.wait_until_held()

        first.send_signal(signal.SIGINT)
        stopped = first.wait()

        assert stopped.returncode == 1
        assert {row["name"]: row["error"]["type"] for row in report_of(first, site.out)} == {
            "large": "Stopped"
        }
        gate.open()
        # Its lease is 30 s.
        second = site.start().wait(20)
        assert second.returncode == 0
        site.check()

    def test_a_file_that_somebody_else_is_at_is_waited_for(self, site: Site) -> None:
        site.lease = 0.5
        for number in range(3):
            site.add(f"f{number}", KIB)
        site.out.mkdir()
        with_lock = Part(site.out, "f1")
        worker = site.start()
        # The other two are done, also for the queue.
        wait_for(lambda: site.redis.state(NAME).get("ok") == "2")
        assert site.redis.left(NAME) == 1

        with_lock.discard()
        with_lock.close()

        assert worker.wait().returncode == 0
        site.check()
        assert Counter(row["status"] for row in site.reports()) == {"ok": 3}

    def test_who_has_no_room_leaves_the_rows_to_others(self, site: Site, small_disk: Path) -> None:
        site.lease = 0.5
        for number in range(12):
            site.add(f"f{number}", 8 * MIB)
        urls = write_list(site.tmp_path / f"{NAME}.tsv", site.rows)
        settings = {"FETCHER_QUEUE": site.redis.url, "FETCHER_QUEUE_LEASE": "0.5"}
        full = small_disk / "out"

        small = site.stack.enter_context(start_crawl(full, urls, settings=settings)).wait()

        assert small.returncode == 1
        assert "the disk is full, so this worker takes no more rows" in small.stderr
        left = site.redis.left(NAME)
        assert left >= 10
        assert site.redis.state(NAME).get("failed") is None
        assert site.start().wait().returncode == 0
        assert site.there() == left


class TestRedisGone:
    def test_killed_and_started_again(self, site: Site, own_redis: RedisServer) -> None:
        site.lease = 2.0
        for number in range(100):
            site.add(f"f{number}", 20 * KIB, rate=60 * KIB)
        workers = [site.start(), site.start()]
        for times, enough in enumerate((20, 50), 1):
            wait_for(lambda enough=enough: site.there() >= enough)  # type: ignore[misc]
            own_redis.kill()
            for worker in workers:
                wait_for(
                    lambda worker=worker, times=times: (  # type: ignore[misc]
                        worker.stderr.count("is out of reach") == times
                    )
                )
            own_redis.start()

        ended = [worker.wait() for worker in workers]

        assert statuses(ended) == [0, 0]
        assert all(each.stderr.count("is back") == 2 for each in ended)
        site.check()
        assert Counter(row["name"] for row in site.reports()) == Counter(list(site.contents))

    def test_it_has_forgotten_everything(self, site: Site, own_redis: RedisServer) -> None:
        site.lease = 1.0
        for number in range(60):
            site.add(f"f{number}", 20 * KIB, rate=60 * KIB)
        worker = site.start()
        wait_for(lambda: site.there() >= 20)

        own_redis.client.flushall()

        assert worker.wait().returncode == 0
        site.check()

    def test_half_of_the_list_was_put_in_when_its_loader_died(self, site: Site) -> None:
        site.lease = 0.5
        for number in range(30):
            site.add(f"f{number}", KIB, rate=8 * KIB)
        first = site.start({"FETCHER_MAX_PARALLEL": 1})
        wait_for(lambda: site.there() >= 2)
        first.send_signal(signal.SIGKILL)
        first.wait()
        # As if it had died earlier: Redis knows of the first rows only.
        rows, state = f"fetcher:{NAME}:rows", f"fetcher:{NAME}:state"
        entries: Any = site.redis.client.xrange(rows)
        late = [name for name, row in entries if json.loads(row["row"])["number"] > 20]
        site.redis.client.xdel(rows, *late)
        site.redis.client.hset(state, mapping={"whole": 0, "loaded": 20})

        assert site.start().wait().returncode == 0
        site.check()

    def test_it_stays_away(self, site: Site, own_redis: RedisServer) -> None:
        site.lease = 0.4
        gate = Gate()
        site.add("in-hand", MIB, gate=gate)
        for number in range(30):
            site.add(f"f{number}", KIB, gate=gate)
        worker = site.start()
        gate.wait_until_held(5)

        own_redis.kill()
        wait_for(lambda: "/0 is out of reach (Connection refused): " in worker.stderr)
        gate.open()
        ended = worker.wait()

        assert ended.returncode == 1
        assert (site.out / "in-hand").exists()
        assert "Traceback" not in ended.stderr
        failed = [row for row in report_of(worker, site.out) if row["status"] == "failed"]
        assert [(row["name"], row["error"]["type"]) for row in failed] == [
            ("(the queue)", "QueueError")
        ]
        assert f"redis://127.0.0.1:{own_redis.port}/0 is out of reach" in ended.stderr

    def test_stopped_while_it_is_away(self, site: Site, own_redis: RedisServer) -> None:
        gate = Gate()
        site.add("in-hand", MIB, gate=gate)
        worker = site.start()
        gate.wait_until_held()
        own_redis.kill()

        worker.send_signal(signal.SIGINT)
        ended = worker.wait(10)

        assert ended.returncode == 1
        assert "was not told that this worker ends" in ended.stderr


class WebServer(socketserver.BaseRequestHandler):
    """Answers as one does to what it does not understand."""

    def handle(self) -> None:
        self.request.recv(1)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class TestRefused:
    """One line on standard error, and exit status 2."""

    def refused(self, crawl: Crawl) -> str:
        ended = crawl.wait()
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        return line

    def test_another_list_under_the_same_name(self, site: Site) -> None:
        gate = Gate()
        site.add("f0", MIB, gate=gate)
        first = site.start()
        gate.wait_until_held()
        site.add("f1", KIB)

        line = self.refused(site.start())

        assert "is at work on another list" in line
        assert "FETCHER_QUEUE_NAME" in line
        gate.open()
        assert first.wait().returncode == 0

    def test_nobody_is_there(self, site: Site) -> None:
        site.add("f0", KIB)
        line = self.refused(site.start({"FETCHER_QUEUE": "redis://:secret@127.0.0.1:9/0"}))
        assert (
            "the queue 'list' at redis://127.0.0.1:9/0 cannot be used: Connection refused;" in line
        )
        assert "secret" not in line

    def test_a_login_that_it_does_not_take(self, site: Site) -> None:
        folder = site.tmp_path / "guarded"
        folder.mkdir()
        site.add("f0", KIB)
        with RedisServer(folder, password="right") as guarded:
            line = self.refused(site.start({"FETCHER_QUEUE": guarded.url_with("wr0ng")}))
            assert "another login" in line
            assert "wr0ng" not in line
            assert site.start({"FETCHER_QUEUE": guarded.url}).wait().returncode == 0

    def test_several_processes_that_share_the_list_out_already(self, site: Site) -> None:
        site.add("f0", KIB)
        urls = write_list(site.tmp_path / "l.tsv", site.rows)
        queue = f"FETCHER_QUEUE={site.redis.url}"
        ended = run_scrapy(
            "download", "--processes", "2", "-i", str(urls), "-s", queue, out=site.out
        )
        assert ended.returncode == 2
        assert "FETCHER_QUEUE and --processes both share the list out" in ended.stderr


def refusal(site: Site, queue: str, **arguments: str) -> str:
    """What a call is told."""
    urls = write_list(site.tmp_path / "l.tsv", [("a", "http://h/a")])
    given = {"urls": str(urls), "out": str(site.out)} | arguments
    with pytest.raises(FetchError) as refused:
        prepare(given, {"FETCHER_QUEUE": queue})
    return refused.value.message


class TestRefusedBeforeAnythingIsStarted:
    def test_something_else(self, site: Site) -> None:
        with socketserver.TCPServer(("127.0.0.1", 0), WebServer) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            message = refusal(site, f"redis://127.0.0.1:{server.server_address[1]}")
            thread.join()
        assert "what answers there is no Redis" in message

    def test_an_address_of_something_else(self, site: Site) -> None:
        message = refusal(site, "memcached://:secret@127.0.0.1/0")
        assert "no address of a Redis" in message
        assert "secret" not in message

    def test_a_password_that_breaks_the_address(self, site: Site) -> None:
        message = refusal(site, "redis://:sec/ret@127.0.0.1:6379/0")
        assert "percent-encoded" in message
        assert "sec" not in message

    def test_a_database_that_it_does_not_have(self, site: Site) -> None:
        assert "DB index is out of range" in refusal(site, site.redis.url.replace("/0", "/99"))

    def test_that_may_throw_rows_away(self, site: Site) -> None:
        folder = site.tmp_path / "small"
        folder.mkdir()
        memory = {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}
        with RedisServer(folder, settings=memory) as small:
            assert "maxmemory-policy" in refusal(site, small.url)

    def test_a_replica(self, site: Site) -> None:
        folder = site.tmp_path / "replica"
        folder.mkdir()
        primary = {"replicaof": f"127.0.0.1 {site.redis.port}"}
        with RedisServer(folder, settings=primary) as replica:
            assert "is a replica" in refusal(site, replica.url)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [({"shard": "1/2"}, "both share the list out"), ({"urls": "-"}, "standard input cannot")],
    )
    def test_what_does_not_go_with_it(
        self, site: Site, arguments: dict[str, str], words: str
    ) -> None:
        assert words in refusal(site, site.redis.url, **arguments)
