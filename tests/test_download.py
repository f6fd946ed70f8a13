"""`scrapy download`, as people call it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scrapy.settings import Settings

from fetcher.commands.download import Command
from tests.crawl import Crawl, CrawlResult, clean_environment, run_scrapy
from tests.servers.content import Content
from tests.servers.faults import Redirect, Status
from tests.servers.origin import Origin
from tests.servers.resource import Resource

MIB = 1 << 20
URL = "http://127.0.0.1:9/x"
CONTENT = Content(3000, seed=1)
FAST = ("-s", "FETCHER_RETRY_BACKOFF=0.05")


@pytest.fixture
def own_logging() -> Iterator[None]:
    """What a command does to the process's logging does not outlast the test."""
    loggers = [logging.getLogger(name) for name in (None, "scrapy", "scrapy.utils.log")]
    before = [(each, each.level, [*each.filters], [*each.handlers]) for each in loggers]
    yield
    for logger, level, filters, handlers in before:
        logger.filters, logger.handlers = filters, handlers
        logger.setLevel(level)


def download(out: Path, *args: str, stdin: str = "") -> CrawlResult:
    command = [sys.executable, "-m", "scrapy", "download", "--dir", str(out), *FAST, *args]
    with Crawl(command, out, clean_environment(), stdin) as crawl:
        return crawl.wait(60)


def test_addresses_and_a_list_come_into_the_folder(origin: Origin, tmp_path: Path) -> None:
    names = ("a.bin", "b.bin", "c.bin", "d.bin")
    urls = {name: origin.add(f"/{name}", Content(3000, seed=ord(name[0]))) for name in names}
    out = tmp_path / "new" / "out"
    listed = f"{urls['c.bin']}\n{urls['d.bin']}\n"

    crawl = download(out, urls["a.bin"], "--max-parallel", "2", urls["b.bin"], "-i-", stdin=listed)

    assert crawl.returncode == 0, crawl.stderr
    for name in names:
        assert (out / name).read_bytes() == Content(3000, seed=ord(name[0])).read(0, 3000)
    assert {row["name"] for row in crawl.report} == set(names)


def test_by_default_the_files_come_into_the_current_folder(
    origin: Origin, tmp_path: Path, project_dir: Path
) -> None:
    origin.add("/a.bin", CONTENT)
    (tmp_path / "list.txt").write_text(origin.url("/a.bin"))
    # Not in the project's folder: it is found by these two alone.
    env = {"SCRAPY_SETTINGS_MODULE": "fetcher.settings", "PYTHONPATH": str(project_dir)}
    script = (
        f"import os, sys; os.chdir({str(tmp_path)!r}); "
        "from scrapy.cmdline import execute; execute(['scrapy', *sys.argv[1:]])"
    )
    command = [sys.executable, "-c", script, "download", "-i", "list.txt", "--quiet"]

    with Crawl(command, tmp_path, clean_environment(env), "") as crawl:
        result = crawl.wait()

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "a.bin").read_bytes() == CONTENT.read(0, 3000)
    assert result.stderr == result.stdout == ""


def settings_of(out: Path, *args: str) -> Settings:
    """Those that the command would run with."""
    command = Command()
    command.settings = Settings()
    command.settings.setmodule("fetcher.settings", priority="project")
    parser = argparse.ArgumentParser(conflict_handler="resolve")
    command.add_options(parser)
    opts, rest = parser.parse_known_args([URL, "--dir", str(out), *args])
    command.process_options(rest, opts)
    return command.settings


@pytest.mark.usefixtures("own_logging")
def test_options_become_settings(tmp_path: Path) -> None:
    options = (
        ("--max-parallel", "3", "FETCHER_MAX_PARALLEL", 3),
        ("--max-splits", "7", "FETCHER_MAX_SPLITS", 7),
        ("--max-tries", "2", "FETCHER_MAX_TRIES", 2),
        ("--limit-rate", "10M", "FETCHER_RATE_LIMIT", "10M"),
        ("--timeouts", "7.5", "FETCHER_STALL_TIMEOUT", 7.5),
        ("--overwrite", None, "FETCHER_IF_EXISTS", "overwrite"),
        ("--unpack", None, "FETCHER_UNPACK", True),
        ("--quiet", None, "FETCHER_PROGRESS", "none"),
        ("--verbose", None, "LOG_LEVEL", "DEBUG"),
    )
    for option, value, name, expected in options:
        settings = settings_of(tmp_path, option, *([value] if value else []))
        assert settings[name] == expected, option
    assert settings_of(tmp_path, "--timeouts", "7")["FETCHER_CONNECT_TIMEOUT"] == 7
    assert settings_of(tmp_path, "--timeouts", "300")["FETCHER_CONNECT_TIMEOUT"] == 20
    assert settings_of(tmp_path, "-L", "INFO", "--quiet")["LOG_LEVEL"] == "INFO"


def test_an_existing_file_is_kept_or_overwritten(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", CONTENT)
    (tmp_path / "a.bin").write_bytes(b"precious")

    assert download(tmp_path, url).returncode == 1
    assert (tmp_path / "a.bin").read_bytes() == b"precious"
    assert download(tmp_path, url, "--overwrite").returncode == 0
    assert (tmp_path / "a.bin").read_bytes() == CONTENT.read(0, 3000)


def test_a_checksum_is_compared(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", CONTENT)

    right = download(tmp_path / "right", url, "--checksum", f"sha256:{CONTENT.sha256}")
    wrong = download(tmp_path / "wrong", url, "--checksum", f"md5:{'0' * 32}")

    assert right.returncode == 0, right.stderr
    assert "sha256" in right.report[0]["verified_by"]
    assert wrong.returncode == 1
    assert wrong.report[0]["error"]["type"] == "ChecksumMismatchError"
    assert not (tmp_path / "wrong/a.bin").exists()


def test_quiet_says_nothing_and_show_errors_what_failed(origin: Origin, tmp_path: Path) -> None:
    good = origin.add("/good", CONTENT)
    gone = origin.add("/gone", Status(404)) + "?token=S3CRET"
    wrong = "gopher://127.0.0.1/x"

    crawl = download(tmp_path, good, gone, wrong, "--quiet", "--show-errors")

    assert crawl.returncode == 1
    lines = sorted(crawl.stderr.splitlines())
    assert [line.partition(": ")[0] for line in lines] == ["gone", wrong]
    assert "404" in lines[0]
    assert "S3CRET" not in crawl.stderr
    assert (tmp_path / "good").exists()
    assert download(tmp_path, gone, "--quiet").stderr == ""


def test_headers_go_to_the_origin_and_nowhere_else(origin: Origin, tmp_path: Path) -> None:
    with Origin() as other:
        content = Content(20 * MIB, seed=3)
        other.add("/b.bin", Resource(content))
        origin.add("/a.bin", Redirect(other.url("/b.bin")))
        origin.add("/c.bin", Resource(content))
        headers = ("--header", "X-Key: S3CRET", "--header", "authorization: Bearer T0KEN")
        urls = [origin.url(path, userinfo="user:secret") for path in ("/a.bin", "/c.bin")]

        crawl = download(tmp_path, *urls, *headers, "--verbose")

        assert crawl.returncode == 0, crawl.stderr
        for record in origin.requests:
            assert record.headers["x-key"] == "S3CRET"
            assert record.headers["authorization"] == "Bearer T0KEN"
        assert len(origin.requests_for("/c.bin")) > 1
        assert other.requests
        for record in other.requests:
            assert not {"x-key", "authorization"} & set(record.headers)
    written = crawl.stderr + (tmp_path / "report.jsonl").read_text()
    assert "S3CRET" not in written
    assert "T0KEN" not in written


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "nothing to fetch"),
        (["--bogus", URL], "unknown option --bogus"),
        (["gopher://h/x"], "does not start with one of"),
        (["http://h/a b"], "blanks"),
        ([URL, "--max-splits", "0"], "--max-splits: '0' is no whole number"),
        ([URL, "--processes", "0"], "--processes: '0' is no whole number"),
        ([URL, URL, "--processes", "2", "-i", "/nowhere/list"], "does not exist"),
        (["http://h/a b", "gopher://h/x", "--processes", "2"], "blanks"),
        ([URL, URL, "--processes", "2", "-s", "DOWNLOAD_DELAY=x"], "DOWNLOAD_DELAY=x"),
        ([URL, "--max-tries", "many"], "--max-tries: 'many' is no whole number"),
        ([URL, "--timeouts", "-1"], "--timeouts"),
        ([URL, "--limit-rate", "fast"], "--limit-rate: 'fast' is no size"),
        ([URL, "--dir"], "--dir: expected one argument"),
        ([URL, "--checksum", "md5:12"], "--checksum"),
        ([URL, URL, "--checksum", "0" * 32], "exactly one URL"),
        ([URL, "--header", "X"], "--header"),
        ([URL, "--header", "Range: bytes=0-1"], "own"),
        ([URL, "--header", "X: a\nY: b"], "line break"),
        ([URL, "-i", "/nowhere/list"], "does not exist"),
        ([URL, "-L", "LOUD"], "-L LOUD"),
        ([URL, "-s", "X"], "-s NAME=VALUE"),
        ([URL, "-s", "FETCHER_MAX_TRIES=0"], "FETCHER_MAX_TRIES=0"),
        ([URL, "--checksums", "/nowhere/sums"], "/nowhere/sums' does not exist"),
        (["-i", "gopher://h/list"], "the list 'gopher://h/list' does not start with"),
        ([URL, "--logfile", "/nowhere/log"], "/nowhere/log cannot be written to"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    args: list[str],
    message: str,
) -> None:
    """In this process, as it ends before anything is started, to save time."""
    from scrapy.cmdline import execute

    monkeypatch.setenv("SCRAPY_SETTINGS_MODULE", "fetcher.settings")
    out = tmp_path / "out"

    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", "download", *args, *([] if "--dir" in args else ["--dir", str(out)])])

    written = capfd.readouterr()
    assert ended.value.code == 2
    assert message in written.err
    assert len(written.err.splitlines()) == 1
    assert written.out == ""
    assert not out.exists()


def test_wrong_usage_ends_the_process_with_2(tmp_path: Path) -> None:
    crawl = run_scrapy("download", "--max-splits", "x", "http://h/x", out=tmp_path)

    assert crawl.returncode == 2
    assert len(crawl.stderr.splitlines()) == 1


def test_help_is_whole(tmp_path: Path) -> None:
    crawl = run_scrapy("download", "--help", out=tmp_path)

    assert crawl.returncode == 0
    assert "--show-errors" in crawl.stdout
