"""``scrapy demo``, as a user runs it, and its servers."""

from __future__ import annotations

import ftplib
import hashlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

import paramiko
import pytest
from rich.console import Console

from fetcher.commands.demo import _table
from fetcher.demo import SERVERS, Outcome, outcome
from fetcher.demo.files import DemoFile, Faults, demo_files, is_same, write_list
from fetcher.demo.ftp_server import FTPDemoServer
from fetcher.demo.http_server import HTTPDemoServer, UnsatisfiableError, parse_range
from fetcher.demo.sftp_server import SFTPDemoServer

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
            assert f"{file.protocol}, {file.special}" in run.stdout
        assert "all right byte for byte" in run.stdout
        assert "\x1b" not in run.stdout
        assert max(map(len, run.stdout.splitlines())) <= 80
        assert seconds < 20
        assert list((tmp_path / "tmp").iterdir()) == []
        rows = {row[0]: row for row in map(str.split, run.stdout.splitlines()) if len(row) == 9}
        assert {file.name for file in demo_files()} <= rows.keys()
        for name in ("cut.bin", "busy.bin", "ftp-cut.bin", "sftp-cut.bin"):
            assert int(rows[name][6]) > 0, "retries"

    def test_keeps_the_files_where_it_is_told_whatever_the_user_has_for_ssh(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep = tmp_path / "kept"
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "config").write_text("Host *\n  ProxyCommand false\n")
        run = run_demo(tmp_path / "tmp", "--keep", str(keep))
        assert run.returncode == 0, run.stdout + run.stderr
        assert str(keep) in run.stdout.replace("\n", "")
        assert [path.name for path in (tmp_path / ".ssh").iterdir()] == ["config"]
        for file in demo_files():
            assert (keep / "fetched" / file.name).stat().st_size == file.size
        assert not list((keep / "fetched").glob("*.part*"))
        assert "demo:" in (keep / "list.tsv").read_text()
        assert "demo:" not in (keep / "crawl.log").read_text()
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
        script = (
            "import sys, fetcher.commands.demo;"
            "print(sys.modules.keys() & {'rich', 'paramiko', 'pyftpdlib'})"
        )
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
            "a", "http, short", ("stopped", "ok"), 3, 7, 20, 5, 2, 1.0, right=True
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
                f"{file.protocol}, {file.special}",
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
            *(f"{file.protocol}, {file.special}" for file in demo_files()),
            "unchanged",
            "Verified",
            "64.0M",
            "12.3",
        ):
            assert whole in text


class TestFiles:
    def test_are_of_every_protocol_and_the_large_one_comes_last(self) -> None:
        files = demo_files()
        assert {file.protocol for file in files} == SERVERS.keys()
        assert files[-1].name == "large.bin"

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

    def test_hold_can_be_asked_for_without_waiting(self) -> None:
        faults = Faults(hold_after=10)
        assert [faults.holds(size) for size in (10, 0, 1, 0)] == [False, False, True, True]
        assert faults.held.is_set()
        faults.release()
        assert not faults.holds(1)


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


class TestFTPServer:
    @pytest.fixture
    def file(self, tmp_path: Path) -> DemoFile:
        return DemoFile("a é.bin", SIZE, "").made(tmp_path)

    @contextmanager
    def serve(self, *files: DemoFile) -> Iterator[FTPDemoServer]:
        """Afterwards, nothing of the server is left."""
        before = threading.active_count()
        with closing(FTPDemoServer(files)) as server:
            yield server
        assert threading.active_count() == before

    @contextmanager
    def connect(self, server: FTPDemoServer) -> Iterator[ftplib.FTP]:
        url = urlsplit(server.url(""))
        assert url.hostname is not None
        assert url.port is not None
        with closing(ftplib.FTP()) as client:  # noqa: S321 (it is what is tested)
            client.connect(url.hostname, url.port, 5)
            client.login()
            client.voidcmd("TYPE I")
            yield client

    def get(self, client: ftplib.FTP, name: str, rest: int | None = None) -> tuple[str, bytes]:
        """The last reply, and what came."""
        body = io.BytesIO()
        try:
            reply = client.retrbinary(f"RETR {name}", body.write, rest=rest)
        except ftplib.Error as error:
            reply = str(error)
        return reply, body.getvalue()

    def test_whole_file_and_rest_of_it(self, file: DemoFile) -> None:
        data = file.path.read_bytes()
        with self.serve(file) as server, self.connect(server) as client:
            assert self.get(client, file.name) == ("226 Transfer complete.", data)
            assert self.get(client, file.name, SIZE - 1000)[1] == data[-1000:]
            client.af = socket.AF_INET6  # by which this client chooses EPSV
            assert self.get(client, file.name, 0)[1] == data

    def test_tells_size_and_time(self, file: DemoFile) -> None:
        os.utime(file.path, (0, 951_782_400))
        with self.serve(file) as server, self.connect(server) as client:
            assert client.size(file.name) == SIZE
            assert client.sendcmd(f"MDTM {file.name}") == "213 20000229000000"
            assert client.nlst() == [file.name]

    def test_address(self, tmp_path: Path, file: DemoFile) -> None:
        with self.serve(file) as server:
            address = rf"ftp://127\.0\.0\.1:\d+/{quote(file.name)}"
            assert re.fullmatch(address, server.url(file.name))
            assert server.settings(tmp_path) == {}

    def test_is_not_to_be_written_to(self, file: DemoFile) -> None:
        with self.serve(file) as server, self.connect(server) as client:
            for command in (f"DELE {file.name}", "STOR other", f"RNFR {file.name}", "RETR other"):
                with pytest.raises(ftplib.error_perm, match="550"):
                    client.sendcmd(command)

    def test_refuses_then_breaks_then_answers(self, tmp_path: Path) -> None:
        faults = Faults(refusals=1, breaks=1, break_after=100_000)
        file = DemoFile("f.bin", SIZE, "", faults=faults).made(tmp_path)
        data = file.path.read_bytes()
        with self.serve(file) as server, self.connect(server) as client:
            reply, body = self.get(client, "f.bin", 1000)
            assert (reply[:4], body) == ("450 ", b"")
            # REST was for the transfer that was refused.
            reply, body = self.get(client, "f.bin")
            assert (reply[:4], body) == ("426 ", data[:100_000])
            assert self.get(client, "f.bin", 100_000) == ("226 Transfer complete.", data[100_000:])

    def test_a_transfer_that_waits_keeps_no_other_from_going_on(
        self, tmp_path: Path, file: DemoFile
    ) -> None:
        held = DemoFile("h.bin", SIZE, "", faults=Faults(hold_after=SIZE // 3)).made(tmp_path)
        paced = DemoFile("p.bin", SIZE, "", faults=Faults(pace=2 * SIZE)).made(tmp_path)
        with (
            self.serve(held, paced, file) as server,
            self.connect(server) as client,
            self.connect(server) as other,
            closing(other.transfercmd("RETR h.bin")) as data,
            data.makefile("rb") as stream,
        ):
            assert held.faults.held.wait(5)
            assert self.get(client, file.name)[1] == file.path.read_bytes()
            began = time.monotonic()
            assert self.get(client, "p.bin")[1] == paced.path.read_bytes()
            assert time.monotonic() - began > 0.2
            held.faults.release()
            assert stream.read() == held.path.read_bytes()
            assert other.voidresp() == "226 Transfer complete."

    def test_a_client_that_goes_away_is_no_trouble(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        file = DemoFile("l.bin", 16 << 20, "").made(tmp_path)
        with self.serve(file) as server:
            with (
                self.connect(server) as gone,
                closing(gone.transfercmd("RETR l.bin")) as data,
            ):
                assert data.recv(1)
            with self.connect(server) as client:
                assert self.get(client, "l.bin")[1] == file.path.read_bytes()
        assert capfd.readouterr() == ("", "")

    def test_closes_in_the_middle_of_a_held_file(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        file = DemoFile("h.bin", SIZE, "", faults=Faults(hold_after=SIZE // 3)).made(tmp_path)
        with (
            self.serve(file) as server,
            self.connect(server) as client,
            closing(client.transfercmd("RETR h.bin")) as data,
            data.makefile("rb") as stream,
        ):
            assert file.faults.held.wait(5)
            server.close()
            assert len(stream.read()) < SIZE
        assert capfd.readouterr() == ("", "")


class TestSFTPServer:
    @pytest.fixture
    def file(self, tmp_path: Path) -> DemoFile:
        return DemoFile("a é.bin", SIZE, "").made(tmp_path)

    @contextmanager
    def serve(self, *files: DemoFile) -> Iterator[SFTPDemoServer]:
        """Afterwards, nothing of the server is left."""
        before = threading.active_count()
        with closing(SFTPDemoServer(files)) as server:
            yield server
        assert threading.active_count() == before

    @contextmanager
    def connect(
        self, server: SFTPDemoServer, folder: Path, password: str | None = None
    ) -> Iterator[paramiko.SFTPClient]:
        """A client that knows the server by what the crawl would be told of it."""
        url = urlsplit(server.url(""))
        assert url.hostname is not None
        assert url.port is not None
        known_hosts = server.settings(folder)["FETCHER_SSH_KNOWN_HOSTS"]
        client = paramiko.SSHClient()
        client.load_host_keys(known_hosts)
        try:
            client.connect(
                url.hostname,
                url.port,
                url.username,
                password or url.password,
                timeout=5,
                allow_agent=False,
                look_for_keys=False,
            )
            yield client.open_sftp()
        finally:
            transport = client.get_transport()
            assert transport is not None
            client.close()
            transport.join(5)  # which nobody else does

    def test_whole_file_and_rest_of_it(self, tmp_path: Path, file: DemoFile) -> None:
        data = file.path.read_bytes()
        with self.serve(file) as server, self.connect(server, tmp_path) as client:
            with client.open(file.name) as remote:
                assert remote.read() == data
            with client.open(f"/{file.name}") as remote:
                others = set(threading.enumerate())
                remote.prefetch(SIZE)
                asking = set(threading.enumerate()) - others
                remote.seek(SIZE - 1000)
                assert remote.read() == data[-1000:]
                # read() may have what it wants before all is asked for, and then the
                # connection would be closed under the thread that still asks.
                for thread in asking:
                    thread.join()

    def test_tells_size_and_time(self, tmp_path: Path, file: DemoFile) -> None:
        os.utime(file.path, (0, 951_782_400))
        with self.serve(file) as server, self.connect(server, tmp_path) as client:
            seen = client.stat(file.name)
            assert (seen.st_size, seen.st_mtime) == (SIZE, 951_782_400)
            with client.open(file.name) as remote:
                assert remote.stat().st_size == SIZE
            assert client.listdir() == [file.name]

    def test_address(self, file: DemoFile) -> None:
        with self.serve(file) as server:
            assert server.url(file.name) == (
                f"sftp://demo:{server.password}@127.0.0.1:{server.port}/{quote(file.name)}"
            )

    def test_lets_in_who_knows_the_password(self, tmp_path: Path, file: DemoFile) -> None:
        with (
            self.serve(file) as server,
            pytest.raises(paramiko.AuthenticationException),
            self.connect(server, tmp_path, password="other"),
        ):
            pass

    def test_is_not_to_be_written_to(self, tmp_path: Path, file: DemoFile) -> None:
        with self.serve(file) as server, self.connect(server, tmp_path) as client:
            with pytest.raises(PermissionError):
                client.open(file.name, "w")
            with pytest.raises(OSError, match="unsupported"):
                client.remove(file.name)
            with pytest.raises(FileNotFoundError):
                client.open("known_hosts")
            with pytest.raises(FileNotFoundError):
                client.stat("known_hosts")

    def test_refuses_then_breaks_then_answers(self, tmp_path: Path) -> None:
        faults = Faults(refusals=1, breaks=1, break_after=100_000)
        file = DemoFile("f.bin", SIZE, "", faults=faults).made(tmp_path)
        data = file.path.read_bytes()
        with self.serve(file) as server:
            with self.connect(server, tmp_path) as client:
                with pytest.raises(OSError, match="Failure"):
                    client.open("f.bin")
                with client.open("f.bin") as remote:
                    assert remote.read(100_000) == data[:100_000]
                    with pytest.raises((EOFError, OSError, paramiko.SSHException)):
                        remote.read(1)
            with self.connect(server, tmp_path) as client, client.open("f.bin") as remote:
                remote.seek(100_000)
                assert remote.read() == data[100_000:]

    def test_a_transfer_that_waits_keeps_no_other_from_going_on(
        self, tmp_path: Path, file: DemoFile
    ) -> None:
        held = DemoFile("h.bin", SIZE, "", faults=Faults(hold_after=SIZE // 3)).made(tmp_path)
        paced = DemoFile("p.bin", SIZE, "", faults=Faults(pace=2 * SIZE)).made(tmp_path)
        with (
            self.serve(held, paced, file) as server,
            self.connect(server, tmp_path) as client,
            self.connect(server, tmp_path) as other,
        ):
            reader = self.read(other, "h.bin")
            assert held.faults.held.wait(5)
            began = time.monotonic()
            with client.open("p.bin") as remote:
                assert remote.read() == paced.path.read_bytes()
            assert time.monotonic() - began > 0.2
            assert reader.is_alive()
            held.faults.release()
            reader.join(5)
            assert not reader.is_alive()

    def test_closes_in_the_middle_of_held_files(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        file = DemoFile("h.bin", SIZE, "", faults=Faults(hold_after=SIZE // 3)).made(tmp_path)
        with self.serve(file) as server:
            with self.connect(server, tmp_path) as gone:
                gone_reader = self.read(gone, "h.bin")
                assert file.faults.held.wait(5)
            gone_reader.join(5)
            with self.connect(server, tmp_path) as client:
                reader = self.read(client, "h.bin")
                server.close()
            reader.join(5)
        assert capfd.readouterr() == ("", "")

    def read(self, client: paramiko.SFTPClient, name: str) -> threading.Thread:
        """In a thread of its own, until the connection ends."""

        def read_on() -> None:
            with suppress(EOFError, OSError, paramiko.SSHException):
                client.open(name).read()

        thread = threading.Thread(target=read_on)
        thread.start()
        return thread

    def test_closes_on_clients_that_have_said_nothing_yet(self, file: DemoFile) -> None:
        with (
            self.serve(file) as server,
            socket.create_connection(("127.0.0.1", server.port), 5) as silent,
        ):
            assert silent.recv(4) == b"SSH-"
            server.close()
