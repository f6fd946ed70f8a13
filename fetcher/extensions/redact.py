"""What must not stand in a log: credentials in addresses, values of query parameters."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

from scrapy import Spider, signals
from scrapy.http import Response
from scrapy.logformatter import LogFormatter
from twisted.python.failure import Failure

from fetcher.rules.urls import redact_text

if TYPE_CHECKING:
    from typing import Self

    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.logformatter import LogFormatterResult


class Redact:
    """Extension: every log record is redacted while the crawl lasts.

    It begins with the extension itself, before Scrapy logs its settings (an address among them
    may hold a password), and ends when the engine has stopped. Where the engine never
    started it ends with the crawler.
    """

    def __init__(self) -> None:
        gate = Gate()
        # The first handler in the row changes the record before any other sees it. A filter on
        # each handler would miss those that come later: Scrapy exchanges its own after the
        # extensions are made.
        logging.root.handlers.insert(0, gate)
        self._remove = weakref.finalize(self, logging.root.removeHandler, gate)
        # At the exit of the process it stays to the very last message.
        self._remove.atexit = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        redact = cls()
        crawler.signals.connect(redact.engine_stopped, signals.engine_stopped)
        return redact

    def engine_stopped(self) -> None:
        self._remove()


class Gate(logging.Handler):
    """Handler that writes nothing, but redacts each record for the handlers after it."""

    def emit(self, record: logging.LogRecord) -> None:
        others = (handler for handler in logging.root.handlers if handler is not self)
        if any(record.levelno >= handler.level for handler in others):
            redact_record(record)


def redact_record(record: logging.LogRecord) -> None:
    """Redact message, traceback and stack of a record, in place.

    A record that has nothing to hide stays as it is, with its arguments.
    """
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit, or whose str() fails
        # Left alone, logging would print the arguments to standard error as they are.
        message = f"{_safe(record.msg)} {_safe(record.args)}"
        record.msg, record.args = redact_text(message), ()
    else:
        redacted = redact_text(message)
        if redacted != message:
            record.msg, record.args = redacted, ()
    if record.exc_info and record.exc_info[0] is not None:
        text = record.exc_text or _FORMATTER.formatException(record.exc_info)
        if redact_text(text) != text:
            # Without exc_info no formatter can format it again; exc_text is shown all the same.
            record.exc_text, record.exc_info = text, None
    if record.exc_text:
        record.exc_text = redact_text(record.exc_text)
    if record.stack_info:
        record.stack_info = redact_text(record.stack_info)


_FORMATTER = logging.Formatter()


def _safe(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - whatever a stranger's __repr__ does
        return "(cannot be shown)"


class QuietLogFormatter(LogFormatter):
    """No line for each range and none for each file: a list has a million of them."""

    def crawled(  # type: ignore[override] # None is documented: the message is omitted
        self, request: Request, response: Response, spider: Spider
    ) -> LogFormatterResult | None:
        return None

    def scraped(  # type: ignore[override] # as above
        self, item: Any, response: Response | Failure | None, spider: Spider
    ) -> LogFormatterResult | None:
        return None
