"""``scrapy demo``, as a user runs it, and its servers."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fetcher.commands.demo import _table
from fetcher.demo import Outcome, outcome
from fetcher.demo.files import DemoFile, Faults, demo_files, is_same, write_list
from fetcher.demo.http_server import HTTPDemoServer, UnsatisfiableError, parse_range

PROJECT = Path(__file__).parent.parent
SIZE = 300_000
LAST_MODIFIED = "Last-Modified"


def demo_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "scrapy", "demo", *options]


def demo_environment(temporary: Path) -> dict[str, str]:
    """Of a plain pipe, with a temporary folder of its own."""
    temporary.mkdir(exist_ok=True)
    drop = {"COLUMNS", "FORCE_COLOR", "SCRAPY_SETTINGS_MODULE"}
    environment = {name: value for name, value in os.environ.items() if name not in drop}
    return {**environment, "TMPDIR": str(temporary), "PYTHONPATH": str(PROJECT)}


def run_demo(
    temporary: Path, *options: str, cwd: Path = PROJECT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        demo_command(*options),
        cwd=cwd,
        env=demo_environment(temporary),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestCommand:
    def test_ends_well_and_leaves_nothing(self, tmp_path: Path) -> None:
        began = time.monotonic()
        run = run_demo(tmp_path / "tmp", cwd=PROJECT / "fetcher" / "demo")
        seconds = time.monotonic() - began
        assert run.returncode == 0, run.stdout + run.stderr
        assert run.stderr == ""
        for file in demo_files():
            assert file.name in run.stdout
            assert file.special in run.stdout
        assert "all right byte for byte" in run.stdout
        assert "\x1b" not in run.stdout
        assert max(map(len, run.stdout.splitlines())) <= 80
        assert seconds < 20
        assert list((tmp_path / "tmp").iterdir()) == []

    def test_keeps_the_files_where_it_is_told(self, tmp_path: Path) -> None:
        keep = tmp_path / "kept"
        run = run_demo(tmp_path / "tmp", "--keep", str(keep))
        assert run.returncode == 0, run.stdout + run.stderr
        assert str(keep) in run.stdout.replace("\n", "")
        for file in demo_files():
            assert (keep / "fetched" / file.name).stat().st_size == file.size
        assert not list((keep / "fetched").glob("*.part*"))
        rows = (keep / "fetched" / "report.jsonl").read_text().splitlines()
        large = next(row for row in map(json.loads, rows) if row["name"] == "large.bin")
        assert large["status"] == "ok"
        assert 0 < large["resumed"] < large["size"]
        assert large["connections"] > 1

    def test_says_what_went_wrong_and_keeps_the_log(self, tmp_path: Path) -> None:
        temporary = tmp_path / "tmp"
        run = run_demo(temporary, "-s", "DOWNLOAD_MAXSIZE=10M")
        assert run.returncode == 1
        assert "- large.bin: " in run.stdout
        (folder,) = temporary.iterdir()
        assert str(folder / "crawl.log") in run.stdout
        assert (folder / "crawl.log").exists()
        assert "Traceback" not in run.stdout + run.stderr

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_cleans_up_when_it_is_stopped(self, tmp_path: Path, number: signal.Signals) -> None:
        temporary = tmp_path / "tmp"
        with subprocess.Popen(
            demo_command(),
            cwd=PROJECT,
            env={**demo_environment(temporary), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert "Fetching" in process.stdout.readline()
            process.send_signal(number)
            output, errors = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "Stopped" in output
        assert errors == ""
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize("options", [["other"], ["--keep", "full"]])
    def test_refuses_wrong_usage(self, tmp_path: Path, options: list[str]) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").touch()
        (tmp_path / "scrapy.cfg").write_text("[settings]\ndefault = fetcher.settings\n")
        run = run_demo(tmp_path / "tmp", *options, cwd=tmp_path)
        assert run.returncode == 2
        assert options[-1] in run.stderr
        assert list((tmp_path / "tmp").iterdir()) == []

    def test_is_not_what_the_other_commands_wait_for(self) -> None:
        """Scrapy imports the modules of all commands whichever it runs."""
        script = "import sys, fetcher.commands.demo; print(sys.modules.keys() & {'rich'})"
        run = subprocess.run(
            [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        assert run.stdout == "set()\n"


class TestOutcome:
    def row(self, **changes: object) -> dict[str, object]:
        figures = {"resumed": 0, "received": 10, "connections": 2, "retries": 1, "seconds": 0.5}
        return {"name": "a", "status": "ok", "size": 3, "error": None, **figures, **changes}

    @pytest.fixture
    def file(self, tmp_path: Path) -> DemoFile:
        return DemoFile("a", 3, "short").made(tmp_path)

    def test_adds_up_both_runs(self, file: DemoFile) -> None:
        stopped = {"type": "Stopped", "message": "the run was interrupted"}
        first = self.row(status="failed", error=stopped, connections=5)
        second = self.row(resumed=7)
        assert outcome(file, file.path, [{"a": first}, {"a": second}]) == Outcome(
            "a", "short", ("stopped", "ok"), 3, 7, 20, 5, 2, 1.0, right=True
        )

    def test_tells_why_it_failed(self, file: DemoFile) -> None:
        failed = self.row(status="failed", error={"type": "StatusError", "message": "404"})
        seen = outcome(file, file.path.with_name("b"), [{"a": failed}])
        assert (seen.statuses, seen.error, seen.right) == (("failed",), "404", False)

    def test_a_file_without_a_report_is_an_error(self, file: DemoFile) -> None:
        assert outcome(file, file.path, [{}, {}]).error is not None

    def test_the_table_fits_into_80_columns(self) -> None:
        wide = [
            Outcome(
                file.name,
                file.special,
                ("stopped", "unchanged"),
                file.size,
                file.size,
                file.size,
                16,
                10,
                12.3,
                right=False,
            )
            for file in demo_files()
        ]
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(_table(wide))
        text = console.export_text()
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
        for whole in (
            "large.bin",
            "checksum in list",
            "unchanged",
            "Verified",
            "64.0M",
            "12.3",
        ):
            assert whole in text


class TestFiles:
    def test_are_the_same_each_time(self, tmp_path: Path) -> None:
        (tmp_path / "again").mkdir()
        one = DemoFile("a.bin", 3 << 20, "").made(tmp_path)
        two = DemoFile("a.bin", 3 << 20, "").made(tmp_path / "again")
        assert one.sha256 == two.sha256 == hashlib.sha256(one.path.read_bytes()).hexdigest()
        assert one.path.stat().st_size == one.size
        assert is_same(one, two.path)

    def test_a_block_in_the_wrong_place_shows(self, tmp_path: Path) -> None:
        file = DemoFile("a.bin", 2 << 20, "").made(tmp_path)
        data = file.path.read_bytes()
        file.path.write_bytes(data[1 << 20 :] + data[: 1 << 20])
        assert not is_same(file, file.path)
        assert not is_same(file, tmp_path / "missing")

    def test_states_the_checksum_of_listed_files_only(self, tmp_path: Path) -> None:
        files = [
            DemoFile("a", 1, "", sha256="aa"),
            DemoFile("b", 2, "", listed=True, sha256="bb"),
        ]
        write_list(tmp_path / "list.tsv", files, {"a": "http://h/a", "b": "http://h/b"})
        assert (tmp_path / "list.tsv").read_text().splitlines() == [
            "file_name\tcdn_link\tsize\tsha256",
            "a\thttp://h/a\t1\t",
            "b\thttp://h/b\t2\tbb",
        ]


class TestFaults:
    def test_wear_off(self) -> None:
        faults = Faults(refusals=1, breaks=1, break_after=5)
        assert [faults.refuses(), faults.refuses()] == [True, False]
        # An answer that is shorter than that cannot break there, and breaks another time.
        assert [faults.breaks_after(size) for size in (5, 6, 6)] == [None, 5, None]

    def test_hold_counts_all_connections_until_it_is_released(self) -> None:
        faults = Faults(hold_after=10)
        faults.before(6)
        threads = [threading.Thread(target=faults.before, args=(6,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert faults.held.wait(5)
        assert all(thread.is_alive() for thread in threads)
        faults.release()
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()
        faults.before(100)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-500", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-500", (0, 100)),
        ("", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-9", None),
    ],
)
def test_range_is_read(header: str, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=100-", 100), ("bytes=0-", 0)])
def test_range_outside_the_file(header: str, size: int) -> None:
    with pytest.raises(UnsatisfiableError):
        parse_range(header, size)


class TestHTTPServer:
    @pytest.fixture
    def file(self, tmp_path: Path) -> DemoFile:
        return DemoFile("a b.bin", SIZE, "").made(tmp_path)

    @pytest.fixture
    def client(self, file: DemoFile) -> Iterator[http.client.HTTPConnection]:
        empty = replace(file, name="empty.bin", size=0)
        before = threading.active_count()
        with (
            closing(HTTPDemoServer([file, empty])) as server,
            closing(http.client.HTTPConnection("127.0.0.1", server.server_port, 5)) as client,
        ):
            yield client
        assert threading.active_count() == before

    def get(
        self, client: http.client.HTTPConnection, path: str = "/a%20b.bin", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        client.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = client.getresponse()
        return answer, answer.read()

    def test_whole_file(self, client: http.client.HTTPConnection, file: DemoFile) -> None:
        answer, body = self.get(client)
        assert (answer.status, body) == (200, file.path.read_bytes())
        assert answer.headers["Accept-Ranges"] == "bytes"

    def test_range_on_the_same_connection(
        self, client: http.client.HTTPConnection, file: DemoFile
    ) -> None:
        self.get(client)
        answer, body = self.get(client, Range="bytes=100000-199999")
        assert (answer.status, body) == (206, file.path.read_bytes()[100000:200000])
        assert answer.headers["Content-Range"] == f"bytes 100000-199999/{SIZE}"

    @pytest.mark.parametrize("validator", ["ETag", LAST_MODIFIED])
    def test_if_range(self, client: http.client.HTTPConnection, validator: str) -> None:
        value = self.get(client)[0].headers[validator]
        assert self.get(client, Range="bytes=5-", If_Range=value)[0].status == 206
        assert self.get(client, Range="bytes=5-", If_Range='"other"')[0].status == 200

    @pytest.mark.parametrize(("path", "size"), [("/a%20b.bin", SIZE), ("/empty.bin", 0)])
    def test_range_not_satisfiable(
        self, client: http.client.HTTPConnection, path: str, size: int
    ) -> None:
        answer, body = self.get(client, path, Range=f"bytes={size}-")
        assert (answer.status, body) == (416, b"")
        assert answer.headers["Content-Range"] == f"bytes */{size}"

    def test_unknown_name(self, client: http.client.HTTPConnection) -> None:
        assert self.get(client, "/other")[0].status == 404

    def test_refuses_then_breaks_then_answers(
        self, client: http.client.HTTPConnection, tmp_path: Path
    ) -> None:
        faults = Faults(refusals=1, retry_after=0, breaks=1, break_after=1000)
        file = DemoFile("f.bin", SIZE, "", faults=faults).made(tmp_path)
        with closing(HTTPDemoServer([file])) as server:
            assert server.url("f.bin") == f"http://127.0.0.1:{server.server_port}/f.bin"
            with closing(http.client.HTTPConnection("127.0.0.1", server.server_port, 5)) as client:
                answer, _ = self.get(client, "/f.bin")
                assert (answer.status, answer.headers["Retry-After"]) == (503, "0")
                with pytest.raises(http.client.IncompleteRead) as cut:
                    self.get(client, "/f.bin")
                assert cut.value.partial == file.path.read_bytes()[:1000]
                client.close()
                assert len(self.get(client, "/f.bin")[1]) == SIZE

    def test_closes_in_the_middle_of_a_held_file(self, tmp_path: Path) -> None:
        before = threading.active_count()
        file = DemoFile("h.bin", SIZE, "", faults=Faults(hold_after=SIZE // 3)).made(tmp_path)
        with closing(HTTPDemoServer([file])) as server:
            client = http.client.HTTPConnection("127.0.0.1", server.server_port, 5)
            client.request("GET", "/h.bin")
            answer = client.getresponse()
            assert file.faults.held.wait(5)
        with pytest.raises(http.client.IncompleteRead) as cut:
            answer.read()
        assert 0 < len(cut.value.partial) <= SIZE // 3
        client.close()
        assert threading.active_count() == before
