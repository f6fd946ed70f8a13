"""``SHA256SUMS``: what ``sha256sum -c`` takes, of this run and those before, never somebody's."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.disk.sums import merged, read_sums
from fetcher.rules.existing import Completed
from fetcher.rules.sums import parse_sums_line, sums_line
from tests.crawl import CrawlResult, run_crawl, start_crawl, write_list
from tests.servers.content import Content
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource

MIB = 1 << 20
A, B, C = "a" * 64, "b" * 64, "c" * 64


def sums(out: Path) -> dict[str, str]:
    return dict(read_sums((out / "SHA256SUMS").read_bytes().splitlines(keepends=True)))


def check(out: Path) -> subprocess.CompletedProcess[str]:
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    return subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)


# --- lines ----------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_line_can_be_read_again(name: str) -> None:
    line = sums_line(name, A)
    assert line.count("\n") == 1
    assert parse_sums_line(line.removesuffix("\n")) == (name.removeprefix("./"), f"sha256:{A}")


@pytest.mark.parametrize("name", ["a", "-", "a\\b", "a\nb", " a ", "*a", "ä", "a\\nb"])
def test_coreutils_reads_the_lines(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (tmp_path / "SHA256SUMS").write_text(sums_line(name, empty))
    found = check(tmp_path)
    assert found.returncode == 0, found.stderr


PROGRAMS = {"md5": "md5sum", "sha1": "sha1sum", "sha256": "sha256sum", "sha512": "sha512sum"}


@pytest.mark.parametrize("algorithm", PROGRAMS)
@pytest.mark.parametrize("option", ["--text", "--binary", "--tag"])
def test_lines_of_coreutils_are_read(algorithm: str, option: str, tmp_path: Path) -> None:
    names = ["a", "a b) = c", " a ", "*a", "ä", "a\\b", "a\nb", "folder/(c)", "d\rd"]
    (tmp_path / "folder").mkdir()
    for name in names:
        (tmp_path / name).write_text(name)
    command = [PROGRAMS[algorithm], option, *names[:-1], f"./{names[-1]}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    lines = done.stdout.removesuffix("\n").split("\n")
    digests = (hashlib.new(algorithm, name.encode()).hexdigest() for name in names)
    assert [parse_sums_line(line) for line in lines] == [
        (name, f"{algorithm}:{digest}") for name, digest in zip(names, digests, strict=True)
    ]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"SHA256(a b)= {A}", "a b"),
        (f"SHA2-256(a)= {A}", "a"),
        (f"sha256 (./a) = {A.upper()}", "a"),
        (f"{A.upper()} *./a", "a"),
        (f"\\SHA256 (a\\\\b) = {A}", "a\\b"),
    ],
)
def test_lines_of_others(line: str, name: str) -> None:
    assert parse_sums_line(line) == (name, f"sha256:{A}")


@pytest.mark.parametrize(
    "line",
    [
        *(
            "",
            "# a",
            f"{A} a",
            f"{A[1:]}  a",
            f"\\{A}  a\\x",
            f"{A}  ",
            f"{A}{A[:32]}  a",
            f"{A}  ./",
        ),
        *(f"SHA1 (a) = {A}", f"SHA256 a = {A}", f"SHA256 () = {A}", f"SHA512/256 (a) = {A}"),
        *(f"BLAKE2b (a) = {A}", f"SHA256 (a) = {A} ", f"\\SHA256 (a\\x) = {A}", "()" * 9999),
    ],
)
def test_other_lines(line: str) -> None:
    assert parse_sums_line(line) is None


# --- what goes in ---------------------------------------------------------------------------------


def completed(name: str, checksum: str | None) -> Completed:
    return Completed(name, 1, 1, checksum=checksum)


def test_who_has_the_last_word() -> None:
    found = [("a", A), ("b", None), ("c", C)]
    remembered = [
        completed("a", f"sha256:{B}"),
        completed("d", f"sha256:{A}"),
        completed("e", f"sha256:{A}"),
        completed("f", "md5:00"),
        completed("g", f"sha256:{A}"),
    ]
    before = [("a", C), ("b", B), ("d", B), ("e", B), ("f", B), ("h", C)]
    standing = {"d", "f"}

    lines = list(merged(found, remembered, before, lambda each: each.name in standing))

    assert lines == [("a", A), ("c", C), ("d", A), ("e", B), ("h", C)]


# --- the file -------------------------------------------------------------------------------------


def crawl(origin: Origin, out: Path, names: list[str], **settings: str) -> CrawlResult:
    rows = [(name, origin.url(f"/{number}")) for number, name in enumerate(names)]
    for number, name in enumerate(names):
        origin.add(f"/{number}", Content(1000, seed=len(name) + number))
    urls = write_list(out.with_suffix(".tsv"), rows)
    return run_crawl(out, urls=urls, settings=settings)


def test_lines_of_earlier_runs_stay_and_a_new_version_replaces_its_own(
    origin: Origin, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = crawl(origin, out, ["b", "folder/c", "a"])
    assert (first.returncode, check(out).returncode) == (0, 0), first.stderr
    assert list(sums(out)) == ["a", "b", "folder/c"]
    before = sums(out)

    origin.add("/new", Content(500, seed=9))
    rows = [("b", origin.url("/new")), ("d", origin.url("/new"))]
    urls = write_list(tmp_path / "second.tsv", rows)
    second = run_crawl(out, urls=urls, settings={"FETCHER_IF_EXISTS": "overwrite"})

    assert (second.returncode, check(out).returncode) == (0, 0), second.stderr
    assert sums(out) == before | dict.fromkeys(("b", "d"), Content(500, seed=9).sha256)
    assert {path.name for path in (out / ".fetcher").iterdir() if "SUMS" in path.name} == set()

    # Nothing new: the file is not even touched; and one that was removed comes back.
    identity = (out / "SHA256SUMS").stat()
    run_crawl(out, urls=urls)
    assert (out / "SHA256SUMS").stat() == identity
    (out / "SHA256SUMS").unlink()
    run_crawl(out, urls=urls)
    assert set(sums(out)) == {"a", "b", "d", "folder/c"}


def test_somebodys_file_is_left_alone(origin: Origin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "SHA256SUMS").write_text(f"{A}  theirs\n")
    result = crawl(origin, out, ["a"])
    assert result.returncode == 0
    assert (out / "SHA256SUMS").read_text() == f"{A}  theirs\n"
    assert result.stderr.count("left alone: move it away") == 1

    # One of ours that somebody has added to is theirs, too; a link is never followed.
    (out / "SHA256SUMS").unlink()
    assert crawl(origin, out, ["a"]).returncode == 0
    with (out / "SHA256SUMS").open("a") as file:
        file.write(f"{A}  theirs\n")
    assert "left alone" in crawl(origin, out, ["a", "b"]).stderr
    assert list(sums(out)) == ["a", "theirs"]
    (out / "SHA256SUMS").rename(tmp_path / "elsewhere")
    (out / "SHA256SUMS").symlink_to(tmp_path / "elsewhere")
    assert "left alone" in crawl(origin, out, ["a", "b"]).stderr
    assert (out / "SHA256SUMS").is_symlink()


@pytest.mark.parametrize("record", ["", "md5"])
def test_without_sha256_there_is_no_file(origin: Origin, tmp_path: Path, record: str) -> None:
    out = tmp_path / "out"
    assert crawl(origin, out, ["a"], FETCHER_RECORD_CHECKSUM=record).returncode == 0
    assert not (out / "SHA256SUMS").exists()


def test_what_a_killed_run_completed_is_in_the_next_runs_file(
    origin: Origin, tmp_path: Path
) -> None:
    gate = Gate(after=1000)
    out = tmp_path / "out"
    slow = origin.add("/slow.bin", Resource(Content(MIB), gate=gate))
    done = origin.add("/done.bin", Content(1000))
    with start_crawl(out, url=f"{done} {slow}") as running:
        gate.wait_until_held()
        while not (out / "done.bin").exists():
            pass
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not (out / "SHA256SUMS").exists()
    gate.open()

    run_crawl(out, url=slow)

    assert list(sums(out)) == ["done.bin", "slow.bin"]
    assert check(out).returncode == 0


def test_two_runs_at_a_time_lose_no_line(origin: Origin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    urls = [origin.add(f"/{number}.bin", Content(1000, seed=number)) for number in range(8)]
    with (
        start_crawl(out, url=" ".join(urls[:4])) as first,
        start_crawl(out, url=" ".join(urls[4:])) as second,
    ):
        assert (first.wait().returncode, second.wait().returncode) == (0, 0)
    assert list(sums(out)) == [f"{number}.bin" for number in range(8)]
    assert check(out).returncode == 0


def test_a_stopped_run_does_not_wait_for_who_writes_the_file(
    origin: Origin, tmp_path: Path
) -> None:
    gate = Gate(after=1000)
    out = tmp_path / "out"
    slow = origin.add("/slow.bin", Resource(Content(MIB), gate=gate))
    (out / ".fetcher").mkdir(parents=True)
    lock = os.open(out / ".fetcher" / "sums.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with start_crawl(out, url=slow) as running:
            gate.wait_until_held()
            running.send_signal(signal.SIGINT)
            result = running.wait(10)
    finally:
        os.close(lock)
        gate.open()
    assert result.returncode == 1
    assert "another process is writing" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_leaves_the_file_before(origin: Origin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert crawl(origin, out, ["a"]).returncode == 0
    before = (out / "SHA256SUMS").read_text()
    # The folder for what is written aside takes nothing more.
    state = (out / ".fetcher" / "sums.sha256").rename(tmp_path / "mark")
    (out / ".fetcher" / "sums.sha256").mkdir()
    result = crawl(origin, out, ["a", "b"])
    assert result.returncode == 1
    assert "SHA256SUMS could not be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert (out / "SHA256SUMS").read_text() == before
    (out / ".fetcher" / "sums.sha256").rmdir()
    state.rename(out / ".fetcher" / "sums.sha256")
    assert crawl(origin, out, ["a", "b"]).returncode == 0
    assert list(sums(out)) == ["a", "b"]
