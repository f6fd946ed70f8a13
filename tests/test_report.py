"""The report: whole under its name, and written also when the disk is full."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fetcher import settings
from fetcher.extensions.report import FEED, ReportFile
from tests.crawl import run_crawl, start_crawl
from tests.servers.content import Content
from tests.servers.faults import Respond
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource

MIB = 1 << 20


def test_the_report_before_stays_until_there_is_another(origin: Origin, tmp_path: Path) -> None:
    gate = Gate(after=1000)
    url = origin.add("/a.bin", Resource(Content(MIB), gate=gate))
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.jsonl").write_text("of the run before")
    with start_crawl(out, url=url) as crawl:
        gate.wait_until_held()
        assert (out / "report.jsonl").read_text() == "of the run before"
        crawl.send_signal(signal.SIGKILL)
        crawl.wait()
    assert (out / "report.jsonl").read_text() == "of the run before"
    assert list((out / ".fetcher").glob("report.jsonl.*"))
    gate.open()

    result = run_crawl(out, url=url)

    assert {row["status"] for row in result.report} == {"ok"}
    assert not list((out / ".fetcher").glob("report.jsonl.*")), "what a killed run left"


@pytest.mark.parametrize("how", ["FEEDS", "-O"])
def test_other_feeds_stand_beside_it(origin: Origin, tmp_path: Path, how: str) -> None:
    items, out = tmp_path / "items.jl", tmp_path / "out"
    feeds = {items.as_uri(): {"format": "jsonlines"}}
    args = ("-O", f"{items}:jsonlines") if how == "-O" else ("-s", f"FEEDS={json.dumps(feeds)}")
    run_crawl(out, url=origin.add("/%C3%A4.bin", b"abc"), args=args)
    assert items.read_bytes() == (out / "report.jsonl").read_bytes()
    assert "ä.bin".encode() in items.read_bytes()


def test_the_report_is_the_one_of_the_settings() -> None:
    assert settings.FEEDS == FEED


def test_two_runs_in_one_folder_have_a_whole_report_each(origin: Origin, tmp_path: Path) -> None:
    gate = Gate(after=1000)
    slow = origin.add("/slow.bin", Resource(Content(MIB), gate=gate))
    out = tmp_path / "out"
    with start_crawl(out, url=slow) as crawl:
        gate.wait_until_held()
        result = run_crawl(out, url=origin.add("/b.bin", Content(10)))
        assert [row["name"] for row in result.report] == ["b.bin"]
        gate.open()
        assert [row["name"] for row in crawl.wait().report] == ["slow.bin"]


def test_a_report_whose_folder_has_gone_lacks_all_its_lines(tmp_path: Path) -> None:
    report = ReportFile(tmp_path / "out" / "report.jsonl")
    report.write(b"one\n")
    report.write(b"two\nthree\n")
    shutil.rmtree(tmp_path / "out")

    report.publish()

    assert report.lost == 3
    assert report.reason == os.strerror(errno.ENOENT)


def test_a_line_that_does_not_fit_leaves_no_half(tmp_path: Path) -> None:
    """In a process of its own, whose files may have 1.5 KiB."""
    path = tmp_path / "report.jsonl"
    program = f"""
import resource, sys
from pathlib import Path
from fetcher.extensions.report import ReportFile
report = ReportFile(Path({str(path)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
for _ in range(3):
    report.write(b"x" * 999 + b"\\n")
report.write(b"short\\n")
report.publish()
print(report.lost, report.reason)
"""

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == "2 File too large"
    assert path.read_bytes() == b"x" * 999 + b"\nshort\n"


def test_mode_is_what_the_umask_gives_and_no_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "report.jsonl").symlink_to(target)
    umask = os.umask(0o027)
    try:
        report = ReportFile(tmp_path / "report.jsonl")
        report.write(b"{}\n")
        report.publish()
    finally:
        os.umask(umask)

    assert target.read_text() == "precious"
    assert (tmp_path / "report.jsonl").lstat().st_mode & 0o777 == 0o640


def test_full_disk(origin: Origin, small_disk: Path) -> None:
    """One row is too large, one grows without end: both fail, the report tells of all, and when
    there is room again the same command ends well."""
    out = small_disk / "out"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 * MIB))
    large = Content(13 * MIB, seed=1)
    url = [
        origin.add("/large.bin", Resource(large)),
        origin.add("/small.bin", Content(1000, seed=2)),
    ]

    def endless(exchange: object) -> None:
        exchange.send_head(200, {"Connection": "close"})  # type: ignore[attr-defined]
        while True:
            exchange.send(bytes(64 << 10))  # type: ignore[attr-defined]

    endless_url = origin.add("/endless.bin", Respond(endless))

    first = run_crawl(out, url=" ".join([*url, endless_url]))
    told = first.by_name
    (out / "endless.bin.part").unlink()
    ballast.unlink()
    second = run_crawl(out, url=" ".join(url))

    assert first.returncode == 1
    assert "Traceback" not in first.stderr
    assert {name: row["status"] for name, row in told.items()} == {
        "large.bin": "failed",
        "small.bin": "ok",
        "endless.bin": "failed",
    }
    for name in ("large.bin", "endless.bin"):
        error = told[name]["error"]
        assert error["type"] == "DiskFullError"
        assert str(out / name) in error["message"]
        assert "make room" in error["message"]
    assert second.returncode == 0
    assert large.first_difference(out / "large.bin") is None


def test_what_a_full_disk_has_room_for_is_kept(origin: Origin, small_disk: Path) -> None:
    """Files that leave no room for their journals could not be gone on with."""
    out = small_disk / "out"
    contents = {f"{number}.bin": Content(number * MIB * 3 // 2, number) for number in range(1, 8)}
    url = " ".join(
        origin.add(f"/{name}", Resource(content, rate=8 * MIB))
        for name, content in contents.items()
    )
    received = 0
    for _ in range(2):
        full = run_crawl(out, url=url)
        assert full.returncode == 1
        assert "Traceback" not in full.stderr
        failed = [row["error"] for row in full.report if row["status"] == "failed"]
        assert failed
        assert all("make room" in error["message"] for error in failed)
        received += sum(row["received"] for row in full.report)
    assert sum(row["size"] for row in full.report if row["status"] != "failed") >= 12 * MIB

    subprocess.run(["mount", "-o", "remount,size=100M", small_disk], check=True)
    last = run_crawl(out, url=url)

    assert last.returncode == 0, last.stderr
    for name, content in contents.items():
        assert content.first_difference(out / name) is None
    received += sum(row["received"] for row in last.report)
    assert received < sum(content.size for content in contents.values()) + MIB


def test_files_may_not_grow_so_large(origin: Origin, tmp_path: Path) -> None:
    """A limit of the process; a file system's (4 GiB on FAT) is told by the same error."""
    large = Content(4 * MIB, seed=1)
    urls = f"{origin.add('/large.bin', large)} {origin.add('/small.bin', Content(1000, seed=2))}"

    with start_crawl(tmp_path / "out", url=urls) as crawl:
        resource.prlimit(crawl.pid, resource.RLIMIT_FSIZE, (MIB, resource.RLIM_INFINITY))
        first = crawl.wait()
        told = first.by_name
    second = run_crawl(tmp_path / "out", url=urls)

    assert first.returncode == 1
    assert "Traceback" not in first.stderr
    assert told["small.bin"]["status"] == "ok"
    assert "File too large" in told["large.bin"]["error"]["message"]
    assert second.by_name["large.bin"]["resumed"] > 0
    assert large.first_difference(tmp_path / "out" / "large.bin") is None


def test_a_disk_without_any_room(origin: Origin, small_disk: Path) -> None:
    """Full to the last byte before the start: one sentence, no traceback."""
    out = small_disk / "out"
    (out / ".fetcher").mkdir(parents=True)
    with (small_disk / "ballast").open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            os.write(file.fileno(), bytes(4096))

    result = run_crawl(out, url=origin.add("/a.bin", Content(MIB)))

    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert "No space left" in result.stderr or "full" in result.stderr
    assert not (out / "a.bin").exists()
