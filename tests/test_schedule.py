"""What jobs are called, what a node may answer, and what ``scrapy schedule`` makes of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from scrapy.settings import Settings

from fetcher.errors import DiskError, FetchError, InvalidListError, NodeError
from fetcher.scrapyd.ending import EXIT_STATUS, Ending
from fetcher.scrapyd.gathering import Gathering
from fetcher.scrapyd.jobs import check_arguments, make_title, plan
from fetcher.scrapyd.node import LOG_END, Node
from fetcher.scrapyd.target import Target
from fetcher.spiders.assignment import prepare
from fetcher.spiders.credentials import Credentials
from tests.crawl import run_scrapy
from tests.servers.exchange import Exchange
from tests.servers.faults import Close, Redirect, Respond, Stall, Status
from tests.servers.origin import Origin
from tests.servers.resource import Fault

NOW = datetime(2026, 11, 26, 3, 0, 0, 7000, tzinfo=UTC)
NO_JOBS = {"status": "ok", "pending": [], "running": [], "finished": []}


@pytest.fixture(autouse=True)
def no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def node(address: str, timeout: float = 10) -> Node:
    return Node(address, timeout, Credentials())


# --- jobs -------------------------------------------------------------------------------------


def test_jobs_of_one_list_and_folder_are_known_by_their_ids() -> None:
    arguments = {"urls": "/lists/sa1b.tsv.gz", "out": "/data"}
    (job,) = plan([node("http://a:6800/")], "fetcher", arguments, NOW)
    assert job.id.startswith("sa1b-")
    assert job.id.endswith("-20261126-030000-007")
    assert job.is_like(job.id)
    later = NOW.replace(day=27)
    shards = plan([node("http://a:6800"), node("http://b:6800")], "fetcher", arguments, later)
    assert [each.arguments["shard"] for each in shards] == ["1/2", "2/2"]
    assert [each.id[-7:] for each in shards] == ["-1-of-2", "-2-of-2"]
    assert all(job.is_like(each.id) and each.is_like(job.id) for each in shards)
    for other in ({"out": "/elsewhere"}, {"urls": "/other/sa1b.tsv.gz"}, {"shard": "1/2"}):
        (unlike,) = plan([node("http://a:6800")], "fetcher", arguments | other, NOW)
        assert not job.is_like(unlike.id)


def test_a_title_says_what_the_list_is_called_and_no_secret() -> None:
    first, second = (
        make_title({"urls": f"https://me:{word}@host/x/ä%20b.csv", "out": "/data"})
        for word in ("secret", "other")
    )
    assert first == second
    assert first.startswith("_b-")
    assert "/" not in make_title({"url": "https://host/a"})
    assert len(make_title({"urls": f"/{'a' * 200}.tsv"})) < 80


def test_paths_are_those_of_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"urls": "lists/a.tsv", "out": "out", "checksums": "https://host/SHA256SUMS"}
    assert check_arguments(given) == given | {
        "urls": f"{tmp_path}/lists/a.tsv",
        "out": f"{tmp_path}/out",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to schedule"),
        ({"urls": "-"}, "a job has no standard input"),
        ({"urls": "/a", "shard": "0/2"}, "the shard '0/2' is none"),
        ({"urls": "/a", "project": "x"}, "unknown argument 'project'"),
    ],
)
def test_arguments_that_no_job_can_use(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidListError, match=message):
        check_arguments(arguments)


def test_a_shard_is_for_one_node() -> None:
    with pytest.raises(InvalidListError, match="give no shard"):
        plan([node("http://a"), node("http://b")], "x", {"urls": "/a", "shard": "1/2"}, NOW)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"urls": "lists/none.tsv"}, "does not exist in .*: a job's relative paths count from"),
        ({"urls": "-"}, "a job has no standard input"),
        ({"url": "http://h/a", "checksums": "SUMS"}, "the file of checksums 'SUMS' does not exist"),
    ],
)
def test_paths_that_a_job_cannot_find(tmp_path: Path, given: dict[str, str], message: str) -> None:
    settings = Settings()
    settings.setmodule("fetcher.settings")
    with pytest.raises(FetchError, match=message):
        prepare({"_job": "x", "out": str(tmp_path), **given}, settings)


# --- nodes ------------------------------------------------------------------------------------


def test_a_login_is_for_the_node_alone(origin: Origin) -> None:
    origin.add("/listjobs.json", json.dumps(NO_JOBS).encode())
    assert node(origin.url(userinfo="me:s%20cret")).jobs("fetcher") == {}
    assert origin.requests[-1].headers["authorization"] == "Basic bWU6cyBjcmV0"

    with Origin() as other:
        origin.replace("/listjobs.json", Redirect(other.url("/listjobs.json")))
        with pytest.raises(NodeError, match="answers with status 302"):
            node(origin.url(userinfo="me:secret")).jobs("fetcher")
        assert not other.requests


def endless(exchange: Exchange) -> None:
    exchange.send_head(200, {"Connection": "close"}, last=False)
    while True:
        exchange.send(b" ")
        exchange.wait(0.05)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"<html>", "is no Scrapyd"),
        (b"[]", "is no Scrapyd"),
        (b'{"status": "ok"}', "is no Scrapyd"),
        (b'{"status": "ok", "pending": [1], "running": [], "finished": []}', "is no Scrapyd"),
        (b"[" * 100_000, "is no Scrapyd"),
        (
            b'{"status": "error", "message": "Traceback\\n  x\\nKeyError: 1\\n"}',
            "error: KeyError: 1$",
        ),
        (b'{"status": "error"}', "error: without a reason"),
        (Status(500), "answers with status 500"),
        (Status(401), "wants another login"),
        (Close(None), "cannot be reached: "),
        (Stall(None), r"nothing came within 0\.3 s"),
        (Respond(endless), "is no Scrapyd"),
    ],
)
def test_what_is_wrong_with_a_node_is_one_sentence(
    origin: Origin, answer: bytes | Fault, message: str
) -> None:
    origin.add("/base/listjobs.json", answer)
    with pytest.raises(NodeError, match=message) as raised:
        node(origin.url("/base/", userinfo="me:secret"), 0.3).jobs("fetcher")
    assert "\n" not in raised.value.message
    assert "secret" not in raised.value.message


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NodeError, match="cannot be reached: Connection refused"):
        node(f"http://127.0.0.1:{port}").jobs("fetcher")


@pytest.mark.parametrize("address", ["ftp://me:secret@a/x", "a:6800", "http://me:secret@a:x/"])
def test_addresses_of_no_node(address: str) -> None:
    with pytest.raises(InvalidListError, match="the node ") as raised:
        node(address)
    assert "secret" not in raised.value.message


def test_of_a_long_log_only_the_end_is_asked_for(origin: Origin) -> None:
    log = b"".join(b"line %d\n" % number for number in range(100_000))
    origin.add("/logs/p/fetch/j.log", log)
    assert node(origin.url()).log_end("p", "j").encode() == log[-LOG_END:]
    assert origin.requests[-1].range == (len(log) - LOG_END, None)
    origin.replace("/logs/p/fetch/j.log", b"short\n")
    assert node(origin.url()).log_end("p", "j") == "short\n"
    assert node(origin.url()).log_end("p", "none") == ""


def test_items_that_break_off_are_told_of(origin: Origin) -> None:
    lines = [b'{"status": "ok"}\n'] * 1000
    origin.add("/items/p/fetch/j.jl", b"".join(lines))
    with node(origin.url()).items("p", "j") as found:
        assert found is not None
        assert list(found) == lines
    with node(origin.url()).items("p", "none") as nothing:
        assert nothing is None
    origin.fail("/items/p/fetch/j.jl", Close(1700))
    with (
        node(origin.url()).items("p", "j") as cut,
        pytest.raises(NodeError, match="broke off"),
    ):
        assert cut is not None
        list(cut)


# --- ends and reports -------------------------------------------------------------------------


def test_the_end_of_a_log_tells_how_the_job_fared() -> None:
    line = "2026-11-26 03:00:00 [fetcher.commands.crawl] {}: {}\n"
    wrong = line.format("ERROR", "no list") + line.format("INFO", EXIT_STATUS % 2)
    assert Ending.read(wrong) == Ending(2, "no list")
    assert Ending.read(line.format("ERROR", EXIT_STATUS % 0)).status == 0
    assert Ending.read(wrong + line.format("INFO", "1 done")).status is None
    assert Ending.read("") == Ending(None, "")


def failed(name: str, message: str) -> bytes:
    return json.dumps(row("failed", name=name, error={"message": message})).encode() + b"\n"


def row(status: str, **more: Any) -> dict[str, Any]:
    return {"status": status, **more}


def test_a_report_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    ok = json.dumps(row("ok")).encode() + b"\n"
    told: list[tuple[str, str]] = []
    tell: Callable[[str, str], None] = lambda *each: told.append(each)  # noqa: E731
    path = tmp_path / "all.jsonl"
    with Gathering(path) as gathering:
        junk: Iterator[bytes] = iter([b"[]\n", b"no json\n", b'{"status": 1}\n', ok[:-1]])
        assert gathering.add([ok, failed("a", "gone"), ok], tell) == {"ok": 2, "failed": 1}
        assert gathering.add(junk, tell) == {}
        assert not path.exists()
        gathering.publish()
    assert told == [("a", "gone")]
    assert path.read_bytes() == ok + failed("a", "gone") + ok
    with pytest.raises(ValueError, match="x"), Gathering(path):
        raise ValueError("x")
    assert [each.name for each in tmp_path.iterdir()] == ["all.jsonl"]


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "report.jsonl"):
        with pytest.raises(DiskError, match="report"):
            Gathering(path)


def test_the_node_is_where_the_project_is_deployed_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert Target.configured() == Target("http://localhost:6800/", "fetcher")
    monkeypatch.setenv("PASSWORD", "p@ss%")
    lines = ["[deploy]", "url = http://a:6800/", "project = big", "username = me"]
    (tmp_path / "scrapy.cfg").write_text("\n".join([*lines, "password = ${PASSWORD}"]))
    assert Target.configured() == Target("http://me:p%40ss%25@a:6800/", "big")


# --- the command ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "nothing to schedule: give a list"),
        (("/a", "--node", "http://me:secret@:x"), "the node "),
        (("/a", "--report", "r"), "--report needs --wait"),
        (("/a", "-a", "out"), "-a is for NAME=VALUE"),
        (("/a", "/b"), "give one list"),
        (("/a", "--timeout", "0"), "is no number of seconds; see scrapy schedule --help"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, args: tuple[str, ...], message: str) -> None:
    result = run_scrapy("schedule", *args, out=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


def test_nothing_is_scheduled_unless_all_nodes_are_there(origin: Origin, tmp_path: Path) -> None:
    origin.add("/listjobs.json", json.dumps(NO_JOBS).encode())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}"
    nodes = ("--node", origin.url(), "--node", gone)
    result = run_scrapy("schedule", *nodes, "/a.tsv", out=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr == f"fetcher: the Scrapyd at {gone} cannot be reached: Connection refused\n"
    )
    assert {request.method for request in origin.requests} == {"GET"}
