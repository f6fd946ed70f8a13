"""`from fetcher import Downloader`, in programs of all kinds."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fetcher import Downloader, Results, SessionConfig
from fetcher.errors import ChecksumMismatchError, DiskError, ForeignFileError, StatusError
from tests.crawl import PROJECT, clean_environment, wait_for
from tests.servers.content import Content
from tests.servers.exchange import Exchange
from tests.servers.faults import Status
from tests.servers.origin import Origin
from tests.servers.resource import Resource

MIB = 1 << 20
CONTENT = Content(3000, seed=1)


@contextmanager
def program(text: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A script of somebody who uses this package, run in a folder of theirs."""
    script = folder / "program.py"
    script.write_text(textwrap.dedent(text))
    with subprocess.Popen(
        [sys.executable, str(script)],
        cwd=folder,
        env=clean_environment({"PYTHONPATH": str(PROJECT)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_the_usage_that_people_know_works_as_printed(origin: Origin, tmp_path: Path) -> None:
    good, gone = origin.add("/good.bin", CONTENT), origin.add("/gone.bin", Status(404))
    text = f"""
        from fetcher import Downloader
        urls = [{good!r}, {gone!r}]

        dm = Downloader()

        for url in urls:
            dm.enqueue_file(url, path="./")

        results = dm.download()


        print(results)
    """
    with program(text, tmp_path) as process:
        stdout, stderr = process.communicate(timeout=30)

    assert process.returncode == 0, stderr
    assert stderr == ""
    lines = stdout.splitlines()
    assert lines[:5] == ["Success:", f"good.bin {good}", "", "Errors:", f"({gone},"]
    assert lines[5].startswith("StatusError(")
    assert "404" in lines[5]
    assert len(lines) == 6
    assert {path.name for path in tmp_path.iterdir()} == {"good.bin", "program.py", ".fetcher"}


def test_each_file_has_its_own_folder_name_and_options(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", CONTENT)
    secret = origin.add("/secret", CONTENT)
    gone = origin.add("/gone", Status(404))
    for name in ("kept", "over"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.bin").write_bytes(b"precious")
    (tmp_path / "file").touch()
    downloader = Downloader(session_config=SessionConfig(headers={"X-All": "1", "X-Key": "all"}))
    enqueue = downloader.enqueue_file
    enqueue(url, path=tmp_path / "one")
    enqueue(url, path=str(tmp_path / "two"), filename="sub/b.bin", checksum=CONTENT.sha256)
    enqueue(secret, tmp_path / "one", headers={"X-Key": "S3CRET"}, max_splits=1, max_tries=1)
    enqueue(url, path=tmp_path / "over", overwrite=True)
    enqueue(url, path=tmp_path / "kept")
    enqueue(url, path=tmp_path / "one", filename="bad", checksum="md5:" + "0" * 32)
    enqueue(gone + "?token=T0KEN", path=tmp_path / "one")
    enqueue(url, path=tmp_path / "file" / "below")
    enqueue(url, path=tmp_path / "one")
    assert downloader.queued_downloads == 9

    results = downloader.download()

    assert downloader.queued_downloads == 0
    paths = [tmp_path / name for name in ("one/a.bin", "two/sub/b.bin", "one/secret", "over/a.bin")]
    assert results == [*map(str, paths), str(paths[0])]
    assert results.urls == [url, url, secret, url, url]
    assert results.success[0] == (str(paths[0]), url)
    assert results.success[0].path == str(paths[0])
    for path in paths:
        assert path.read_bytes() == CONTENT.read(0, 3000)
    kinds = [type(error.exception) for error in results.errors]
    assert kinds == [ForeignFileError, ChecksumMismatchError, StatusError, DiskError]
    assert [Path(error.filepath_partial).name for error in results.errors] == [
        "a.bin",
        "bad",
        "gone",
        "a.bin",
    ]
    assert isinstance(results.errors[2].exception, StatusError)
    assert results.errors[2].exception.status == 404
    assert results.errors[2].url == gone + "?token=T0KEN"
    assert "T0KEN" not in str(results)
    assert (tmp_path / "kept/a.bin").read_bytes() == b"precious"
    assert origin.requests_for("/secret")[0].headers["x-key"] == "S3CRET"
    assert {record.headers["x-all"] for record in origin.requests} == {"1"}
    assert origin.requests_for("/a.bin")[0].headers["x-key"] == "all"
    assert not list(tmp_path.rglob("report*"))


def test_one_folder_spelled_in_many_ways_is_one(origin: Origin, tmp_path: Path) -> None:
    """And so no file is taken for there that is another one."""
    contents = [Content(3000, seed=seed) for seed in range(5)]
    urls = [origin.add(f"/{at}/a.bin", content) for at, content in enumerate(contents)]
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data")
    downloader = Downloader(max_parallel=1)
    folders = [tmp_path / "data", tmp_path / "link", tmp_path / "data" / "sub" / ".."]
    for url, folder in zip(urls, folders, strict=False):
        downloader.enqueue_file(url, path=folder)
    downloader.enqueue_file(urls[3], path=folders[1], filename="sub/a.bin")
    downloader.enqueue_file(urls[4], path=tmp_path / "link" / "sub")
    downloader.enqueue_file(urls[0], path=folders[1], filename="a.bin")

    results = downloader.download()

    names = ["data/a.bin", "link/a.1.bin", "data/sub/../a.2.bin", "link/sub/a.bin"]
    names += ["link/sub/a.1.bin", "link/a.bin"]
    assert results == [str(tmp_path / name) for name in names]
    for path, content in zip(results, [*contents, contents[0]], strict=True):
        assert Path(path).read_bytes() == content.read(0, 3000)


@pytest.mark.parametrize("name", ["", "server.bin"])
def test_one_address_asked_by_other_headers_is_another_file(
    origin: Origin, tmp_path: Path, name: str
) -> None:
    answer = {"Content-Disposition": f"attachment; filename={name}"} if name else {}

    def script(exchange: Exchange) -> Status:
        return Status(200, answer, exchange.headers["x-v"].encode() * 100)

    url = origin.add("/a.bin", Resource(CONTENT, script=script))
    downloader = Downloader(max_parallel=1)
    for version in ("1", "2", "1"):
        downloader.enqueue_file(url, path=tmp_path, headers={"X-V": version})

    results = downloader.download()

    assert [Path(path).read_bytes()[:1] for path in results] == [b"1", b"2", b"1"]
    wanted = name or "a.bin"
    numbered = wanted.replace(".", ".1.")
    assert [Path(path).name for path in results] == [wanted, numbered, wanted]


def test_what_the_current_folder_has_is_nothing_to_other_folders(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    monkeypatch.chdir(here)
    url = origin.add("/a.bin", Content(1000))
    downloader = Downloader(all_progress=False)
    downloader.enqueue_file(url, path=str(there))
    assert not downloader.download().errors
    assert list(here.iterdir()) == []

    # Now the same file is known here, too.
    for folder in (here, tmp_path / "elsewhere"):
        downloader = Downloader(all_progress=False)
        downloader.enqueue_file(url, path=str(folder))
        downloader.enqueue_file(url, path=str(there), overwrite=True)
        assert not downloader.download().errors
        assert (folder / "a.bin").stat().st_size == 1000
    assert len(origin.requests) == 5


def test_it_runs_again_from_threads_and_inside_event_loops(origin: Origin, tmp_path: Path) -> None:
    found: list[Results] = []

    def make(name: str) -> Downloader:
        downloader = Downloader()
        downloader.enqueue_file(origin.add(f"/{name}", CONTENT), path=tmp_path)
        return downloader

    async def main() -> None:
        # As in a notebook; and while the loop goes on.
        found.append(make("blocking").download())
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        found.extend(await asyncio.gather(make("b").run_download(), make("c").run_download()))
        ticking.cancel()
        assert ticks > 3

    thread = threading.Thread(target=lambda: found.append(make("thread").download()))
    thread.start()
    asyncio.run(main())
    thread.join()

    names = sorted(Path(path).name for results in found for path in results)
    assert names == ["b", "blocking", "c", "thread"]
    assert all(not results.errors for results in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "gopher://h/x"}, "does not start with"),
        ({"url": "h/x"}, "does not start with"),
        ({"url": "http://h/x", "filename": "../x"}, "leaves the output folder"),
        ({"url": "http://h/x", "checksum": "md5:12"}, "checksum"),
        ({"url": "http://h/x", "max_splits": 0}, "max_splits is 0"),
        ({"url": "http://h/x", "headers": {"Range": "bytes=0-"}}, "own"),
        ({"url": "http://h/x", "headers": {"X": "a\r\nb"}}, "line break"),
    ],
)
def test_what_means_nothing_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    downloader = Downloader()
    with pytest.raises(ValueError, match=message):
        downloader.enqueue_file(**options)
    assert downloader.queued_downloads == 0
    assert downloader.download() == []


def test_wrong_settings_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="max_parallel"):
        Downloader(max_parallel=0)
    with pytest.raises(ValueError, match="timeouts"):
        SessionConfig(timeouts=0)
    with pytest.raises(ValueError, match="log_level"):
        SessionConfig(log_level="LOUD")


def test_cancelled_it_stops_and_goes_on_later(
    origin: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = Content(3 * MIB, seed=2)
    url = origin.add("/a.bin", Resource(content, rate=MIB // 2))
    downloader = Downloader(session_config=SessionConfig(log_level="INFO"))
    downloader.enqueue_file(url, path=tmp_path)
    downloader.enqueue_file(origin.add("/gone.bin", Status(404)), path=tmp_path)

    async def main() -> float:
        running = asyncio.create_task(downloader.run_download())
        await asyncio.to_thread(wait_for, lambda: origin.sent("/a.bin") > MIB // 4)
        began = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return time.monotonic() - began

    assert asyncio.run(main()) < 2
    assert (tmp_path / "a.bin.part.json").exists()
    assert downloader.queued_downloads == 2

    sent = origin.sent("/a.bin")
    origin.replace("/a.bin", Resource(content))
    assert downloader.download() == [str(tmp_path / "a.bin")]
    assert (tmp_path / "a.bin").read_bytes() == content.read(0, 3 * MIB)
    assert origin.sent("/a.bin") - sent < 3 * MIB
    assert not [record for record in caplog.records if "Disabled" in record.getMessage()]
    # What is logged goes through the logging of this program, which is as it was.
    assert any(record.name.startswith("fetcher") for record in caplog.records)
    assert logging.getLogger("fetcher").level == logging.NOTSET
    assert not logging.getLogger("fetcher").handlers


SLOW = """
    from fetcher import Downloader
    downloader = Downloader()
    downloader.enqueue_file({url!r})
    try:
        downloader.download()
    except KeyboardInterrupt:
        print("stopped", downloader.queued_downloads)
        raise
"""


def test_ctrl_c_ends_a_program_with_the_journal_kept(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", Resource(Content(3 * MIB), rate=MIB // 2))
    with program(SLOW.format(url=url), tmp_path) as process:
        wait_for(lambda: origin.sent("/a.bin") > MIB // 4)
        began = time.monotonic()
        # To the whole group, as a terminal does it.
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=10)

    assert time.monotonic() - began < 2
    assert stdout == "stopped 1\n"
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT
    assert (tmp_path / "a.bin.part.json").exists()
    assert origin.active("/a.bin") == 0


def test_a_killed_program_leaves_no_transfer_behind(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", Resource(Content(3 * MIB), rate=MIB // 4))
    with program(SLOW.format(url=url), tmp_path) as process:
        wait_for(lambda: origin.sent("/a.bin") > MIB // 8)
        process.kill()
        process.communicate()

        wait_for(lambda: origin.active("/a.bin") == 0, 5, "the end of the transfer")
        wait_for((tmp_path / "a.bin.part.json").exists, 5, "the journal")


def test_a_program_may_have_another_reactor_and_scrapy_project(
    origin: Origin, tmp_path: Path
) -> None:
    url = origin.add("/a.bin", CONTENT)
    text = f"""
        from twisted.internet import selectreactor
        selectreactor.install()
        from twisted.internet import reactor, threads
        import fetcher.settings, sys
        assert "fetcher.library.downloader" not in sys.modules
        from fetcher import Downloader
        def work():
            downloader = Downloader()
            downloader.enqueue_file({url!r}, path="x")
            return downloader.download()
        def done(results):
            print(*results)
            reactor.stop()
        reactor.callWhenRunning(lambda: threads.deferToThread(work).addBoth(done))
        reactor.run()
    """
    (tmp_path / "scrapy.cfg").write_text("[settings]\ndefault = nowhere.settings\n")
    with program(text, tmp_path) as process:
        stdout, stderr = process.communicate(timeout=30)

    assert process.returncode == 0, stderr
    assert stdout == "x/a.bin\n"


def test_importing_it_starts_nothing() -> None:
    code = (
        "import sys, fetcher, fetcher.settings; assert 'scrapy' not in sys.modules; "
        "from fetcher import Downloader; "
        "assert 'twisted.internet.reactor' not in sys.modules; "
        "import threading, logging; assert threading.active_count() == 1; "
        "assert not logging.root.handlers"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)
    assert (PROJECT / "fetcher/py.typed").exists()
