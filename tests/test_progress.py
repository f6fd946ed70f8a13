"""The display: what it counts, what it draws, and that it leaves everything as it was."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from scrapy import Spider, signals
from scrapy.crawler import Crawler
from scrapy.utils.test import get_crawler

from fetcher import contract
from fetcher.contract import FileProgress, ListProgress
from fetcher.errors import InvalidSettingError
from fetcher.extensions.display import Bars, Terminal
from fetcher.extensions.picture import Columns, Picture
from fetcher.extensions.progress import Progress
from fetcher.extensions.tally import FAILURES_KEPT, Tally
from fetcher.extensions.ticker import Ticker, summary
from fetcher.items import FileItem

MIB = 1 << 20
TIMES = "\u00d7"
EVIL = "evil\x1b[2J\x1b]0;owned\x07[bold]x[/]\r\n.bin"
NAMES = (
    "short.tar",
    "a/very/long/folder/" * 5 + "name.tar.zst",
    "日本語のとても長いファイル名がここにありますよ大きなデータ.tar",
    "e\u0301" * 60,
    "👩\u200d👩\u200d👧\ufe0f" * 20,
    EVIL,
)


def failed(name: str, message: str = "the server answered 404", **error: Any) -> FileItem:
    return FileItem("failed", name, error={"type": "StatusError", "message": message, **error})


def busy(tally: Tally, count: int = len(NAMES), note: str = "") -> list[FileProgress]:
    files = [
        FileProgress(NAMES[i % len(NAMES)], 10 << 30, i * 123 * MIB, 5 + 20 * i, note)
        for i in range(count)
    ]
    for file in files:
        tally.started(file)
    return files


class Screen:
    """A terminal that knows what rich makes use of; anything else is an error."""

    _STEP = re.compile(r"\x1b\[(\?25[lh]|\d+A|2K|[\d;]*m)|\r|\n|[^\x00-\x1f\x7f]+")

    def __init__(self, width: int = 80, *, color: bool = False) -> None:
        self.file = io.StringIO()
        self.width = width
        self.console = Console(
            file=self.file,
            force_terminal=True,
            width=width,
            height=24,
            color_system="standard" if color else None,
            legacy_windows=False,
            _environ={},
        )
        self.cursor = True

    @property
    def raw(self) -> str:
        return self.file.getvalue()

    @property
    def lines(self) -> list[str]:
        lines, row = [""], 0
        raw, position = self.raw, 0
        while position < len(raw):
            step = self._STEP.match(raw, position)
            assert step, f"{raw[position : position + 20]!r} reached the terminal"
            position = step.end()
            code = step[1]
            if step[0] == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif code == "2K":
                lines[row] = ""
            elif code and code.endswith("A"):
                row -= int(code[:-1])
                assert row >= 0
            elif code in ("?25l", "?25h"):
                self.cursor = code == "?25h"
            elif code is None and step[0] != "\r":
                lines[row] += step[0]
        return [line.rstrip() for line in lines]


@pytest.fixture
def root_handler() -> Iterator[logging.StreamHandler[Any]]:
    handler = logging.StreamHandler(sys.stderr)
    level = logging.root.level
    logging.root.setLevel(logging.INFO)
    logging.root.addHandler(handler)
    yield handler
    logging.root.removeHandler(handler)
    logging.root.setLevel(level)


# --- Counting ---------------------------------------------------------------------------------


def test_items_are_counted_by_status() -> None:
    tally = Tally(0.0)
    tally.scraped(FileItem("ok", "a", received=300, resumed=100))
    tally.scraped(FileItem("ok", "b", received=20))
    tally.scraped(FileItem("unchanged", "c"))
    tally.scraped(failed("d"))
    assert tally.counts() == "2 done, 1 unchanged, 1 failed"
    assert (tally.received, tally.resumed, tally.moved) == (320, 100, 320)


def test_what_was_there_before_is_no_speed() -> None:
    tally = Tally(0.0)
    file = FileProgress("a", 1000 * MIB)
    tally.started(file)
    tally.look(1.0)
    file.done = 500 * MIB  # resumed
    tally.look(2.0)
    file.connections = 1
    tally.look(3.0)
    file.done += 10 * MIB
    tally.look(4.0)
    assert tally.moved == 10 * MIB
    assert tally.speed == 10 * MIB / 4


def test_a_file_begun_anew_does_not_count_backwards() -> None:
    tally = Tally(0.0)
    file = FileProgress("a", 1000, connections=1)
    tally.started(file)
    for now, done in enumerate((0, 100, 0, 50)):
        file.done = done
        tally.look(float(now))
    assert tally.moved == 150


@pytest.mark.parametrize("name", ["a", "a name that the server gave"])
def test_the_items_figure_replaces_what_was_seen(name: str) -> None:
    tally = Tally(0.0)
    file = FileProgress("a", 1000, connections=1)
    tally.started(file)
    tally.look(1.0)
    file.done = 1000
    tally.ended(file)
    assert tally.moved == 1000
    assert not tally.active
    tally.scraped(FileItem("ok", name, received=1100))
    assert tally.moved == 1100


def test_what_is_left_is_told_as_far_as_it_is_known() -> None:
    tally = Tally(0.0)
    assert tally.left == ""
    tally.list = ListProgress(rows=1000)
    for status in ("ok", "failed", "unchanged"):
        tally.scraped(FileItem(status, "a"))
    tally.started(FileProgress("b"))
    assert tally.left == "997+ left"
    tally.list.whole = True
    assert tally.left == "997 left"
    assert Ticker(tally).line().startswith("1 done, 1 unchanged, 1 failed, 1 in flight, 997 left; ")
    total = Picture().draw(tally, 79, 24).plain.split("\n")[-1]
    assert total.startswith("1 done, 1 unchanged, 1 failed, 997 left  ")


def test_files_that_were_stopped_are_no_failures() -> None:
    tally = Tally(0.0)
    stopped = {"type": "Stopped", "message": "stopped", "line": None}
    tally.scraped(FileItem("failed", "a", received=MIB, error=stopped))
    tally.scraped(FileItem("ok", "b"))
    assert tally.counts() == "1 done, 0 unchanged, 0 failed, 1 stopped"
    assert not tally.failures
    assert tally.received == MIB


def test_a_file_that_is_unpacked_after_its_transfer_does_not_count_backwards() -> None:
    tally = Tally(0.0)
    transfer = FileProgress("a.tar", 1000, connections=1)
    tally.started(transfer)
    tally.look(1.0)
    transfer.done = 1000
    tally.ended(transfer)
    unpacking = FileProgress("a.tar", 1000, note="unpacking")
    tally.started(unpacking)
    unpacking.done = 1000
    tally.look(2.0)
    assert tally.moved == 1000
    tally.ended(unpacking)
    assert tally.moved == 1000
    tally.scraped(FileItem("ok", "a.tar", received=1000))
    assert tally.moved == 1000


def test_only_the_first_failures_are_kept() -> None:
    tally = Tally(0.0)
    for number in range(FAILURES_KEPT + 5):
        tally.scraped(failed(f"file {number}"))
    assert tally.files["failed"] == FAILURES_KEPT + 5
    assert len(tally.failures) == FAILURES_KEPT


def test_a_failure_shows_neither_secrets_nor_escapes() -> None:
    tally = Tally(0.0)
    tally.scraped(failed(EVIL, "https://u:pass@h/?sig=VALUE gave \x1b[31m403"))
    tally.scraped(failed("", "no address", line=7))
    tally.scraped(FileItem("failed", "x"))
    assert tally.failures == [
        ("evil�[2J�]0;owned�[bold]x[/]��.bin", "https://h/?sig=… gave �[31m403"),
        ("line 7", "no address"),
        ("x", "failed"),
    ]


# --- Drawing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 10, 19, 40, 60, 79, 80, 120, 200])
@pytest.mark.parametrize("note", ["", "waiting 12 s after 503"])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_is_wider_than_it_may_be(width: int, note: str, ascii_only: bool) -> None:
    tally = Tally(0.0)
    busy(tally, 12, note)
    tally.look(1.0)
    lines = Picture(ascii_only=ascii_only).draw(tally, width, 24).plain.split("\n")
    assert len(lines) == 13
    assert max(map(cell_len, lines)) <= width
    assert "\x1b" not in "".join(lines)
    if ascii_only:
        assert "".join(lines).isascii()


def test_columns_are_dropped_from_the_right() -> None:
    assert Columns.fitting(79) == (21, 13, True, True, True, True)
    assert Columns.fitting(58) == (14, 0, True, True, True, True)
    assert Columns.fitting(55)[2:] == (True, True, True, False)
    assert Columns.fitting(20)[2:] == (False, False, False, False)
    assert Columns.fitting(5).name == 0
    for width in range(17, 200):
        columns = Columns.fitting(width)
        assert columns.width + (5 if columns.connections else 0) <= width


def test_a_line_tells_how_far_a_file_is() -> None:
    tally = Tally(0.0)
    file = FileProgress("sa_000001.tar", 100 * MIB, 0, 5)
    tally.started(file)
    tally.look(0.0)
    file.done = 50 * MIB
    tally.look(2.0)
    picture = Picture().draw(tally, 79, 24).plain
    assert picture.split("\n") == [
        f"sa_000001.tar         ━━━━━━───────  50%  50.0/100 MiB 25.0 MiB/s  0:00:02 {TIMES}5",
        "0 done, 0 unchanged, 0 failed                50.0 MiB  25.0 MiB/s  0:00:02",
    ]


def test_a_note_stands_in_the_place_of_the_speed() -> None:
    tally = Tally(0.0)
    tally.started(FileProgress("a.tar", None, 5 * MIB, 0, "waiting 30 s\x1b[0m"))
    line = Picture().draw(tally, 79, 24).plain.split("\n")[0]
    assert line.split() == [
        *("a.tar", "─" * 13, "5.0", "MiB", "waiting", "30", "s�[0m", f"{TIMES}0"),
    ]


@pytest.mark.parametrize(("files", "height", "named"), [(5, 24, 5), (30, 10, 8), (9, 10, 9)])
def test_what_does_not_fit_is_counted(files: int, height: int, named: int) -> None:
    tally = Tally(0.0)
    busy(tally, files)
    lines = Picture().draw(tally, 79, height).plain.split("\n")
    assert len(lines) <= height
    assert lines[-1].startswith("0 done")
    assert (f"and {files - named} more" in lines) == (named < files)


def test_the_last_line_leaves_out_whole_figures() -> None:
    last = [Picture().draw(Tally(0.0), width, 24).plain for width in (79, 50, 40)]
    assert last[0].split()[6:] == ["0", "B", "0", "B/s", "0:00:00"]
    assert last[1].split()[6:] == ["0", "B", "0", "B/s"]
    assert last[2].split()[6:] == ["0", "B"]


# --- On a terminal ----------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 132])
@pytest.mark.parametrize("color", [False, True])
def test_bars_are_drawn_over_and_vanish(width: int, color: bool) -> None:
    screen, tally = Screen(width, color=color), Tally(0.0)
    bars = Bars(tally, screen.console)
    files = busy(tally)
    bars.start()
    for now in range(5):
        for file in files:
            file.done += 7 * MIB
        tally.look(float(now))
        bars.draw()
    lines = screen.lines
    assert len(lines) == len(NAMES) + 1
    assert max(map(cell_len, lines)) < width
    assert lines[0].startswith("short.tar")
    assert not screen.cursor
    for file in files:
        tally.ended(file)
    bars.stop()
    bars.stop()
    assert "".join(screen.lines) == ""
    assert screen.cursor


def test_log_lines_stand_above_the_bars(
    monkeypatch: pytest.MonkeyPatch, root_handler: logging.StreamHandler[Any]
) -> None:
    screen, tally = Screen(), Tally(0.0)
    monkeypatch.setattr(root_handler, "stream", screen.file)
    monkeypatch.setattr(sys, "stderr", screen.file)
    bars = Bars(tally, screen.console)
    busy(tally, 1)
    bars.start()
    long = "a line [bold]of the log[/] that has " + "many " * 20 + "words"
    for number in range(3):
        bars.draw()
        logging.getLogger("tests").info("%d: %s", number, long)
    *above, bar, total = screen.lines
    assert max(map(len, above)) <= 80
    said = re.split(r" ?\d\d:\d\d:\d\d INFO: ", " ".join(above))
    assert said == ["", *(f"{number}: {long}" for number in range(3))]
    assert bar.startswith("short.tar")
    assert total.startswith("0 done")
    root_handler.stream.write("without an end")
    bars.stop()
    assert root_handler.stream is screen.file
    logging.getLogger("tests").info("after")
    assert [line for line in screen.lines[len(above) :] if line] == ["without an end", "after"]


def test_other_handlers_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, root_handler: logging.StreamHandler[Any]
) -> None:
    elsewhere = io.StringIO()
    monkeypatch.setattr(root_handler, "stream", elsewhere)
    bars = Bars(Tally(0.0), Screen().console)
    bars.start()
    assert root_handler.stream is elsewhere
    bars.stop()


def test_the_summary_names_the_failed_files_first() -> None:
    screen, tally = Screen(), Tally(0.0)
    for number in range(FAILURES_KEPT + 3):
        tally.scraped(failed(f"{number}/{NAMES[number % len(NAMES)]}", "not found " * 15))
    bars = Bars(tally, screen.console)
    bars.start()
    bars.draw()
    bars.stop()
    bars.summarise(["the counts", "the report"])
    lines = [line for line in screen.lines if line]
    assert lines[0].split() == ["Failed", "Error"]
    assert lines[-3:] == ["and 3 more, see the report", "the counts", "the report"]
    assert max(map(cell_len, lines)) <= 80
    assert sum(line.startswith(f"{n}/") for n in range(99) for line in lines) == FAILURES_KEPT


def test_without_failures_there_is_no_table() -> None:
    screen = Screen()
    Bars(Tally(0.0), screen.console).summarise(["the counts"])
    assert screen.lines == ["the counts", ""]


@pytest.mark.parametrize("error", [BrokenPipeError, OSError])
def test_a_terminal_that_is_gone_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise error("hung up")

    monkeypatch.setattr(sys, "stderr", Gone())
    tally = Tally(0.0)
    busy(tally)
    bars = Bars(tally, Terminal(force=True))
    bars.start()
    bars.draw()
    bars.stop()
    bars.summarise(["the counts"])


# --- In a log ---------------------------------------------------------------------------------


def test_a_line_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tally = Tally(0.0)
    ticker = Ticker(tally)
    for second in range(1, 31):
        tally.look(second - 0.01)
        ticker.draw()
    assert len(caplog.records) == 3


def test_the_line_of_a_log() -> None:
    tally = Tally(0.0)
    tally.scraped(FileItem("ok", "a", received=3 * MIB))
    busy(tally, 3)
    tally.started(FileProgress("x", None, 5 * MIB))
    tally.look(1.0)
    assert Ticker(tally).line() == (
        "1 done, 0 unchanged, 0 failed, 4 in flight; 3.0 MiB, 3.0 MiB/s; "
        "short.tar 0%, a/very/long/…ame.tar.zst 1%, "
        "日本語のとても長いファイ…よ大きなデータ.tar 2%, x 5.0 MiB"
    )
    busy(tally, 6)
    assert Ticker(tally).line().endswith(", and 2 more")


@pytest.mark.parametrize(
    ("attributes", "reason", "item", "expected"),
    [
        ({}, "finished", FileItem("ok", "a", received=MIB), []),
        ({"out": "o"}, "finished", FileItem("ok", "a", received=MIB), ["report: o/report.jsonl"]),
        (
            {"out": "o", "report": "file:///o%20o/report-1-of-2.jsonl"},
            "finished",
            FileItem("failed", "a", received=MIB),
            [
                "report: /o o/report-1-of-2.jsonl",
                "run the same command again to go on; what failed is in retry-1-of-2.tsv, too",
            ],
        ),
        (
            {},
            "shutdown",
            FileItem("ok", "a", received=MIB),
            ["stopped (shutdown): run the same command again to go on"],
        ),
    ],
)
def test_the_summary_tells_how_to_go_on(
    attributes: dict[str, str], reason: str, item: FileItem, expected: list[str]
) -> None:
    spider = Spider("fetch")
    vars(spider).update(attributes)
    tally = Tally(0.0)
    tally.scraped(item)
    tally.look(2.0)
    counts, *others = summary(tally, spider, reason, tally.files["failed"])
    assert counts == f"{tally.counts()}, 1.0 MiB in 0:00:02 (512 KiB/s)"
    assert others == expected


# --- As an extension --------------------------------------------------------------------------


def crawl(
    mode: str, reason: str = "finished", then: Callable[[Crawler], None] | None = None
) -> None:
    """A run of three files, told by its signals."""

    async def run() -> None:
        crawler = get_crawler(
            Spider,
            {
                "EXTENSIONS": {"fetcher.extensions.progress.Progress": 0},
                "FETCHER_PROGRESS": mode,
                "MEMUSAGE_ENABLED": False,
            },
        )
        spider = Spider("fetch")
        spider.crawler = crawler
        send = crawler.signals.send_catch_log
        send(signals.spider_opened, spider=spider)
        files = [FileProgress(name, 100) for name in NAMES]
        for file in files:
            send(contract.file_started, progress=file)
            file.connections = 2
        await asyncio.sleep(0.4)
        send(signals.item_scraped, item={"no": "file"}, spider=spider, response=None)
        for file in files:
            file.done = 100
            send(contract.file_ended, progress=file)
            item = failed(EVIL) if file.name == EVIL else FileItem("ok", file.name, received=100)
            send(signals.item_scraped, item=item, spider=spider, response=None)
        if then:
            then(crawler)
        send(signals.spider_closed, spider=spider, reason=reason)
        send(signals.engine_stopped)
        extension = crawler.get_extension(Progress)
        assert extension is not None

    asyncio.run(run())


WARNING = "evil�[2J�]0;owned�[bold]x[/]��.bin: the server answered 404"


def messages(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "fetcher.progress"
    ]


def test_mode_none_shows_failures_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    crawl("none")
    assert messages(caplog) == [("WARNING", WARNING)]


@pytest.mark.parametrize("mode", ["log", "auto"])
def test_mode_log_closes_with_a_line(caplog: pytest.LogCaptureFixture, mode: str) -> None:
    caplog.set_level(logging.INFO)
    crawl(mode)
    warning, closing = messages(caplog)
    assert warning == ("WARNING", WARNING)
    assert closing[0] == "INFO"
    assert closing[1].startswith("5 done, 0 unchanged, 1 failed, 500 B in 0:00:00 (")
    assert closing[1].endswith("/s); run the same command again to go on")


def test_mode_log_does_not_import_what_only_bars_need() -> None:
    code = (
        "import sys, scrapy.crawler, fetcher.extensions.progress;"
        "print([name for name in sys.modules if name.split('.')[0] == 'rich'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout == "[]\n"


def terminal(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Standard error is a screen from here on (pytest's own comes back after a fixture)."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen.file)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    return screen


def test_mode_bar_draws_and_puts_everything_back(
    monkeypatch: pytest.MonkeyPatch, root_handler: logging.StreamHandler[Any]
) -> None:
    screen = terminal(monkeypatch)
    root_handler.setStream(screen.file)
    root_handler.setLevel(logging.WARNING)
    seen: list[Any] = []
    crawl("bar", then=lambda crawler: seen.append((root_handler.stream, screen.lines)))
    stream, during = seen[0]
    assert stream is not screen.file
    assert re.fullmatch(rf"\d\d:\d\d:\d\d WARNING: {re.escape(WARNING)}", during[0])
    assert during[1].startswith("short.tar")
    assert root_handler.stream is screen.file
    lines = [line for line in screen.lines if line]
    assert lines[0] == during[0]
    assert lines[1].split() == ["Failed", "Error"]
    assert lines[2].split(maxsplit=1)[0].startswith("evil")
    assert lines[3].startswith("5 done, 0 unchanged, 1 failed, 500 B in 0:00:00")
    assert " ".join(lines[4:]) == "run the same command again to go on"
    assert screen.cursor


def test_a_dumb_terminal_gets_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    screen = terminal(monkeypatch)
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("TERM", "dumb")
    crawl("bar")
    assert screen.raw == ""
    assert len(messages(caplog)) == 2


def test_a_wrong_mode_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match="FETCHER_PROGRESS=stripes"):
        Progress.from_crawler(get_crawler(settings_dict={"FETCHER_PROGRESS": "stripes"}))


ENDS_WITHOUT_A_SIGNAL = """
import asyncio, scrapy
from fetcher.contract import FileProgress, ListProgress
from fetcher.extensions.progress import Progress

async def run(progress):
    progress.spider_opened(scrapy.Spider("fetch"))
    progress.tally.started(FileProgress("a.tar", 100))
    await asyncio.sleep(0.4)

progress = Progress("auto")
asyncio.run(run(progress))
"""


def test_a_process_that_is_cut_short_shows_the_cursor_again() -> None:
    ours, theirs = pty.openpty()
    try:
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        subprocess.run(
            [sys.executable, "-c", ENDS_WITHOUT_A_SIGNAL],
            stdin=theirs,
            stderr=theirs,
            check=True,
            env=environment,
            cwd=Path(__file__).parents[1],
            timeout=30,
        )
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "a.tar" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
