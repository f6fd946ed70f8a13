"""No credential and no query value reaches a log."""

from __future__ import annotations

import gc
import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from scrapy import Request, Spider, signals
from scrapy.http import Response
from scrapy.utils.test import get_crawler

from fetcher.extensions.redact import Gate, QuietLogFormatter, Redact
from fetcher.items import FileItem

URL = "https://user:hunter2@host.example/a/b.tar?sig=VALUE&part=TWO"
CLEAN = "https://host.example/a/b.tar?sig=…&part=…"
SECRETS = ("hunter2", "VALUE", "TWO")

logger = logging.getLogger("tests.redact")


class Log:
    """A handler's output."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def assert_clean(self) -> None:
        for secret in SECRETS:
            assert secret not in self.text


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    level = logging.root.level
    logging.root.setLevel(logging.INFO)
    logging.root.addHandler(log.handler)
    yield log
    logging.root.removeHandler(log.handler)
    logging.root.setLevel(level)


@pytest.fixture
def redact() -> Iterator[Redact]:
    redact = Redact()
    yield redact
    redact.engine_stopped()


def gates() -> list[logging.Handler]:
    return [handler for handler in logging.root.handlers if isinstance(handler, Gate)]


@pytest.mark.usefixtures("redact")
def test_message_and_arguments(log: Log) -> None:
    logger.warning(f"asked {URL} in vain")
    logger.warning("asked %s in vain", URL)
    logger.warning("asked %(url)s in vain", {"url": URL})
    logger.warning("asked %s in vain", Request(URL))
    logger.warning("asked %s://%s", "https", URL.partition("://")[2])
    log.assert_clean()
    assert log.text.count(CLEAN) == 5


@pytest.mark.usefixtures("redact")
def test_traceback(log: Log) -> None:
    try:
        try:
            raise OSError(f"refused by {URL}")
        except OSError as error:
            raise ValueError(f"no answer of {URL}") from error
    except ValueError:
        logger.exception("failed")
    log.assert_clean()
    assert log.text.startswith("failed\nTraceback (most recent call last):\n")
    assert f"OSError: refused by {CLEAN}" in log.text
    assert f"ValueError: no answer of {CLEAN}" in log.text


@pytest.mark.usefixtures("redact")
def test_traceback_that_is_formatted_by_another_formatter(log: Log) -> None:
    class Own(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = super().format(record)
            return f"{text} {record.exc_info}"

    log.handler.setFormatter(Own())
    try:
        raise ValueError(f"no answer of {URL}")
    except ValueError:
        logger.exception("failed")
    log.assert_clean()


@pytest.mark.usefixtures("redact")
def test_stack(log: Log) -> None:
    logger.warning("here", stack_info=True)  # https://user:hunter2@host.example/?sig=VALUE
    log.assert_clean()
    assert "Stack (most recent call last)" in log.text


@pytest.mark.usefixtures("redact")
def test_arguments_that_do_not_fit(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError("no text")

    logger.warning("%d files at %s", "many", URL)
    logger.warning("%s", Broken())
    log.assert_clean()
    assert "https://host.example" in log.text
    assert "cannot be shown" in log.text
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("redact")
def test_a_record_with_nothing_to_hide_keeps_its_arguments(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        raise ValueError("plain")
    except ValueError:
        logger.exception("%d files", 3)
    (record,) = caplog.records
    assert record.args == (3,)
    assert record.exc_info


@pytest.mark.usefixtures("redact")
def test_a_handler_that_comes_later() -> None:
    late = Log()
    logging.root.addHandler(late.handler)
    try:
        logger.warning("asked %s", URL)
    finally:
        logging.root.removeHandler(late.handler)
    late.assert_clean()
    assert CLEAN in late.text


@pytest.mark.usefixtures("redact", "log")
def test_a_record_that_no_handler_takes_is_not_formatted() -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("formatted for nobody")

    kept = [(handler, handler.level) for handler in logging.root.handlers]
    try:
        for handler, _ in kept:
            if not isinstance(handler, Gate):
                handler.setLevel(logging.ERROR)
        logger.warning("%s", Costly())
    finally:
        for handler, level in kept:
            handler.setLevel(level)


def test_it_lasts_from_the_settings_to_the_end_of_the_engine(log: Log) -> None:
    before = list(logging.root.handlers)
    crawler = get_crawler(
        settings_dict={
            "EXTENSIONS": {"fetcher.extensions.redact.Redact": 0},
            "MEMUSAGE_ENABLED": False,
            "USER_AGENT": "me (+https://me:hunter2@host.example/)",
        }
    )
    assert "me (+https://host.example/" in log.text
    log.assert_clean()
    crawler.signals.send_catch_log(signals.spider_closed, spider=None, reason="finished")
    assert len(gates()) == 1
    crawler.signals.send_catch_log(signals.engine_stopped)
    assert logging.root.handlers == before


def test_it_ends_with_a_crawler_whose_engine_never_started() -> None:
    before = list(logging.root.handlers)
    crawler = get_crawler(settings_dict={"EXTENSIONS": {"fetcher.extensions.redact.Redact": 0}})
    assert len(gates()) == 1
    del crawler
    gc.collect()
    assert logging.root.handlers == before


def test_two_crawls_at_a_time(log: Log) -> None:
    first, second = Redact(), Redact()
    first.engine_stopped()
    logger.warning("asked %s", URL)
    log.assert_clean()
    second.engine_stopped()
    second.engine_stopped()
    assert not gates()


def test_ranges_and_files_have_no_lines_of_their_own() -> None:
    formatter = QuietLogFormatter()
    spider: Any = Spider("fetch")
    assert formatter.crawled(Request(URL), Response(URL), spider) is None
    assert formatter.scraped(FileItem("ok", "a"), Response(URL), spider) is None
    assert formatter.item_error(FileItem("ok", "a"), ValueError(), None, spider)
