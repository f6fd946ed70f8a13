"""Whether a connection still delivers: a sliding window over the bytes received."""

from __future__ import annotations

from collections import deque

TICKS = 8
"""Looks per window."""


class StallClock:
    """Counts bytes; asked once every ``interval``, it tells when too few came over ``timeout``.

    :param timeout: length of the window in seconds.
    :param speed: bytes a second that are enough; at least one byte a window always is needed.
    """

    def __init__(self, timeout: float, speed: int) -> None:
        self.interval = timeout / TICKS
        self._least = max(1, int(speed * timeout))
        self._total = 0
        self._marks: deque[int] = deque([0], maxlen=TICKS + 1)

    def received(self, count: int) -> None:
        """Note ``count`` more bytes."""
        self._total += count

    def tick(self) -> bool:
        """One interval has passed; true when the connection counts as stalled."""
        self._marks.append(self._total)
        full = len(self._marks) == TICKS + 1
        return full and self._marks[-1] - self._marks[0] < self._least
