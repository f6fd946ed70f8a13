"""What is known of the resource behind an address, learned answer by answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fetcher.contract import Answer
from fetcher.errors import ChangedError, RangesRefusedError
from fetcher.rules.answers import Body, Version, judge, unsatisfied_size, version_of

PATIENCE = 2
"""How often one odd answer is retried before what is already there is given up for it."""


class Resource:
    """One version of a resource, and how its server may be asked for it.

    :param condition: headers that make the first request conditional.
    """

    def __init__(self, condition: Mapping[str, str] | None = None) -> None:
        self.version: Version | None = None
        self.ranged = True
        """Whether to ask for ranges at all."""
        self.splits = True
        """Whether several connections make sense."""
        self.verifiable = False
        """Whether a checksum of the whole file will be compared in the end."""
        self._condition = dict(condition or {})
        self._flips = 0
        self._odd = 0

    def headers(self, range_header: str) -> dict[str, str]:
        """The headers of the next request: one version or none (RFC 9110, section 13.1.5)."""
        headers = {"Accept-Encoding": "identity"}
        if self.ranged:
            headers["Range"] = range_header
            if self.version is not None and self.version.if_range:
                headers["If-Range"] = self.version.if_range
        if self.version is None:
            headers.update(self._condition)
        return headers

    def judge(self, answer: Answer, start: int, received: int) -> Body:
        """Read the head of a 200, 206 or 416 to a request from ``start`` on.

        :param received: bytes that are already there and would be lost by beginning anew.
        :raises ChangedError, RangesRefusedError, ProtocolError: see :func:`answers.judge`.
        """
        try:
            if answer.status == 416:
                return self._unsatisfied(answer, start)
            return judge(answer, start, self.version)
        except RangesRefusedError as error:
            self.tolerate(error, received)
            raise

    def tolerate(self, error: RangesRefusedError, received: int) -> None:
        """Let a refusal be retried at first where there is something to lose."""
        error.retryable = received > 0 and self._odd < PATIENCE
        self._odd += 1

    def learn(self, version: Version) -> None:
        """The first answer has been accepted."""
        if self._flips >= PATIENCE:
            # Several back ends with ETags of their own: what is compared instead is size and
            # date, if a checksum has the last word, or else a single answer is taken whole.
            if self.verifiable:
                version = replace(version, ignore_etag=True)
            else:
                self.ranged = self.splits = False
        self.version = version

    def changed(self, error: ChangedError) -> None:
        """Another version came; forget this one."""
        self._flips += error.same_facts
        self.version = None

    def refused(self) -> None:
        """Ranges do not work; forget the version and ask for the whole."""
        self.ranged = self.splits = False
        self.version = None

    def _unsatisfied(self, answer: Answer, start: int) -> Body:
        """A 416 (RFC 9110, section 15.5.17): empty, shrunk, or ranges are not wanted."""
        size = unsatisfied_size(answer)
        if size == 0 and start == 0 and self.version is None:
            return Body(0, 0, version_of(answer, 0), whole=False)
        if self.version is not None and size is not None and size != self.version.size:
            raise ChangedError(f"its size went from {self.version.size} to {size} bytes")
        raise RangesRefusedError("the server refuses the range (status 416)")
