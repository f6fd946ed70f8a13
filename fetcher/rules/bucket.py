"""A rate that many connections share: a token bucket, first come, first served.

Pure: who asks brings the time, in seconds of any clock that only goes forward.
"""

from __future__ import annotations

import math

CATCH_UP = 0.2
"""Seconds of the rate that may be made up for: timers are late, and servers pause. No more, so that
a lull is not followed by a rush. A crawl begins with none."""

READS = 100
"""Reads a second, over all connections together: few enough to cost nothing, and so small that the
rate is even."""

LEAST = 256
"""Bytes of a read at least."""


def read_size(rate: int, most: int, least: int = LEAST) -> int:
    """How many bytes to read at a time.

    :param rate: bytes a second of the whole crawl; 0 for no limit.
    :param most: bytes to read where nothing is limited.
    :param least: bytes that come together in any case.
    """
    return min(most, max(least, rate // READS)) if rate else most


class Bucket:
    """Fills at the rate; bytes are taken out of it before they are read.

    :param rate: bytes a second, more than 0.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._earned = math.nan
        """When all that has been taken will have flowed in."""
        self._usual = math.inf
        """Bytes that an answer has brought lately."""

    def take(self, count: int, now: float) -> float:
        """Take so many bytes; seconds until they have flowed in."""
        if math.isnan(self._earned):
            self._earned = now
        self._earned = max(self._earned, now - CATCH_UP) + count / self.rate
        return max(0.0, self._earned - now)

    def put_back(self, count: int) -> None:
        """Of what was taken, so many bytes have not been read."""
        self._earned -= count / self.rate

    def first(self, size: int) -> int:
        """How much to take before an answer whose length is not known.

        :param size: bytes that are read at a time. Where files are smaller than that, to wait for
            so many before each would be to stay below the rate.
        """
        return max(1, int(min(self._usual, size)))

    def note(self, count: int) -> None:
        """So many bytes have come with an answer."""
        self._usual = count if math.isinf(self._usual) else (self._usual + count) / 2


class Share:
    """What one connection has of a bucket.

    :param bucket: shared with the other connections.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._left = 0
        """Bytes that have been taken and may still be read; below zero, read but not yet taken."""
        self._read = 0
        self._until = -math.inf
        self._paused = 0.0

    def read(self, count: int) -> None:
        """Note that so many bytes have come."""
        self._left -= count
        self._read += count

    def pace(self, size: int, now: float) -> float:
        """Seconds that the connection must not read from now on, in place of what it was told.

        :param size: bytes that it will read then, about.
        """
        if self._left <= 0:
            size = size if self._read else self._bucket.first(size)
            seconds = self._bucket.take(size - self._left, now)
            self._left = size
            self._paused += now + seconds - max(now, self._until)
            self._until = now + seconds
        return max(0.0, self._until - now)

    def paused(self, now: float) -> float:
        """Seconds that the connection has not been allowed to read so far."""
        return self._paused - max(0.0, self._until - now)

    def end(self, now: float) -> None:
        """The answer is over: settle the account. Another may follow."""
        if self._left < 0:
            self._bucket.take(-self._left, now)
        else:
            self._bucket.put_back(self._left)
        if self._read:
            self._bucket.note(self._read)
        self._paused, self._until = self.paused(now), -math.inf
        self._left = self._read = 0
