"""Which range goes to which connection next."""

from __future__ import annotations

import math

from fetcher.config import Config
from fetcher.errors import MirrorError, RangesRefusedError
from fetcher.rules.answers import Version
from fetcher.rules.ranges import UNKNOWN, Claim, Range, Ranges
from fetcher.rules.resource import Resource
from fetcher.transfer.writer import RangeWriter

CHUNK = 32 << 20
"""Largest range of one request while several connections share a file, in bytes. The file then
grows from its front, so that hashing can follow and little is left to wait for at the end."""

STEAL_AFTER = 1.0
"""Seconds: an idle connection takes its share of a range that would need longer than this."""

MUCH_LONGER = 2
"""It takes all of one that would need so many times as long otherwise."""

OVERTAKEN = "another connection is much faster"


class Plan:
    """The ranges of one version of a file, and the connections that fill them.

    :param config: the settings.
    :param resource: says whether ranges, and several connections, make sense.
    :param done: ranges that are there already.
    :param rounds: how often each connection takes a range, at least; more where connections differ.
    """

    def __init__(
        self, config: Config, resource: Resource, done: tuple[Range, ...] = (), rounds: int = 1
    ) -> None:
        version = resource.version
        self.ranges = Ranges(version.size if version else None, done)
        self.streaming: set[RangeWriter] = set()
        """The writers whose bodies are coming in."""
        self.proven = False
        """Whether an answer has shown that ranges work."""
        self._whole = False
        self._config = config
        self._resource = resource
        self._rounds = rounds
        self._cap = config.max_splits

    @property
    def connections(self) -> int:
        """How many connections make sense now."""
        return self._cap if self.proven and self._resource.splits else 1

    def lower(self, connections: int) -> None:
        """The server serves no more than these."""
        self._cap = max(1, connections)

    def claim(self, *, alone: bool, speed: float | None = None) -> Claim | None:
        """The next range for a new connection; None when it would have nothing to do.

        :param alone: there is no other connection, so that any rest is worth it.
        :param speed: bytes a second that it is likely to have; None where nobody knows.
        """
        if alone or self.ranges.free >= self._config.min_split_size:
            return self.next_claim(speed)
        return self._steal(speed)

    def next_claim(self, speed: float | None = None) -> Claim | None:
        """The next range for a connection that is there anyway.

        :param speed: see :meth:`claim`.
        """
        least = self._config.min_split_size
        if not self._resource.ranged or self._config.max_splits == 1:
            return self.ranges.claim(UNKNOWN)
        if self.ranges.size is None:
            return self.ranges.claim(least)
        share = self.ranges.free // (self._config.max_splits * self._rounds)
        return self.ranges.claim(max(least, min(share, CHUNK)), least) or self._steal(speed)

    def take_whole(self, writer: RangeWriter, version: Version) -> bool:
        """The server sends all of the file: let the writer take what it lacks, up to the end.

        :param version: what the answer says of itself.
        :return: whether the writer begins at the file's start again, over bytes that are there.
        :raises RangesRefusedError: the answer cannot be joined to what is there.
        """
        claim, received = writer.claim, self.ranges.received
        known = self._resource.version
        error = RangesRefusedError("the server sends the whole file where a range was asked")
        if received and not self._whole:
            # Ranges have worked before; the next answer may be one again.
            self._resource.tolerate(error, received)
            if error.retryable:
                raise error
        alone = len(self.ranges.claims) == 1
        rewound = False
        if alone and claim.position and known is not None and known.proves(version):
            # The same bytes as those that are there: pass over them.
            writer.skip = claim.position
        elif (
            alone
            and claim.start == 0
            and received == claim.position
            and (not received or not self._resource.ranged)
        ):
            rewound = received > 0
            self.ranges.rewind(claim)
        else:
            raise error
        self.ranges.extend(claim)
        self._whole = True
        return rewound

    def measure(self, seconds: float) -> None:
        """Note how fast the connections are; called again after ``seconds``."""
        for writer in self.streaming:
            writer.measure(seconds)

    def _steal(self, speed: float | None) -> Claim | None:
        """A share of the range that would take longest, if that is worth another request."""
        slow = [
            writer
            for writer in self.streaming
            if writer.rate is not None
            and not writer.whole
            and _seconds(writer.claim.remaining, writer.rate) > STEAL_AFTER
        ]
        slow.sort(key=_hold_up, reverse=True)
        for writer in slow:
            claim = self.ranges.steal(writer.claim, self._share(writer, speed))
            if claim is not None:
                if not writer.claim.remaining:
                    writer.stop(MirrorError(OVERTAKEN))
                return claim
        return None

    def _share(self, slow: RangeWriter, speed: float | None) -> int:
        """How much of a range goes to an idle connection, so that both are through at a time.

        All of it, where its share would be no range of its own, but the file would have to wait for
        the slow connection; 0 for nothing.
        """
        left, rate = slow.claim.remaining, slow.rate or 0.0
        faster = max(rate, speed or 0.0)
        share = int(left * faster / (faster + rate)) if faster else left // 2
        if share >= self._config.min_split_size:
            return share
        soon = _seconds(left, faster) + STEAL_AFTER
        return left if _seconds(left, rate) > MUCH_LONGER * soon else 0


def _hold_up(writer: RangeWriter) -> tuple[float, int]:
    """How long the file would wait for it; of those that stand, for how much."""
    left = writer.claim.remaining
    return _seconds(left, writer.rate), left


def _seconds(count: int, rate: float | None) -> float:
    return count / rate if rate else math.inf
