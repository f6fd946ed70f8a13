"""``scrapy verify``: what is right, what is not, and nothing outside of the folder."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from fetcher.disk.checklist import Checklist
from fetcher.disk.verification import Verification
from fetcher.rules.sums import sums_line
from tests.crawl import PROJECT, Crawl, clean_environment, run_crawl, run_scrapy, wait_for
from tests.servers.content import Content
from tests.servers.faults import Status
from tests.servers.origin import Origin

ABC = b"abc"


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, data).hexdigest()


def row(name: str, data: bytes = ABC, algorithm: str | None = "sha256", **more: Any) -> str:
    checksum = f"{algorithm}:{digest(data, algorithm)}" if algorithm else None
    facts = {"status": "ok", "name": name, "path": name, "size": len(data), "checksum": checksum}
    return json.dumps(facts | more) + "\n"


def verify(out: Path) -> dict[str, str]:
    """What is said of each name."""
    told: dict[str, str] = {}
    checklist = Checklist(out)
    try:
        verification = Verification(checklist, told.__setitem__, lambda _: None)
        verification.run()
    finally:
        checklist.close()
    assert verification.all_right is not any(told.values())
    assert verification.counts.total() >= len(told)
    return told


def test_files_are_compared_by_whatever_is_known(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    names = ("a", "folder/b", "md5", "sha512", "size only", "sums only", "both", "bsd")
    for name in names:
        (tmp_path / name).write_bytes(ABC)
    (tmp_path / "report.jsonl").write_text(
        row("a")
        + row("folder/b", status="unchanged")
        + row("md5", algorithm="md5")
        + row("size only", algorithm=None)
        + row("both")
    )
    (tmp_path / "report-2-of-2.jsonl").write_text(row("sha512", algorithm="sha512"))
    sums = [sums_line(name, digest(ABC)) for name in ("sums only", "both")]
    sums.append(f"MD5 (bsd) = {digest(ABC, 'md5')}\n")
    (tmp_path / "SHA256SUMS").write_text("".join(sums))

    assert verify(tmp_path) == dict.fromkeys(names, "")


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    for name in ("short", "other", "other sum", "bsd", "big.bin.part", "failed.part"):
        (tmp_path / name).write_bytes(ABC)
    (tmp_path / "socket").mkdir()
    (tmp_path / "report.jsonl").write_text(
        row("gone")
        + row("short", b"abcd")
        + row("other", b"xyz", "sha1")
        + row("a/b/c")
        + row("short/x")
        + row("socket")
        + row("failed", status="failed", error={"message": "the server is gone"})
        + "no json\n[]\n"
        + '{"name": "\\ud800", "status": "ok"}\n'
        + "[" * 100_000
        + "\n"
        + "x" * (3 << 20)
        + "\n"
        + row("other sum")
    )
    (tmp_path / "SHA256SUMS").write_text(
        sums_line("other sum", digest(b"xyz")) + f"nonsense\nMD5 (bsd) = {digest(b'xyz', 'md5')}\n"
    )

    told = verify(tmp_path)

    sha1 = f"sha1 differs, it is {digest(ABC, 'sha1')}, the report says {digest(b'xyz', 'sha1')}"
    assert told.pop("").startswith("SHA256SUMS: line 2 cannot")
    assert told == {
        "gone": "missing",
        "short": "has 3 bytes, the report says 4",
        "other": sha1,
        "a/b/c": "missing",
        "short/x": "missing",
        "socket": "is no regular file",
        "failed": "failed in the last run: the server is gone",
        "other sum": f"sha256 differs, it is {digest(ABC)}, SHA256SUMS says {digest(b'xyz')}",
        "bsd": f"md5 differs, it is {digest(ABC, 'md5')}, SHA256SUMS says {digest(b'xyz', 'md5')}",
        "big.bin.part": "unfinished, the same crawl goes on with it",
    }


def test_what_an_archive_was_unpacked_to_is_not_unfinished(tmp_path: Path) -> None:
    (tmp_path / "x" / "b" / "c").mkdir(parents=True)
    for name in ("x/b.tar", "x/b/c/inside.part", "x/own.part"):
        (tmp_path / name).write_bytes(ABC)
    (tmp_path / "report.jsonl").write_text(row("x/b.tar", unpacked="x/b"))
    assert verify(tmp_path) == {
        "x/b.tar": "",
        "x/own.part": "unfinished, the same crawl goes on with it",
    }


def test_the_younger_report_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(ABC)
    (tmp_path / "report.jsonl").write_text(row("a"))
    (tmp_path / "report-1-of-2.jsonl").write_text(row("a", b"before"))
    os.utime(tmp_path / "report-1-of-2.jsonl", (1, 1))
    assert verify(tmp_path) == {"a": ""}


def test_nothing_outside_is_looked_at(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "secret").write_bytes(ABC)
    (out / "inside").write_bytes(ABC)
    (out / "link out").symlink_to(tmp_path / "secret")
    (out / "folder out").symlink_to(tmp_path)
    (out / "link in").symlink_to("inside")
    (out / "loop").symlink_to("loop")
    os.mkfifo(out / "fifo")
    names = ["../secret", str(tmp_path / "secret"), "x/../../secret", "nul\0", "", ".", "a//b"]
    names += ["link out", "folder out/secret", "link in", "loop", "fifo"]
    (out / "report.jsonl").write_text("".join(map(row, names)))

    told = verify(out)

    assert told.pop("link in") == ""
    assert told.pop("fifo") == "is no regular file"
    assert "cannot be read" in told.pop("loop")
    for name in ("link out", "folder out/secret"):
        assert "by a link and is not looked at" in told.pop(name)
    assert set(told.values()) == {"is no name in this folder and is not looked at"}


def test_a_file_in_report_and_sums_is_read_once(tmp_path: Path) -> None:
    read: list[int] = []
    (tmp_path / "a").write_bytes(bytes(10_000))
    (tmp_path / "report.jsonl").write_text(row("a", bytes(10_000)))
    (tmp_path / "SHA256SUMS").write_text(sums_line("a", digest(bytes(10_000))))
    checklist = Checklist(tmp_path)
    Verification(checklist, lambda *_: None, read.append).run()
    checklist.close()
    assert read[-1] == 10_000


# --- the command ----------------------------------------------------------------------------------


def test_after_a_crawl(origin: Origin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    urls = [origin.add(f"/{name}", Content(100_000, seed=1)) for name in ("a.bin", "b.bin")]
    assert run_crawl(out, url=" ".join(urls)).returncode == 0

    quiet = run_scrapy("verify", str(out), out=out)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "2 files: 2 right\n", "")

    (out / "a.bin").write_bytes(b"x" * 100_000)
    told = run_scrapy("verify", "--verbose", str(out), out=out)
    first, second, last = sorted(told.stdout.splitlines(), reverse=True)
    assert told.returncode == 1
    assert (first, last) == ("b.bin: OK", "2 files: 1 right, 1 wrong")
    assert second.startswith("a.bin: sha256 differs, it is ")
    assert told.stderr.startswith("fetcher: the same crawl fetches what is missing")


def test_wrong_usage_is_one_line(tmp_path: Path) -> None:
    for args, message in (
        ([], "give an output folder"),
        ([str(tmp_path / "gone\x1b")], "gone\\x1b is no folder"),
        ([str(tmp_path)], "there is nothing to verify"),
    ):
        result = run_scrapy("verify", *args, out=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


def test_names_from_outside_are_shown_plain(tmp_path: Path) -> None:
    error = {"message": "see \x1b[2J https://me:secret@h/a?sig=secret"}
    rows = row("a\x1b[31m\n\u202e") + row("b", status="failed", error=error)
    (tmp_path / "report.jsonl").write_text(rows)
    result = run_scrapy("verify", str(tmp_path), str(tmp_path / "."), out=tmp_path)
    assert result.returncode == 1
    assert "a\\x1b[31m\\n\\u202e: missing" in result.stdout
    assert not {"\x1b", "\u202e"} & set(result.stdout)
    assert "secret" not in result.stdout
    assert result.stdout.endswith("2 files: 1 missing, 1 failed\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    size = 1 << 40
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", size)
    (tmp_path / "report.jsonl").write_text(row("large", size=size))
    command = [sys.executable, "-m", "scrapy", "verify", str(tmp_path)]
    with Crawl(command, PROJECT, clean_environment(), "") as running:
        wait_for(lambda: _holds(running.pid, tmp_path / "large"))
        running.send_signal(number)
        result = running.wait(2)
    assert result.returncode == 1
    assert result.stderr == "fetcher: interrupted, not all files were checked\n"


def _holds(pid: int, path: Path) -> bool:
    try:
        return path in {link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return False


def test_who_reads_has_seen_enough(tmp_path: Path) -> None:
    (tmp_path / "report.jsonl").write_text("".join(row(f"{number}") for number in range(20_000)))
    command = f"{sys.executable} -m scrapy verify {tmp_path} | head -n 1"
    with Crawl(["bash", "-c", command], PROJECT, clean_environment(), "") as running:
        result = running.wait()
    assert result.stdout == "0: missing\n" or result.stdout.endswith(": missing\n")
    assert result.stderr == ""


def test_a_failed_crawl_is_not_all_right(origin: Origin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    url = origin.add("/a.bin", Status(404))
    run_crawl(out, url=url, settings={"FETCHER_MAX_TRIES": 1})
    told = verify(out)
    assert "failed in the last run" in told["a.bin"]
