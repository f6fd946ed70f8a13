"""What is known of the resource behind an address, learned answer by answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fetcher.contract import Answer
from fetcher.errors import ChangedError, RangesRefusedError
from fetcher.rules.answers import Body, Version, judge, unsatisfied_size, version_of

PATIENCE = 2
"""How often an odd answer is asked for again before what is already there is given up for it."""


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
        self.changes = 0
        """How often another version has come."""
        self._condition = dict(condition or {})
        self._flips = 0
        self._odd = 0

    @property
    def conditional(self) -> bool:
        """Whether the next request asks for the file only if it has changed."""
        return self.version is None and bool(self._condition)

    @property
    def joinable(self) -> bool:
        """Whether pieces of several answers may be put together to one file.

        Something has to tell another version: a validator on the way, or a checksum in the end.
        """
        return self.verifiable or (self.version is not None and self.version.validator is not None)

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
        :raises ChangedError, RangesRefusedError, ProtocolError: see :func:`answers.judge`;
            ``retryable`` where an odd answer may pass.
        """
        try:
            if answer.status == 416:
                return self._unsatisfied(answer, start)
            body = judge(answer, start, self.version)
            if not body.whole and not self._may_join(body.version):
                raise RangesRefusedError("the server does not say of which version its range is")
        except RangesRefusedError as error:
            self.tolerate(error, received)
            raise
        except ChangedError as error:
            # A page of a captive portal or of a broken back end is no version of the file.
            if answer.status == 416 or version_of(answer, None).validator is None:
                self.tolerate(error, received)
            raise
        if not body.whole:
            self._odd = 0
        return body

    def judge_beside(self, answer: Answer, start: int, known: Version) -> Version:
        """Read the head of a 200, 206 or 416 whose bytes are to stand beside another address'.

        :param start: offset that the request asked for.
        :param known: the version that was begun there.
        :return: what the answer says of itself.
        :raises ChangedError: it is another file.
        :raises RangesRefusedError: it is not the range that was asked for.
        """
        if answer.status == 416:
            size = unsatisfied_size(answer)
            if size in (None, known.size):
                raise RangesRefusedError("it refuses the range (status 416)")
        else:
            body = self.judge(answer, start, 0)
            if body.whole:
                raise RangesRefusedError("it sends the whole file where a range was asked")
            if known.codings != body.version.codings:
                raise ChangedError("it has the file in another form")
            if known.size == body.version.size:
                return body.version
            size = body.version.size
        raise ChangedError(f"its file has {size} bytes instead of {known.size}")

    def _may_join(self, version: Version) -> bool:
        known = self.version
        return known is None or self.verifiable or known.shares_validator(version)

    def tolerate(self, error: ChangedError | RangesRefusedError, received: int) -> None:
        """Let an odd answer be asked for again where there is something to lose."""
        error.retryable = received > 0 and self._odd < PATIENCE
        self._odd += 1

    def learn(self, version: Version) -> None:
        """The first answer has been accepted."""
        if self._flips >= PATIENCE and self.verifiable:
            # Several back ends with ETags of their own: size and date are compared instead, and
            # the checksum has the last word.
            version = replace(version, ignore_etag=True)
        self.version = version

    def changed(self, error: ChangedError) -> None:
        """Another version came; forget this one."""
        self.changes += 1
        self._flips += error.same_facts
        self.version = None
        if self.changes >= PATIENCE and not (self.verifiable and self._flips >= PATIENCE):
            # Never the same twice: only a single answer is one version.
            self.ranged = self.splits = False

    def refused(self) -> None:
        """Ranges do not work; forget the version and ask for the whole."""
        self.ranged = self.splits = False
        self.version = None

    def _unsatisfied(self, answer: Answer, start: int) -> Body:
        """A 416 (RFC 9110, section 15.5.17): empty, shrunk, or ranges are not wanted."""
        size = unsatisfied_size(answer)
        if size == 0 and start == 0 and self.version is None:
            return Body(0, 0, version_of(answer, 0), whole=False)
        known = self.version.size if self.version is not None else None
        if None not in (known, size) and known != size:
            raise ChangedError(f"its size went from {known} to {size} bytes")
        raise RangesRefusedError("the server refuses the range (status 416)")
