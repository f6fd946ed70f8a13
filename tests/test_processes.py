"""`scrapy download --processes N`: several processes, and to the user one."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.crawl import Crawl, CrawlResult, clean_environment, wait_for
from tests.servers.content import Content
from tests.servers.exchange import Exchange
from tests.servers.faults import Status
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource

MIB = 1 << 20
FAST = ("-s", "FETCHER_RETRY_BACKOFF=0.05", "-s", "FETCHER_MAX_TRIES=2")


def start(
    out: Path, count: int, *args: str, stdin: str = "", env: dict[str, str] | None = None
) -> Crawl:
    command = [sys.executable, "-m", "scrapy", "download", "--dir", str(out), *FAST]
    command += ["--processes", str(count), *args]
    return Crawl(command, out, clean_environment(env), stdin)


def run(out: Path, count: int, *args: str, stdin: str = "") -> CrawlResult:
    with start(out, count, *args, stdin=stdin) as crawl:
        return crawl.wait(60)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def write_rows(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in [("name", "url"), *rows]))
    return path


@dataclass
class Files:
    """Files on a server, each with a content of its own."""

    origin: Origin
    contents: dict[str, Content] = field(default_factory=dict)

    def add(self, names: Sequence[str], size: int = 3000, **options: Any) -> list[tuple[str, str]]:
        rows = []
        for name in names:
            content = Content(size, seed=len(self.contents) + 1)
            self.contents[name] = content
            rows.append((name, self.origin.add(f"/{name}", Resource(content, **options))))
        return rows

    def assert_right(self, out: Path) -> None:
        for name, content in self.contents.items():
            assert content.first_difference(out / name) is None, name


@pytest.fixture
def files(origin: Origin) -> Files:
    return Files(origin)


def told(row: dict[str, Any]) -> str:
    """What a row of the report says of its file, but for what differs from run to run."""
    passing = ("seconds", "connections", "retries", "received")
    return json.dumps({key: value for key, value in row.items() if key not in passing})


def test_all_is_as_with_one_process(files: Files, tmp_path: Path) -> None:
    origin = files.origin
    rows = files.add([f"{number:02}/file.bin" for number in range(12)])
    # Three of a name, which get numbers; one twice; some that fail, and some that are no rows.
    rows += [("same.bin", origin.add(f"/same-{n}", Content(50, seed=n))) for n in range(3)]
    rows += [rows[0]]
    rows += [(f"gone-{n}", origin.add(f"/gone-{n}", Status(404)) + "?key=S3CRET") for n in range(4)]
    rows += [("bad.bin", "gopher://h/x"), ("../up.bin", origin.url("/00/file.bin"))]
    listed = write_rows(tmp_path / "list.tsv", rows)
    addresses = [origin.add(f"/plain-{n}", Content(70, seed=n)) for n in range(3)]
    outs = {count: tmp_path / str(count) for count in (1, 3)}

    results = {
        count: run(out, count, "-i", str(listed), *addresses, "--show-errors", "gopher://h/y")
        for count, out in outs.items()
    }

    one, several = results[1], results[3]
    assert (one.returncode, several.returncode) == (1, 1), several.stderr
    assert "Traceback" not in several.stderr
    assert sorted(map(told, several.report)) == sorted(map(told, one.report))
    assert Counter(row["status"] for row in several.report) == {"ok": 18, "failed": 7}
    for name in ("SHA256SUMS", "retry.tsv"):
        lines = [sorted((out / name).read_text().splitlines()) for out in outs.values()]
        assert lines[0] == lines[1], name
    assert (outs[3] / "retry.tsv").stat().st_mode & 0o777 == 0o600
    found = [{str(path.relative_to(out)) for path in out.rglob("*")} for out in outs.values()]
    assert found[0] == found[1]
    files.assert_right(outs[3])
    # What is said is the same, each of it once, and nothing that is secret.
    assert said(several) == said(one)
    assert "S3CRET" not in several.stderr

    for name in ("gone-0", "gone-1", "gone-2", "gone-3"):
        origin.add(f"/{name}", Content(10))
    listed.write_text("\n".join(listed.read_text().splitlines()[:-2]) + "\n")
    again = run(outs[3], 2, "-i", str(listed), *addresses)
    assert again.returncode == 0, again.stderr
    assert Counter(row["status"] for row in again.report) == {"ok": 4, "unchanged": 18}
    assert not (outs[3] / "retry.tsv").exists()


def said(crawl: CrawlResult) -> list[str]:
    """The lines of the log, without what differs from run to run."""
    lines = crawl.stderr.replace(str(crawl.out), "OUT").splitlines()
    # A slow machine takes longer than the ten seconds after which there is a line between.
    lines = [line for line in lines if " in flight; " not in line]
    return sorted(line.partition("] ")[2].partition(", ")[0] or line for line in lines)


def test_a_list_from_a_pipe_is_for_all_and_quiet_says_nothing(files: Files, tmp_path: Path) -> None:
    rows = files.add([f"{number}.bin" for number in range(8)])
    listed = write_rows(tmp_path / "list.tsv", rows).read_bytes()
    pipe, out = tmp_path / "pipe.tsv", tmp_path / "out"
    os.mkfifo(pipe)
    with start(out, 2, "-i", str(pipe), "--quiet") as crawl:
        pipe.write_bytes(listed)
        result = crawl.wait()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len(result.report) == 8
    files.assert_right(out)


def test_a_list_that_breaks_off_is_told_of_once(files: Files, tmp_path: Path) -> None:
    rows = files.add([f"{number}.bin" for number in range(30)], 10)
    listed = gzip.compress(write_rows(tmp_path / "list.tsv", rows).read_bytes())
    (tmp_path / "list.tsv.gz").write_bytes(listed[:-20])
    result = run(tmp_path / "out", 2, "-i", str(tmp_path / "list.tsv.gz"))
    assert result.returncode == 1
    (failed,) = [row for row in result.report if row["status"] == "failed"]
    assert failed["error"]["type"] == "InvalidListError"
    assert Counter(row["name"] for row in result.report).most_common(1)[0][1] == 1


def test_what_is_wrong_for_all_of_them_is_told_once(files: Files, tmp_path: Path) -> None:
    """The list is taken away between this process's look at it and the others'."""
    listed, out = write_rows(tmp_path / "list.tsv", files.add(["a", "b"])), tmp_path / "out"
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys, pathlib\nif sys.argv[0] == '-c': pathlib.Path({str(listed)!r}).unlink(True)"
    )
    out.mkdir()
    (out / "report.jsonl").write_text("of the run before")
    env = {"PYTHONPATH": str(tmp_path)}
    with start(out, 2, "-i", str(listed), env=env) as crawl:
        result = crawl.wait()
    assert result.returncode == 2
    assert result.stderr == f"fetcher: the list {str(listed)!r} does not exist; check the path\n"
    assert (out / "report.jsonl").read_text() == "of the run before"


def test_checksums_from_a_pipe_are_for_all_and_are_complained_of_once(
    files: Files, tmp_path: Path
) -> None:
    listed = write_rows(tmp_path / "list.tsv", files.add([f"{n}.bin" for n in range(8)]))
    sums = [f"{content.sha256}  {name}\n" for name, content in files.contents.items()]
    sums[3] = f"{'0' * 64}  3.bin\n"
    sums += [f"{'0' * 64}  extra.bin\n", "no checksum\n"]
    options = ("-i", str(listed), "--checksums", "-")
    result = run(tmp_path / "out", 2, *options, stdin="".join(sums))
    assert result.returncode == 1
    assert {row["name"] for row in result.report if row["status"] == "failed"} == {"3.bin"}
    verified = [row["verified_by"] for row in result.report if row["status"] == "ok"]
    assert len([by for by in verified if "sha256" in by]) == 7
    assert result.stderr.count("1 of 9 entries") == 1
    assert result.stderr.count("without a checksum and a name") == 1

    both = run(tmp_path / "out", 2, "-i", "/dev/null", "--checksums", "-")
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
    assert "cannot both come by pipes" in both.stderr


def test_a_name_that_servers_give_goes_to_one_row(files: Files, tmp_path: Path) -> None:
    given = {"Content-Disposition": 'attachment; filename="same.bin"'}
    urls = [
        files.origin.add(f"/{n}", Resource(Content(1000, seed=n), headers=given)) for n in range(12)
    ]
    listed = write_rows(tmp_path / "list.tsv", [("same.bin", urls[0] + "?key=S3CRET")])
    options = ("--header", "X-Key: T0KEN", "--verbose")
    result = run(tmp_path / "out", 3, "-i", str(listed), *urls[1:], *options)
    assert result.returncode == 0, result.stderr
    assert {record.headers["x-key"] for record in files.origin.requests} == {"T0KEN"}
    # All detail of all processes, and yet no secrets.
    assert result.stderr.count("Spider opened") == 4
    for secret in ("T0KEN", "S3CRET"):
        assert secret not in result.stderr + (tmp_path / "out" / "report.jsonl").read_text()
    for row in result.report:
        content = Content(1000, seed=int(row["url"].partition("?")[0].rpartition("/")[2]))
        assert row["checksum"] == f"sha256:{content.sha256}"
        assert content.first_difference(tmp_path / "out" / row["path"]) is None
    names = {f"same.{n}.bin" for n in range(1, 12)} | {"same.bin"}
    assert {row["path"] for row in result.report} == names

    again = run(tmp_path / "out", 2, "-i", str(listed), *urls[1:])
    assert {row["path"]: row["url"] for row in again.report} == {
        row["path"]: row["url"] for row in result.report
    }
    assert {row["status"] for row in again.report} == {"unchanged"}


# --- limits and display ---------------------------------------------------------------------------


def test_limits_are_those_of_the_whole_and_the_display_shows_all(
    files: Files, tmp_path: Path
) -> None:
    origin, seen, released = files.origin, [0], threading.Event()

    def script(exchange: Exchange) -> None:
        seen.append(sum(origin.active(f"/{name}") for name in files.contents))
        while not released.is_set():
            exchange.wait(0.01)

    rows = files.add([f"{number}.bin" for number in range(20)], script=script)
    listed = write_rows(tmp_path / "list.tsv", rows)
    options = ["--max-parallel", "60", "-s", "FETCHER_PROGRESS=bar"]
    options += ["-s", "CONCURRENT_REQUESTS_PER_DOMAIN=3"]
    env = {"TERM": "xterm", "COLUMNS": "100", "LINES": "50"}
    with start(tmp_path / "out", 4, "-i", str(listed), *options, env=env) as crawl:
        wait_for(lambda: max(seen) == 3, message="three connections")
        wait_for(lambda: all(name in crawl.stderr for name, _ in rows), message="the bars")
        assert len(children(crawl.pid)) == 3
        released.set()
        result = crawl.wait()
    assert result.returncode == 0
    assert max(seen) == 3
    assert result.stderr.count("processes: 3 instead of 4") == 1
    assert result.stderr.count("20 done, 0 unchanged, 0 failed, 58.6 KiB in") == 1
    files.assert_right(tmp_path / "out")


# --- being stopped --------------------------------------------------------------------------------

SLOW = MIB // 16
"""Bytes a second: a file of 3 MiB takes long."""


def slow_files(files: Files, tmp_path: Path) -> Path:
    rows = files.add([f"{number}.bin" for number in range(9)], 3 * MIB, rate=SLOW)
    return write_rows(tmp_path / "list.tsv", rows)


def heal(files: Files) -> None:
    for name, content in files.contents.items():
        files.origin.replace(f"/{name}", Resource(content))


def begun(files: Files) -> list[str]:
    return [name for name in files.contents if files.origin.sent(f"/{name}")]


def test_ctrl_c_ends_all_and_the_same_command_goes_on(files: Files, tmp_path: Path) -> None:
    listed, out = slow_files(files, tmp_path), tmp_path / "out"
    with start(out, 3, "-i", str(listed)) as crawl:
        wait_for(lambda: len(begun(files)) == 5, message="five files on their way")
        wait_for(lambda: len([*out.glob("*.part.json")]) == 5, message="five journals")
        team = children(crawl.pid)
        at = time.monotonic()
        # To the whole group, as a terminal does it.
        os.killpg(crawl.pid, signal.SIGINT)
        stopped = crawl.wait(20)
        assert time.monotonic() - at < 2

    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    assert "has ended early" not in stopped.stderr
    assert "stopped (shutdown): run the same command again to go on" in stopped.stderr
    assert not any(map(is_alive, team))
    assert sorted(row["name"] for row in stopped.report) == sorted(begun(files))
    assert {row["error"]["type"] for row in stopped.report} == {"Stopped"}
    assert len([*out.glob("*.part.json")]) == 5
    assert (out / "retry.tsv").exists()

    sent = files.origin.sent()
    heal(files)
    again = run(out, 2, "-i", str(listed))
    assert again.returncode == 0, again.stderr
    assert sum(row["resumed"] for row in again.report) > 0
    assert files.origin.sent() - sent < 9 * 3 * MIB
    files.assert_right(out)
    assert not [*out.glob("*.part*")]


def test_a_second_ctrl_c_does_not_wait(files: Files, tmp_path: Path) -> None:
    listed, out = slow_files(files, tmp_path), tmp_path / "out"
    with start(out, 2, "-i", str(listed), "-L", "INFO") as crawl:
        wait_for(lambda: len(begun(files)) == 5, message="five files on their way")
        team = children(crawl.pid)
        for child in team:
            # One that does not listen.
            os.kill(child, signal.SIGSTOP)
        at = time.monotonic()
        crawl.send_signal(signal.SIGINT)
        wait_for(lambda: "Received SIGINT" in crawl.stderr, message="the first one's effect")
        crawl.send_signal(signal.SIGINT)
        result = crawl.wait(20)
        assert time.monotonic() - at < 1
    assert result.returncode == 1
    assert not any(map(is_alive, team))


def test_who_does_not_end_is_killed(files: Files, tmp_path: Path) -> None:
    listed, out = slow_files(files, tmp_path), tmp_path / "out"
    with start(out, 2, "-i", str(listed)) as crawl:
        wait_for(lambda: len(begun(files)) == 5, message="five files on their way")
        team = children(crawl.pid)
        os.kill(team[0], signal.SIGSTOP)
        at = time.monotonic()
        crawl.send_signal(signal.SIGTERM)
        result = crawl.wait(20)
        assert time.monotonic() - at < 2
    assert result.returncode == 1
    assert not any(map(is_alive, team))
    assert 0 < len(result.report) < 5
    assert "Traceback" not in result.stderr


def test_the_others_go_on_when_a_process_dies(files: Files, tmp_path: Path) -> None:
    gate = Gate(after=MIB)
    names = [f"{number}.bin" for number in range(12)]
    listed = write_rows(tmp_path / "list.tsv", files.add(names, 2 * MIB, gate=gate))
    out = tmp_path / "out"
    with start(out, 2, "-i", str(listed)) as crawl:
        gate.wait_until_held(5)
        os.kill(children(crawl.pid)[1], signal.SIGKILL)
        gate.open()
        result = crawl.wait()

    assert result.returncode == 1
    sentences = [line for line in result.stderr.splitlines() if "ended early" in line]
    assert len(sentences) == 1
    assert "process 2 of 2 has ended early (it was ended by signal 9)" in sentences[0]
    assert "run the same command again" in sentences[0]
    assert "Traceback" not in result.stderr
    assert {row["status"] for row in result.report} == {"ok"}
    assert 0 < len(result.report) < len(names)

    again = run(out, 2, "-i", str(listed))
    assert again.returncode == 0, again.stderr
    assert Counter(row["status"] for row in again.report)["unchanged"] == len(result.report)
    files.assert_right(out)


def test_a_killed_parent_leaves_nobody_and_nothing_behind(files: Files, tmp_path: Path) -> None:
    listed, out = slow_files(files, tmp_path), tmp_path / "out"
    spools = tmp_path / "spools"
    spools.mkdir()
    env = {"TMPDIR": str(spools)}
    with start(out, 2, "-i-", stdin=listed.read_text(), env=env) as crawl:
        wait_for(lambda: len([*out.glob("*.part.json")]) == 5, message="five journals")
        team = children(crawl.pid)
        assert len(team) == 2
        crawl.send_signal(signal.SIGKILL)
        crawl.wait()
        wait_for(lambda: not any(map(is_alive, team)), 5, "the end of the children")
    assert [*spools.iterdir()] == []
    assert not (out / "report.jsonl").exists()

    heal(files)
    again = run(out, 3, "-i-", stdin=listed.read_text())
    assert again.returncode == 0, again.stderr
    assert sum(row["resumed"] for row in again.report) > 0
    assert len(again.report) == 9
    files.assert_right(out)
    assert [path.name for path in (out / ".fetcher").iterdir() if "report" in path.name] == []
