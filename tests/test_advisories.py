"""What others had to learn the hard way: each advisory, and where it is shown not to be so here."""

from __future__ import annotations

import ast
import gzip
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetcher.handlers.sftp.ssh import _transport
from tests.crawl import PROJECT, run_crawl, start_crawl, wait_for, write_list
from tests.servers.content import Content
from tests.servers.faults import Redirect
from tests.servers.ftp import FTPServer
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource
from tests.servers.sftp import SFTPServer

MIB = 1 << 20

HERE, REMOTE = "tests/test_advisories.py", "tests/test_remote_hostile.py"

ADVISORIES = {
    "scrapy GHSA-cw9j-q3vf-hrrv": "tests/matrix/links.py::elsewhere",
    "scrapy GHSA-4qqq-9vqf-3h3f": "tests/matrix/links.py::elsewhere",
    "scrapy CVE-2024-1968": "tests/matrix/links.py::elsewhere",
    "scrapy GHSA-23j4-mw76-5v7h": "tests/matrix/links.py::astray",
    "scrapy CVE-2021-41125": f"{REMOTE}::test_logins_are_used_for_their_own_rows_alone",
    "scrapy CVE-2022-0577": "tests/matrix/links.py::elsewhere",
    "scrapy CVE-2024-3572": "tests/test_advisories.py::test_a_list_that_unpacks_to_a_bomb",
    "twisted CVE-2022-21712": "tests/matrix/links.py::elsewhere",
    "twisted CVE-2019-12387": "tests/matrix/links.py::crlf",
    "curl CVE-2020-8284": "tests/test_advisories.py::test_ftp_data_comes_from_the_server_only",
    "curl CVE-2020-8177": f"{HERE}::test_a_server_never_replaces_a_file_by_naming_it",
    "curl CVE-2016-0754": "tests/matrix/names.py::disposition",
    "curl CVE-2023-38039": "tests/matrix/framing.py::endless",
    "curl CVE-2022-32206": "tests/matrix/content.py::too_many_codings",
    "wget CVE-2014-4877": "tests/matrix/disk.py::folder_link",
    "wget CVE-2016-4971": "tests/matrix/names.py::redirected",
    "wget CVE-2018-20483": "tests/test_advisories.py::test_secrets_are_nowhere_to_be_found",
    "wget CVE-2021-31879": "tests/matrix/links.py::elsewhere",
    "aria2 CVE-2019-3500": "tests/test_advisories.py::test_secrets_are_nowhere_to_be_found",
    "axel CVE-2020-13614": "tests/test_remote_hostile.py::test_certificates",
    "lftp CVE-2010-2251": "tests/matrix/names.py::disposition",
    "ssh CVE-2023-48795": "tests/test_advisories.py::test_ssh_keys_are_exchanged_strictly",
}
"""Whose, and where it is tested."""


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_every_advisory_has_its_test(advisory: str) -> None:
    path, _, name = ADVISORIES[advisory].partition("::")
    tree = ast.parse((PROJECT / path).read_text("utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in names


def test_a_list_that_unpacks_to_a_bomb(origin: Origin, tmp_path: Path) -> None:
    """200 MiB without a line end in 200 KiB, and a good row behind them."""
    urls = tmp_path / "list.txt.gz"
    with gzip.open(urls, "wb", compresslevel=9) as file:
        for _ in range(200):
            file.write(b"x" * MIB)
        file.write(f"\n{origin.add('/a.bin', b'a')}\n".encode())

    result = run_crawl(tmp_path / "out", urls=urls)

    assert [row["status"] for row in result.report] == ["failed", "ok"]
    assert result.report[0]["error"]["line"] == 1
    assert result.peak_rss < 150 * MIB


def test_a_server_never_replaces_a_file_by_naming_it(origin: Origin, tmp_path: Path) -> None:
    """Neither somebody's file in the folder, nor that of another row."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.bin").write_bytes(b"precious")
    contents = {name: Content(5000, seed=ord(name)) for name in "abc"}
    headers = {"a": "precious.bin", "b": "c.bin"}
    rows = []
    for name, content in contents.items():
        given = headers.get(name)
        resource = Resource(content)
        if given:
            resource.headers = {"Content-Disposition": f"attachment; filename={given}"}
        rows.append(origin.add(f"/{name}.bin", resource))

    # The row of c.bin comes last: the name is another row's before it is its own.
    result = run_crawl(out, url=" ".join(rows), settings={"FETCHER_MAX_PARALLEL": 1})

    assert (out / "precious.bin").read_bytes() == b"precious"
    for row in result.report:
        name = row["url"].rpartition("/")[2][0]
        if name == "a":
            assert row["error"]["type"] == "ForeignFileError"
        else:
            assert row["error"] is None
            assert contents[name].first_difference(out / row["path"]) is None
    assert {row["path"] for row in result.report[1:]} == {"c.bin", "c.1.bin"}

    again = run_crawl(out, url=" ".join(rows), settings={"FETCHER_MAX_PARALLEL": 1})

    assert {row["name"]: row["status"] for row in again.report} == {
        "precious.bin": "failed",
        "c.bin": "unchanged",
        "c.1.bin": "unchanged",
    }


def test_ftp_data_comes_from_the_server_only(tmp_path: Path) -> None:
    """PASV may name any host; only its port is used."""
    (tmp_path / "served").mkdir()
    content = Content(5000)
    content.write_to(tmp_path / "served/a.bin")
    with FTPServer(tmp_path / "served") as server:
        server.behaviour.pasv_host = "192.0.2.1"
        server.behaviour.without |= {"EPSV"}
        result = run_crawl(tmp_path / "out", url=server.url("/a.bin"))

    assert [row["status"] for row in result.report] == ["ok"]
    assert content.first_difference(tmp_path / "out/a.bin") is None


def test_secrets_are_nowhere_to_be_found(origin: Origin, tmp_path: Path) -> None:
    """Logins, proxies' logins and signatures: not in a log at its most talkative, nor in a report,
    a journal, the memory of completed files, or an attribute of a file."""
    out = tmp_path / "out"
    gate = Gate(after=MIB)
    origin.add("/a.bin", Resource(Content(20 * MIB), gate=gate))
    origin.add(
        "/moved", Redirect(origin.url("/a.bin?sig=sesame-four", userinfo="eve:sesame-three"))
    )
    urls = write_list(
        tmp_path / "list.tsv",
        [
            ("a.bin", origin.url("/a.bin?token=sesame-two", userinfo="anna:sesame-one")),
            ("b.bin", origin.url("/moved")),
            ("c.bin", f"http://anna:sesame-five@127.0.0.1:{origin.port}/missing?key=sesame-six"),
        ],
    )
    env = {"http_proxy": "", "https_proxy": "http://anna:sesame-seven@127.0.0.1:9"}
    with start_crawl(out, urls=urls, env=env, args=["-L", "DEBUG"]) as crawl:
        gate.wait_until_held(connections=2)
        wait_for((out / "a.bin.part.json").exists)
        assert "sesame" not in (out / "a.bin.part.json").read_text()
        gate.open()
        result = crawl.wait()

    assert {row["name"]: row["status"] for row in result.report} == {
        "a.bin": "ok",
        "b.bin": "ok",
        "c.bin": "failed",
    }
    assert "sesame" not in result.stderr + result.stdout
    # Only the list to be given back has an address whole, and is for its owner alone.
    retry = out / "retry.tsv"
    assert retry.stat().st_mode & 0o777 == 0o600
    assert "anna:sesame-five@" in retry.read_text()
    retry.unlink()
    for path in out.rglob("*"):
        if path.is_file():
            assert b"sesame" not in path.read_bytes(), path
            assert not os.listxattr(path)


def test_ssh_keys_are_exchanged_strictly(tmp_path: Path) -> None:
    """And where a server cannot, no cipher is offered with which that would matter."""
    with (
        SFTPServer(tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        transport = _transport([], connection)
        try:
            transport.start_client(timeout=10)
            assert transport.agreed_on_strict_kex  # type: ignore[attr-defined] # the stubs lag
            offered = transport.get_security_options().ciphers
            assert offered
            assert not [name for name in offered if "cbc" in name or "chacha" in name]
        finally:
            transport.close()


def test_nobody_can_reach_in(origin: Origin, tmp_path: Path) -> None:
    """A running crawl listens nowhere (no telnet console, no remote control), and addresses of this
    machine's own files are refused."""
    gate = Gate(after=1000)
    good = origin.add("/a.bin", Resource(Content(MIB), gate=gate))
    urls = tmp_path / "list.txt"
    urls.write_text(f"{good}\nfile:///etc/passwd\ndata:,x\ns3://bucket/key\n")
    with start_crawl(tmp_path / "out", urls=urls) as crawl:
        gate.wait_until_held()
        listening = set(listening_sockets(crawl.pid))
        gate.open()
        result = crawl.wait()

    assert not listening
    assert [row["status"] for row in result.report].count("failed") == 3
    assert {(row["error"] or {}).get("type") for row in result.report} == {None, "InvalidURLError"}


def listening_sockets(pid: int) -> Iterator[str]:
    """Those that a process has open, as the kernel tells."""
    mine = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = entry.readlink().name if entry.is_symlink() else ""
        if target.startswith("socket:["):
            mine.add(target.removeprefix("socket:[").removesuffix("]"))
    assert mine, "a crawl in the middle of a file has sockets"
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in mine:
                yield line
