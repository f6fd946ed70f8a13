"""When to try again: pure policy, no clock and no network of its own."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_BACKOFF = 60.0
"""Seconds: the longest wait without a ``Retry-After``."""


@dataclass(frozen=True)
class Backoff:
    """How often a range has been tried without progress, and how long to wait before the next try.

    :param tries: failed tries since the last progress.
    :param max_tries: how many there may be.
    :param base: seconds before the first retry; doubles up to :data:`MAX_BACKOFF`.
    :param speed: bytes a second below which what came is no progress. A body that drips, or stalls
        a little further on each time, would else be asked for again for ever.
    """

    max_tries: int
    base: float
    tries: int = 0
    speed: int = 0

    def is_progress(self, gained: int, seconds: float) -> bool:
        """Whether a try that brought so many new bytes in so many seconds was not in vain.

        :param seconds: those in which it connected and waited for the answer are some of them, and
            the delay before it.
        """
        return gained > 0 and gained >= self.speed * seconds

    def after_failure(self, *, progress: bool) -> Backoff:
        """The state after one more failed try; progress starts the count anew."""
        return replace(self, tries=1 if progress else self.tries + 1)

    def afresh(self) -> Backoff:
        """The state when there has been progress without any failure."""
        return replace(self, tries=0)

    @property
    def exhausted(self) -> bool:
        """Whether there is no further try."""
        return self.tries >= self.max_tries

    def delay(self, jitter: Callable[[], float] = random.random) -> float:
        """Seconds to wait: half of the doubling bound at least, the other half by chance."""
        bound = min(self.base * 2.0 ** min(max(self.tries, 1) - 1, 30), MAX_BACKOFF)
        return bound * (0.5 + jitter() / 2)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` asks for (RFC 9110, section 10.2.3); None when unreadable."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
