"""FTP and SFTP servers that lie, break and stall, end to end: what gets its name is right."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pytest
import trustme
from paramiko import Message
from paramiko.common import MSG_DISCONNECT, MSG_USERAUTH_SUCCESS
from paramiko.sftp import CMD_READ, CMD_STATUS, SFTP_FAILURE

from tests.conftest import CertificateAuthority
from tests.crawl import Crawl, CrawlResult, run_crawl, start_crawl, wait_for, write_list
from tests.servers.content import Content
from tests.servers.ftp import FTPServer
from tests.servers.ftp_faults import (
    Behaviour,
    Cut,
    DataGate,
    ExtraBytes,
    Fault,
    HangUp,
    IgnoreRest,
    Normal,
    Reply,
    Short,
    Stall,
)
from tests.servers.origin import Origin
from tests.servers.resource import Gate
from tests.servers.sftp import SFTPServer, new_key
from tests.servers.sftp_session import After
from tests.test_fetch import MIB, checksum
from tests.test_remote import (
    PASSWORDS,
    assert_failed,
    assert_right,
    is_connected,
    issued,
    leaks,
    saved,
)

DATE = 1_700_000_000
SPLIT = {"FETCHER_MIN_SPLIT_SIZE": "1M"}
"""Files of a few mebibytes come over several connections."""
HALF = MIB // 2
"""Within the first range of every connection."""
FOREVER = 99

Settings = Mapping[str, str | int | float]


def put(folder: Path, name: str, content: Content, date: int = DATE) -> None:
    content.write_to(folder / name)
    os.utime(folder / name, (date, date))


def trust(known_hosts: Path, *servers: SFTPServer) -> dict[str, str]:
    """The setting that names a file with the keys of these servers."""
    texts = [server.known_hosts(known_hosts).read_text() for server in servers]
    known_hosts.write_text("".join(texts))
    return {"FETCHER_SSH_KNOWN_HOSTS": str(known_hosts)}


@dataclass(frozen=True)
class Bench:
    """A folder that an FTP and an SFTP server show, and where the crawls go."""

    folder: Path
    ftp: FTPServer
    sftp: SFTPServer
    out: Path
    settings: dict[str, str | int | float]
    env: dict[str, str]
    contents: dict[str, Content] = field(default_factory=dict)

    def put(self, name: str, content: Content) -> str:
        """A file's path on both servers."""
        put(self.folder, name, content)
        self.contents[name] = content
        return f"/{name}"

    def start(self, rows: Mapping[str, str], **settings: str | int | float) -> Crawl:
        urls = write_list(self.out.parent / "list.tsv", list(rows.items()))
        return start_crawl(
            self.out, urls=urls, settings={**self.settings, **settings}, env=self.env
        )

    def fetch(self, rows: Mapping[str, str], **settings: str | int | float) -> CrawlResult:
        with self.start(rows, **settings) as crawl:
            return crawl.wait()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    folder = tmp_path / "root"
    folder.mkdir()
    with FTPServer(folder, {"user": "password"}) as ftp, SFTPServer(folder) as sftp:
        settings = {**SPLIT, **trust(tmp_path / "known_hosts", sftp)}
        env = {"HOME": str(tmp_path / "home"), "SSH_AUTH_SOCK": ""}
        yield Bench(folder, ftp, sftp, tmp_path / "out", {**settings}, env)
        wait_for(
            lambda: not (is_connected(ftp.port) or is_connected(sftp.port)), 5, "the end of both"
        )


@pytest.fixture
def certificate(certificate_authority: CertificateAuthority, tmp_path: Path) -> Path:
    return issued(certificate_authority.authority, tmp_path)


# --- transfers that break -------------------------------------------------------------------------

FTP_FAULTS: dict[str, list[Fault]] = {
    "all connections end": [HangUp(HALF)],
    "all connections are reset": [HangUp(HALF, reset=True)],
    "all connections end again and again": [HangUp(HALF)] * 3,
    "the end comes before the last reply": [HangUp(None)],
    "the last reply never comes": [Cut(None, reply=None)],
    "the data end": [Cut(HALF)],
    "the data end and nothing is said": [Cut(HALF, reply=None)],
    "the data are reset": [Cut(HALF, reset=True)],
    "the data stall": [Stall(HALF)],
    "the data stall at once": [Stall(0)],
    "nothing is ever answered": [Stall(None)],
    "too few bytes are said to be all": [Short(HALF)],
    "none are said to be all": [Short(0)],
    "421": [Reply("421 Timeout.")],
    "425": [Reply("425 Can't open data connection.")],
    "450": [Reply("450 File busy.")],
    "all of it": [HangUp(HALF), Short(HALF), Stall(HALF), Reply("421 Bye."), Cut(HALF, reset=True)],
    "the second connection": [Normal(), HangUp(0), Short(0), Cut(0), Reply("450 Busy.")],
}


@pytest.mark.parametrize("tls", [False, True], ids=["ftp", "ftps"])
def test_ftp_breaks_that_pass(
    bench: Bench, certificate_authority: CertificateAuthority, certificate: Path, tls: bool
) -> None:
    contents = {
        name: Content(3 * MIB + number, seed=number) for number, name in enumerate(FTP_FAULTS)
    }
    with FTPServer(bench.folder, certificate=certificate if tls else None) as server:
        for name, faults in FTP_FAULTS.items():
            server.fail(bench.put(name, contents[name]), *faults)
        bench.env.update(certificate_authority.env)
        result = bench.fetch(
            {name: server.url(f"/{name}") for name in contents},
            FETCHER_STALL_TIMEOUT=1,
            FETCHER_CONNECT_TIMEOUT=1.5,
            FETCHER_MAX_PARALLEL=6,
        )
        wait_for(lambda: not is_connected(server.port), 5, "the end of all connections")

    assert result.returncode == 0, result.stderr
    assert_right(result, contents)
    assert {row["restarts"] for row in result.report} == {0}
    assert not any(server.behaviour.faults.values()), "some never struck"


def test_ftp_breaks_that_last(bench: Bench) -> None:
    broken = ("ConnectionFailedError", "broke")
    cases: dict[str, tuple[Fault, tuple[str, str]]] = {
        "hang up": (HangUp(0), broken),
        "reset": (HangUp(0, reset=True), broken),
        "cut": (Cut(0), ("ConnectionFailedError", "ended after 0 of the")),
        "short": (Short(0), ("ConnectionFailedError", "ended after 0 of the")),
        "stall": (Stall(0), ("StalledError", "stalled: under 1024 bytes a second")),
        "extra": (ExtraBytes(), ("ProtocolError", "goes on behind")),
        "425": (Reply("425 No data connection."), ("StatusError", "No data connection")),
        "450": (Reply("450 File busy."), ("StatusError", "File busy")),
        "550": (Reply("550 Go away."), ("StatusError", "Go away")),
        "421": (Reply("421 Timeout."), broken),
        "large and extra": (ExtraBytes(), ("ProtocolError", "goes on behind")),
        "large and short": (Short(0), ("ConnectionFailedError", "ended after")),
    }
    for number, (name, (fault, _)) in enumerate(cases.items()):
        size = 4 * MIB if name.startswith("large") else 100_000
        bench.ftp.fail(bench.put(name, Content(size, seed=number)), *[fault] * FOREVER)
    good = bench.put("good", Content(100_000, seed=50))
    # Lies about the size, which no number of tries makes true.
    for name, lie in {"said shorter": -1000, "said longer": 1000}.items():
        for size in (100_000, 4 * MIB):
            named = f"{name} {size}"
            path = bench.put(named, Content(size, seed=60))
            bench.ftp.behaviour.sizes[path] = size + lie

    result = bench.fetch(
        {name: bench.ftp.url(f"/{name}") for name in bench.contents},
        FETCHER_STALL_TIMEOUT=1,
        FETCHER_MAX_TRIES=2,
        FETCHER_MAX_PARALLEL=10,
    )

    assert_failed(
        result,
        {name: cause for name, (_, cause) in cases.items()}
        | {
            "said shorter 100000": ("ProtocolError", "goes on behind"),
            "said longer 100000": ("ConnectionFailedError", "ended after 100000 of the 101000"),
            f"said shorter {4 * MIB}": ("ProtocolError", "goes on behind"),
            f"said longer {4 * MIB}": ("ConnectionFailedError", "ended after"),
        },
    )
    assert_right(result, {"good": bench.contents[good[1:]]})


SFTP_FAULTS: dict[str, list[After | None]] = {
    "the connection ends": [After(HALF, "cut")],
    "the connection ends at once": [After(0, "cut")],
    "the connection ends again and again": [After(HALF, "cut")] * 3,
    "nothing comes any more": [After(HALF, "stall")],
    "nothing ever comes": [After(0, "stall")],
    "reading fails": [After(HALF, "fail")],
    "the file ends early": [After(HALF, "end")],
    "the file ends at once": [After(0, "end")],
    "all of it": [
        After(HALF, "cut"),
        After(HALF, "fail"),
        After(HALF, "end"),
        After(HALF, "stall"),
    ],
    "the second connection": [None, After(0, "cut"), After(0, "fail"), After(0, "end")],
}


def test_sftp_breaks_that_pass(bench: Bench) -> None:
    contents = {
        name: Content(3 * MIB + number, seed=number) for number, name in enumerate(SFTP_FAULTS)
    }
    for name, faults in SFTP_FAULTS.items():
        bench.sftp.behaviour.faults[bench.put(name, contents[name])] = list(faults)
    bench.sftp.behaviour.connection_faults = ["close", None, "silent", "close", None, "close"]

    result = bench.fetch(
        {name: bench.sftp.url(f"/{name}") for name in contents},
        FETCHER_STALL_TIMEOUT=1,
        FETCHER_CONNECT_TIMEOUT=2,
    )

    assert result.returncode == 0, result.stderr
    assert_right(result, contents)
    assert {row["restarts"] for row in result.report} == {0}
    assert not any(bench.sftp.behaviour.faults.values()), "some never struck"


def test_sftp_breaks_that_last(bench: Bench) -> None:
    broken = ("ConnectionFailedError", "broke")
    early = ("ConnectionFailedError", "ended after 0 of the")
    cases: dict[str, tuple[Literal["cut", "stall", "fail", "end"], tuple[str, str]]] = {
        "cut": ("cut", broken),
        "stall": ("stall", ("StalledError", "stalled: under 1024 bytes a second")),
        "fail": ("fail", ("ConnectionFailedError", "cannot read the file")),
        "end": ("end", early),
    }
    behaviour = bench.sftp.behaviour
    for number, (name, (then, _)) in enumerate(cases.items()):
        path = bench.put(name, Content(100_000, seed=number))
        behaviour.faults[path] = [After(0, then)] * FOREVER
    for name, lie in {"said shorter": -1000, "said longer": 1000}.items():
        for size in (100_000, 3 * MIB):
            path = bench.put(f"{name} {size}", Content(size, seed=60))
            behaviour.sizes[path] = size + lie
    behaviour.forbidden.add(bench.put("forbidden", Content(10)))
    good = bench.put("good", Content(100_000, seed=50))

    result = bench.fetch(
        {name: bench.sftp.url(f"/{name}") for name in bench.contents},
        FETCHER_STALL_TIMEOUT=1,
        FETCHER_MAX_TRIES=2,
        FETCHER_MAX_PARALLEL=10,
    )

    assert_failed(
        result,
        {name: cause for name, (_, cause) in cases.items()}
        | {
            "said shorter 100000": ("ProtocolError", "goes on behind"),
            "said longer 100000": ("ConnectionFailedError", "ended after 100000 of the 101000"),
            f"said shorter {3 * MIB}": ("ProtocolError", "goes on behind"),
            f"said longer {3 * MIB}": ("ConnectionFailedError", "ended after"),
            "forbidden": ("StatusError", "access is refused"),
        },
    )
    assert_right(result, {"good": bench.contents[good[1:]]})


def test_bytes_behind_the_size_in_a_single_answer(bench: Bench) -> None:
    """Once only, so that another try could do better; the file is right or is not there."""
    for name, size in {"small": 300_000, "large": 5 * MIB}.items():
        bench.ftp.fail(bench.put(name, Content(size, seed=1)), ExtraBytes())

    result = bench.fetch({name: bench.ftp.url(f"/{name}") for name in bench.contents})

    assert "Traceback" not in result.stderr
    for name, content in bench.contents.items():
        there = bench.out / name
        assert there.exists() == (result.by_name[name]["status"] == "ok")
        assert not there.exists() or checksum(there) == content.sha256


# --- servers that lack something ------------------------------------------------------------------


def test_ftp_servers_that_lack_a_command(bench: Bench) -> None:
    """One stream where nothing else is safe, several connections where they are possible."""
    lacking: dict[str, tuple[Behaviour, int]] = {
        "SIZE": (Behaviour(without={"SIZE"}), 1),
        "REST": (Behaviour(without={"REST"}), 1),
        "MDTM": (Behaviour(without={"MDTM"}), 1),
        "SIZE and MDTM": (Behaviour(without={"SIZE", "MDTM"}), 1),
        # So slow that a second connection is there before the first has done it all.
        "FEAT": (Behaviour(without={"FEAT"}, rate=3 * MIB), 2),
        "EPSV": (Behaviour(without={"EPSV"}, rate=3 * MIB), 2),
        "its own address": (
            Behaviour(without={"EPSV"}, pasv_host="192.0.2.1", rate=3 * MIB),
            2,
        ),
        "all": (Behaviour(without={"SIZE", "MDTM", "FEAT", "REST", "EPSV", "OPTS"}), 1),
    }
    contents = {name: Content(3 * MIB, seed=seed) for seed, name in enumerate(lacking)}
    rows = {}
    with ExitStack() as stack:
        servers = {}
        for name, (behaviour, _) in lacking.items():
            path = bench.put(name, contents[name])
            server = stack.enter_context(FTPServer(bench.folder, behaviour=behaviour))
            servers[name] = server
            rows[name] = server.url(path)
            # One that breaks on its way has to be right too.
            behaviour.faults[bench.put(f"{name} cut", contents[name])] = [Normal(), Cut(HALF)]
            rows[f"{name} cut"] = server.url(f"/{name} cut")
        result = bench.fetch(rows, CONCURRENT_REQUESTS_PER_DOMAIN=100, FETCHER_MAX_PARALLEL=8)

    assert result.returncode == 0, result.stderr
    assert_right(result, bench.contents)
    for name, (_, least) in lacking.items():
        connections = result.by_name[name]["connections"]
        assert connections == 1 if least == 1 else connections >= least, (name, connections)
    assert "last-modified" in result.by_name["SIZE"]["verified_by"]
    assert "size" in result.by_name["MDTM"]["verified_by"]


def test_ftp_server_that_only_pretends_to_resume(bench: Bench) -> None:
    content = Content(5 * MIB, seed=1)
    path = bench.put("a.bin", content)
    bench.ftp.fail(path, *[IgnoreRest()] * FOREVER)

    result = bench.fetch({"a.bin": bench.ftp.url(path)})

    assert result.returncode == 0, result.stderr
    assert_right(result, {"a.bin": content})
    number = [number for number, line in bench.ftp.commands if line == "RETR a.bin"][-1]
    lines = [line for at, line in bench.ftp.commands if at == number]
    last = lines[: len(lines) - lines[::-1].index("RETR a.bin")]
    assert not last[-2].startswith("REST"), "one stream in the end"


def test_one_answer_that_begins_at_the_wrong_place(bench: Bench) -> None:
    """As from one of several machines behind a name: all others do as they are told."""
    content = Content(5 * MIB, seed=1)
    path = bench.put("a.bin", content)
    bench.ftp.fail(path, Normal(), IgnoreRest())

    bench.fetch({"a.bin": bench.ftp.url(path)})

    there = bench.out / "a.bin"
    assert not there.exists() or checksum(there) == content.sha256


def test_sftp_servers_that_lack_something(bench: Bench) -> None:
    contents = {name: Content(2 * MIB + 5, seed=seed) for seed, name in enumerate("abcde")}
    with ExitStack() as stack:
        servers = [stack.enter_context(SFTPServer(bench.folder)) for _ in contents]
        short, tiny, slow, sizeless, timeless = (server.behaviour for server in servers)
        short.max_read = 32 << 10
        tiny.max_read = 5000
        # So slow that a second connection is there before the first has done it all.
        short.rate = tiny.rate = 2 * MIB
        slow.banner_delay = 0.5
        rows = {}
        for name, server in zip(contents, servers, strict=True):
            rows[name] = server.url(bench.put(name, contents[name]))
        sizeless.sizes["/d"] = None
        timeless.times["/e"] = None
        trusted = trust(bench.out.parent / "known_hosts", *servers)
        result = bench.fetch(rows, **trusted)

    assert result.returncode == 0, result.stderr
    assert_right(result, contents)
    connections = {name: row["connections"] for name, row in result.by_name.items()}
    assert min(connections["a"], connections["b"]) >= 2, connections
    assert connections["d"] == connections["e"] == 1


def test_servers_that_take_two_connections(bench: Bench) -> None:
    """Three files of five connections each have to be content with them."""
    contents = {name: Content(4 * MIB, seed=seed) for seed, name in enumerate("abc")}
    late = Behaviour(max_connections=2, too_many="530 Too many connections.", rate=20 * MIB)
    bench.ftp.behaviour.max_connections = bench.sftp.behaviour.max_connections = 2
    bench.ftp.behaviour.rate = 20 * MIB
    with FTPServer(bench.folder, behaviour=late) as other:
        urls = {"421": bench.ftp.url, "530": other.url, "sftp": bench.sftp.url}
        rows = {
            f"{name} {server}": url(bench.put(name, content))
            for server, url in urls.items()
            for name, content in contents.items()
        }
        result = bench.fetch(rows, CONCURRENT_REQUESTS_PER_DOMAIN=100, FETCHER_MAX_PARALLEL=9)

        assert result.returncode == 0, result.stderr
        assert_right(result, {name: contents[name[0]] for name in rows})
        # Those that are turned away do not knock again and again.
        for server in (bench.ftp, other):
            assert 2 < server.connections < 40
            assert server.peak <= 2
    assert 0 < bench.sftp.refused < 40
    assert bench.sftp.peak_connections <= 2


# --- servers that are none, and logins ------------------------------------------------------------


def test_silence_and_doors_that_stay_shut(bench: Bench) -> None:
    """Something listens and nothing speaks, from the beginning or from some step on; or all that
    is ever said is that there are too many."""
    bench.put("a", Content(10))
    bench.ftp.behaviour.max_connections = bench.sftp.behaviour.max_connections = 0
    with (
        socket.create_server(("127.0.0.1", 0)) as dumb,
        FTPServer(bench.folder, behaviour=Behaviour(replies={"USER": None})) as at_login,
        FTPServer(bench.folder, behaviour=Behaviour(replies={"SIZE": None})) as at_size,
        FTPServer(bench.folder, behaviour=Behaviour(replies={"EPSV": None})) as at_data,
        FTPServer(bench.folder, behaviour=Behaviour(replies={"RETR": None})) as at_file,
    ):
        port = dumb.getsockname()[1]
        schemes = ("ftp", "ftps", "sftp")
        rows = {scheme: f"{scheme}://127.0.0.1:{port}/a" for scheme in schemes}
        servers = {"login": at_login, "size": at_size, "data": at_data, "file": at_file}
        rows |= {name: server.url("/a") for name, server in servers.items()}
        rows |= {"full ftp": bench.ftp.url("/a"), "full sftp": bench.sftp.url("/a")}
        result = bench.fetch(
            rows, FETCHER_CONNECT_TIMEOUT=2, FETCHER_MAX_TRIES=1, FETCHER_MAX_PARALLEL=9
        )

    assert result.seconds < 10
    assert_failed(
        result,
        {
            **dict.fromkeys((*schemes, "login"), ("ConnectTimeoutError", "did not answer in time")),
            **dict.fromkeys(("size", "data", "file"), ("ConnectTimeoutError", "within 2 s")),
            "full ftp": ("StatusError", "Too many connections from the same IP address"),
            "full sftp": ("StatusError", "before its greeting"),
        },
    )


@contextmanager
def says(words: bytes) -> Iterator[int]:
    """The port of a server that says the same again and again."""

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                while True:
                    client.sendall(words)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_ssh_without_end(bench: Bench) -> None:
    """Before anybody is logged in."""
    packet = b"SSH-2.0-x\r\n" + (0x7FFFFFFC).to_bytes(4) + bytes(65536)
    lines = b"a" * 1000 + b"\n"
    with says(b"a" * 65536) as one, says(lines) as many, says(packet) as large:
        ports = {"one line": one, "many lines": many, "packet": large}
        rows = {name: f"sftp://127.0.0.1:{port}/a" for name, port in ports.items()}
        result = bench.fetch(rows, FETCHER_MAX_TRIES=1)

    assert result.seconds < 10
    assert result.peak_rss < 150 * MIB
    assert_failed(
        result,
        {
            **dict.fromkeys(("one line", "many lines"), ("ProtocolError", "greeting without end")),
            "packet": ("ProtocolError", "larger than any of SSH"),
        },
    )


def test_another_protocol_than_the_address_says(bench: Bench, origin: Origin) -> None:
    origin.add("/a", Content(10))
    nobody = socket.socket()
    with nobody:
        nobody.bind(("127.0.0.1", 0))  # Nobody listens there.
        ports = {
            "ftp": bench.ftp.port,
            "sftp": bench.sftp.port,
            "http": int(origin.url("/a").rpartition(":")[2].partition("/")[0]),
            "nobody": nobody.getsockname()[1],
        }
        rows = {
            f"{scheme} at {server}": f"{scheme}://127.0.0.1:{port}/a"
            for scheme in ("ftp", "ftps", "sftp")
            for server, port in ports.items()
            if scheme != server
        }
        rows["no such host"] = "ftp://no-such-host.invalid/a"
        del rows["ftps at ftp"]  # It has no TLS, which is another matter.
        result = bench.fetch(
            rows, FETCHER_CONNECT_TIMEOUT=1, FETCHER_MAX_TRIES=1, FETCHER_MAX_PARALLEL=12
        )

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    for name, row in result.by_name.items():
        assert row["status"] == "failed", name
        assert ("refused the connection" in row["error"]["message"]) == name.endswith("nobody")
        assert len(row["error"]["message"]) > 20, row["error"]
    assert "was not found" in result.by_name["no such host"]["error"]["message"]


def test_folders_and_addresses_without_a_file(bench: Bench) -> None:
    content = Content(100_000, seed=1)
    bench.put("a.bin", content)
    (bench.folder / "folder").mkdir()
    ftp, sftp = bench.ftp.url("/"), bench.sftp.url("/")
    addresses = [
        f"{ftp}a.bin;type=i",
        f"{ftp}folder",
        f"{sftp}folder",
        ftp,
        ftp.removesuffix("/"),
        sftp,
        sftp.removesuffix("/"),
        f"{ftp}a.bin;type=a",
        f"{ftp}folder;type=d",
        f"{ftp}a.bin%0d%0aDELE%20a.bin",
    ]
    urls = bench.out.parent / "list.txt"
    urls.write_text("\n".join(addresses))

    result = run_crawl(bench.out, urls=urls, settings=bench.settings, env=bench.env)

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    by_url: dict[str, list[Any]] = {}
    for row in result.report:
        by_url.setdefault(row["url"], []).append(row["error"])
    assert by_url.pop(addresses[0]) == [None]
    assert checksum(bench.out / "a.bin") == content.sha256
    for address in addresses[1:3]:
        [error] = by_url.pop(address.replace("user:password@", ""))
        assert error["type"] == "StatusError"
        assert "this is a folder" in error["message"]
    bad = [error for errors in by_url.values() for error in errors]
    assert [error["type"] for error in bad] == ["InvalidURLError"] * 7
    lines = {error["line"]: error["message"] for error in bad}
    assert all("names a folder" in lines[line] for line in (4, 5, 6, 7))
    assert "text transfer" in lines[8]
    assert "control characters" in lines[10]
    assert not bench.ftp.asked("DELE")


def test_host_keys(bench: Bench, tmp_path: Path) -> None:
    """Of a server that is known, and of those that are not, or not so."""
    content = Content(1000, seed=1)
    bench.put("a", content)
    with ExitStack() as stack:
        names = ("unknown", "changed", "revoked", "of another type")
        servers = {name: stack.enter_context(SFTPServer(bench.folder)) for name in names}
        hosts = tmp_path / "known_hosts"
        lines = [
            bench.sftp.known_hosts(hosts).read_text(),
            servers["changed"].known_hosts(hosts, keys=[new_key()]).read_text(),
            "@revoked * " + servers["revoked"].known_hosts(hosts).read_text().partition(" ")[2],
            "this line is none\n",
        ]
        hosts.write_text("".join(lines))
        rows = {name: server.url("/a") for name, server in servers.items()}
        result = bench.fetch({"good": bench.sftp.url("/a"), **rows})
        logged_in = [server.operations for server in servers.values()]

    assert_right(result, {"good": content})
    assert_failed(
        result,
        {
            "unknown": ("HostKeyError", "is not known"),
            "changed": ("HostKeyError", "has changed"),
            "revoked": ("HostKeyError", "is marked as revoked"),
            "of another type": ("HostKeyError", "is not known"),
        },
    )
    assert not any(logged_in)


def test_certificates(
    bench: Bench,
    certificate_authority: CertificateAuthority,
    certificate: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    content = Content(1000, seed=1)
    bench.put("a", content)
    unknown = issued(trustme.CA(), tmp_path_factory.mktemp("unknown"))
    another = tmp_path_factory.mktemp("another")
    elsewhere = issued(certificate_authority.authority, another, "other.example")
    bench.env.update(certificate_authority.env)
    secret = "anonymous:hidden"
    with (
        FTPServer(bench.folder, certificate=certificate, require_tls=True) as good,
        FTPServer(bench.folder, certificate=unknown) as untrusted,
        FTPServer(bench.folder, certificate=elsewhere) as misnamed,
    ):
        servers = {"good": good, "untrusted": untrusted, "misnamed": misnamed, "none": bench.ftp}
        rows = {name: server.url("/a", userinfo=secret) for name, server in servers.items()}
        result = bench.fetch(rows, FETCHER_FTP_TLS="require")
        passwords = [server.asked("PASS") for server in (untrusted, misnamed, bench.ftp)]

    assert_right(result, {"good": content})
    assert_failed(
        result,
        {
            "untrusted": ("CertificateError", "is not trusted"),
            "misnamed": ("CertificateError", "certificate of 127.0.0.1"),
            "none": ("LoginError", "offers no TLS"),
        },
    )
    assert not any(passwords)


def test_passwords_open_sftp_and_are_nowhere_to_be_read(bench: Bench) -> None:
    wrong = [f"{password}no" for password in PASSWORDS]
    users = {f"us er@{number}": password for number, password in enumerate(PASSWORDS)}
    bench.sftp.users.update(users)
    content, large = Content(1000, seed=1), Content(5 * MIB, seed=2)
    bench.put("a", content)
    gate = bench.sftp.behaviour.gates[bench.put("large", large)] = Gate(after=3 * HALF)
    rows, secrets = {}, []
    for number, (user, password) in enumerate(users.items()):
        for name, given in (("right", password), ("wrong", wrong[number])):
            secrets.append((user, given))
            login = f"{quote(user, safe='')}:{quote(given, safe='')}"
            rows[f"{name} {number}"] = bench.sftp.url("/a", userinfo=login)
            if name == "right" and number == 0:
                rows["large"] = bench.sftp.url("/large", userinfo=login)
    log = bench.out / "log.txt"
    bench.out.mkdir()
    with bench.start(
        rows,
        FETCHER_MAX_PARALLEL=20,
        FETCHER_MIN_SPLIT_SIZE="2M",
        LOG_LEVEL="DEBUG",
        LOG_FILE=str(log),
    ) as crawl:
        gate.wait_until_held(connections=2)
        wait_for(lambda: saved(bench.out, "large"), 10, "a journal")
        wait_for(lambda: len(list(bench.out.glob("right ?"))) == len(users), 20, "the others")
        crawl.send_signal(signal.SIGINT)
        result = crawl.wait()
    gate.open()

    assert (bench.out / "large.part.json").exists()
    assert "DEBUG" in log.read_text("utf-8")
    assert_right(result, {f"right {number}": content for number in range(len(users))})
    cause = ("StatusError", "check user and password")
    assert_failed(result, {f"wrong {number}": cause for number in range(len(users))})
    assert leaks(result, secrets) == []


def test_servers_that_repeat_the_password_and_paint_the_terminal(bench: Bench) -> None:
    secret = "open/sesame@100%"
    bench.put("a", Content(10))
    words = f"{secret}:\x1b[31mwrong\x07{'!' * 500}"
    text = Message()
    text.add_string(b"\xff" + words.encode())

    def fail(channel: Any, number: int) -> None:
        status = struct.pack(">BII", CMD_STATUS, number, SFTP_FAILURE) + text.asbytes()
        channel.sendall(struct.pack(">I", len(status)) + status)

    login = {"user": secret}
    with ExitStack() as stack:
        ftp = [stack.enter_context(FTPServer(bench.folder, login)) for _ in range(2)]
        sftp = [stack.enter_context(SFTPServer(bench.folder, login)) for _ in range(3)]
        ftp[0].behaviour.replies["PASS"] = f"530 {words}"
        ftp[1].behaviour.replies["SIZE"] = f"421 {words}"
        sftp[0].behaviour.answers[CMD_READ] = fail
        sftp[1].behaviour.version = f"SSH-{words}-x"
        disconnect = struct.pack(">BI", MSG_DISCONNECT, 2) + text.asbytes()
        sftp[2].behaviour.messages[MSG_USERAUTH_SUCCESS] = disconnect
        userinfo = f"user:{quote(secret, safe='')}"
        urls = [one.url("/a", userinfo=userinfo) for one in ftp]
        urls += [one.url("/a", userinfo=userinfo) for one in sftp]
        known = trust(bench.out.parent / "known_hosts", *sftp)
        rows = {str(number): url for number, url in enumerate(urls)}
        result = bench.fetch(rows, FETCHER_MAX_TRIES=1, LOG_LEVEL="DEBUG", **known)
        assert ftp[0].asked("PASS") == [secret]

    kinds = ["StatusError", *["ConnectionFailedError"] * 2, *["ProtocolError"] * 2]
    assert_failed(result, {name: (kinds[int(name)], "") for name in rows})
    assert leaks(result, [("user", secret)]) == []
    assert "\x1b" not in result.stderr
    messages = [row["error"]["message"] for row in result.report]
    assert all(message.isprintable() and len(message) < 400 for message in messages)
    assert sum("wrong" in message for message in messages) == 4


class Asked(dict[str, str]):
    """Users and passwords that note who was asked for."""

    def __init__(self, users: Mapping[str, str]) -> None:
        super().__init__(users)
        self.names: list[str] = []

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.names.append(name)
        return super().get(name, default)


def test_logins_are_used_for_their_own_rows_alone(bench: Bench) -> None:
    """One file at a time: those that follow would find the sessions of those before idle."""
    content = Content(1000, seed=1)
    bench.put("a", content)
    users = {"alice": "secret", "bob": "hidden"}
    with (
        FTPServer(bench.folder, users, anonymous=False) as ftp,
        SFTPServer(bench.folder, users) as sftp,
        SFTPServer(bench.folder) as other,
    ):
        other.users = seen = Asked({"user": "password"})
        known = trust(bench.out.parent / "known_hosts", sftp, other)
        logins = {
            "alice": "alice:secret",
            "bob": "bob:hidden",
            "no bob": "bob:secret",
            "alice only": "alice",
            "nobody": "",
            "alice again": "alice:secret",
        }
        rows = {f"ftp {name}": ftp.url("/a", userinfo=login) for name, login in logins.items()}
        rows["other ftp"] = bench.ftp.url("/a")
        rows |= {f"sftp {name}": sftp.url("/a", userinfo=login) for name, login in logins.items()}
        rows["other sftp"] = other.url("/a", userinfo="")
        result = bench.fetch(rows, FETCHER_MAX_PARALLEL=1, **known)
        sessions = len(ftp.asked("USER"))

    bad = [name for name in rows if name.endswith(("no bob", "only", "nobody", "other sftp"))]
    assert len(bad) == 7
    assert_right(result, {name: content for name in rows if name not in bad})
    assert_failed(result, dict.fromkeys(bad, ("StatusError", "check user and password")))
    assert set(bench.ftp.asked("USER")) == {"anonymous"}
    assert set(bench.ftp.asked("PASS")) == {"anonymous@"}
    assert seen.names == []
    assert sessions == 5, "one session for both files of a login"


# --- slow ones ------------------------------------------------------------------------------------


def test_slow_is_not_stalled(bench: Bench) -> None:
    """Bytes come all the time, and many more than `FETCHER_STALL_SPEED`; but an answer of SFTP
    takes longer than `FETCHER_STALL_TIMEOUT`."""
    content = Content(300_000, seed=1)
    path = bench.put("a", content)
    bench.ftp.behaviour.rate = bench.sftp.behaviour.rate = 150_000

    result = bench.fetch(
        {"ftp": bench.ftp.url(path), "sftp": bench.sftp.url(path)}, FETCHER_STALL_TIMEOUT=1.2
    )

    assert result.returncode == 0, result.stderr
    assert_right(result, {"ftp": content, "sftp": content})
    assert {row["retries"] for row in result.report} == {0}


# --- files that change ----------------------------------------------------------------------------


def rewrite(path: Path, content: Content) -> None:
    with path.open("r+b") as file:
        file.writelines(content.blocks())
        file.truncate()
    os.utime(path, (DATE + 60, DATE + 60))


def rename(path: Path, content: Content) -> None:
    aside = path.with_suffix(".new")
    put(path.parent, aside.name, content, DATE + 60)
    aside.replace(path)


CHANGES = {
    "rewritten": (Content(6 * MIB, seed=1), rewrite, Content(6 * MIB, seed=2)),
    "replaced": (Content(6 * MIB, seed=1), rename, Content(6 * MIB, seed=2)),
    "grown": (Content(6 * MIB, seed=1), rewrite, Content(7 * MIB, seed=1)),
    "shrunk": (Content(6 * MIB, seed=1), rename, Content(5 * MIB, seed=1)),
    # A small one comes by one request, so that nothing is asked for after its change.
    "small": (Content(MIB, seed=1), rewrite, Content(MIB, seed=2)),
}


def test_files_that_change_under_way_are_begun_anew(bench: Bench) -> None:
    gates = []
    for name, (old, _, _) in CHANGES.items():
        path = bench.put(name, old)
        bench.ftp.behaviour.gates[path] = ftp = DataGate(after=HALF)
        bench.sftp.behaviour.gates[path] = sftp = Gate(after=HALF)
        gates += [(ftp, 1 + (old.size > MIB)), (sftp, 1 + (old.size > MIB))]
    rows = {f"{name} by ftp": bench.ftp.url(f"/{name}") for name in CHANGES}
    rows |= {f"{name} by sftp": bench.sftp.url(f"/{name}") for name in CHANGES}
    with bench.start(rows, CONCURRENT_REQUESTS_PER_DOMAIN=100, FETCHER_MAX_PARALLEL=10) as crawl:
        for gate, connections in gates:
            gate.wait_until_held(connections)
        for name, (_, apply, new) in CHANGES.items():
            apply(bench.folder / name, new)
        for gate, _ in gates:
            gate.open()
        result = crawl.wait()

    assert result.returncode == 0, result.stderr
    for scheme in ("ftp", "sftp"):
        contents = {f"{name} by {scheme}": new for name, (_, _, new) in CHANGES.items()}
        assert_right(result, contents)
    assert {row["restarts"] for row in result.report} == {1}


def test_files_that_are_gone_on_with_and_do_not_fit_are_begun_anew(bench: Bench) -> None:
    """Two are other versions by now; of a third the server gives the beginning only."""
    old, new = Content(6 * MIB, seed=1), Content(6 * MIB, seed=2)
    changing, lasting = bench.put("a", old), bench.put("b", old)
    rows = {
        "ftp": bench.ftp.url(changing),
        "sftp": bench.sftp.url(changing),
        "pretender": bench.ftp.url(lasting),
    }
    gates: list[Gate] = [DataGate(after=3 * HALF), DataGate(after=3 * HALF), Gate(after=3 * HALF)]
    bench.ftp.behaviour.gates |= {changing: gates[0], lasting: gates[1]}  # type: ignore[dict-item]
    bench.sftp.behaviour.gates[changing] = gates[2]
    with bench.start(rows, FETCHER_MIN_SPLIT_SIZE="2M") as crawl:
        for gate in gates:
            gate.wait_until_held(connections=2)
        wait_for(lambda: all(saved(bench.out, name) for name in rows), 10, "journals")
        crawl.send_signal(signal.SIGINT)
        crawl.wait(timeout=10)
    for gate in gates:
        gate.open()
    rename(bench.folder / "a", new)
    bench.ftp.fail(lasting, *[IgnoreRest()] * FOREVER)

    # By itself: another file's session may already have shown that the server goes on elsewhere.
    alone = bench.fetch({"pretender": rows.pop("pretender")})
    assert alone.returncode == 0, alone.stderr
    assert_right(alone, {"pretender": old})
    # Its whole file comes at once, and what is there of it is passed over.
    assert [(row["restarts"], row["resumed"]) for row in alone.report] == [(0, 9 * HALF)]

    result = bench.fetch(rows)

    assert result.returncode == 0, result.stderr
    assert_right(result, {"ftp": new, "sftp": new})
    assert {(row["restarts"], row["resumed"]) for row in result.report} == {(1, 0)}


def test_a_file_that_has_not_changed_is_not_fetched_again(bench: Bench) -> None:
    old, new = Content(3 * MIB, seed=1), Content(3 * MIB, seed=2)
    path = bench.put("a", old)
    rows = {"ftp": bench.ftp.url(path), "sftp": bench.sftp.url(path)}
    assert_right(bench.fetch(rows), dict.fromkeys(rows, old))
    sent = bench.ftp.sent, bench.sftp.sent()

    same = bench.fetch(rows, FETCHER_IF_EXISTS="update")
    assert same.returncode == 0, same.stderr
    assert {row["status"] for row in same.report} == {"unchanged"}
    assert (bench.ftp.sent, bench.sftp.sent()) == sent

    rename(bench.folder / "a", new)
    assert_right(bench.fetch(rows, FETCHER_IF_EXISTS="update"), dict.fromkeys(rows, new))


class Later(dict[str, Any]):
    """A date for each path, another one whenever it is asked for."""

    def __init__(self, *, as_text: bool) -> None:
        super().__init__()
        self._dates = count(DATE)
        self._as_text = as_text

    def get(self, path: str, default: Any = None) -> Any:
        date = next(self._dates)
        return time.strftime("%Y%m%d%H%M%S", time.gmtime(date)) if self._as_text else date


def test_a_file_that_never_rests_fails(bench: Bench) -> None:
    path = bench.put("a", Content(3 * MIB, seed=1))
    bench.ftp.behaviour.times = Later(as_text=True)
    bench.sftp.behaviour.times = Later(as_text=False)

    result = bench.fetch({"ftp": bench.ftp.url(path), "sftp": bench.sftp.url(path)})

    cause = ("ChangedError", "try again when it is at rest")
    assert_failed(result, {"ftp": cause, "sftp": cause})


# --- all together ---------------------------------------------------------------------------------


def test_all_protocols_in_one_list(
    bench: Bench,
    origin: Origin,
    tls_origin: Origin,
    certificate_authority: CertificateAuthority,
    certificate: Path,
) -> None:
    contents = {name: Content(3 * MIB, seed=seed) for seed, name in enumerate("abcde")}
    for name, content in contents.items():
        bench.put(name, content)
        origin.add(f"/{name}", content)
        tls_origin.add(f"/{name}", content)
    bench.env.update(certificate_authority.env)
    with FTPServer(bench.folder, certificate=certificate) as ftps:
        urls = [one.url for one in (origin, tls_origin, bench.ftp, ftps, bench.sftp)]
        rows = {name: url(f"/{name}") for name, url in zip(contents, urls, strict=True)}
        schemes = {url.partition(":")[0] for url in rows.values()}
        assert schemes == {"http", "https", "ftp", "ftps", "sftp"}
        result = bench.fetch(rows)

    assert result.returncode == 0, result.stderr
    assert_right(result, contents)


def test_a_signal_ends_all_that_hangs(bench: Bench) -> None:
    paths: Sequence[str] = [bench.put(name, Content(3 * MIB, seed=1)) for name in ("a", "busy")]
    bench.ftp.fail("/a", *[Stall(HALF)] * FOREVER)
    bench.ftp.fail("/busy", *[Reply("450 Busy.")] * FOREVER)
    bench.sftp.behaviour.faults["/a"] = [After(HALF, "stall")] * FOREVER
    with (
        socket.create_server(("127.0.0.1", 0)) as dumb,
        FTPServer(bench.folder, behaviour=Behaviour(replies={"PASS": None})) as at_login,
    ):
        port = dumb.getsockname()[1]
        rows = {scheme: f"{scheme}://127.0.0.1:{port}/a" for scheme in ("ftp", "ftps", "sftp")}
        rows |= {
            "stalled ftp": bench.ftp.url(paths[0]),
            "stalled sftp": bench.sftp.url(paths[0]),
            "busy": bench.ftp.url(paths[1]),
            "login": at_login.url(paths[0]),
        }
        with bench.start(rows, FETCHER_MAX_PARALLEL=9, FETCHER_RETRY_BACKOFF=60) as crawl:
            wait_for(lambda: bench.ftp.active and bench.sftp.open_files(), 20, "transfers")
            wait_for(lambda: at_login.asked("PASS"), 20, "the login")
            wait_for(lambda: "busy" in bench.ftp.asked("RETR"), 20, "the busy file")
            time.sleep(0.5)
            began = time.monotonic()
            crawl.send_signal(signal.SIGINT)
            result = crawl.wait(timeout=10)
            assert time.monotonic() - began < 2

    assert_failed(result, dict.fromkeys(rows, ("Stopped", "the same command goes on")))
