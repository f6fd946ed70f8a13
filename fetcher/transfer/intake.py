"""What comes in of one file: judged before its body, and written where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fetcher.config import Config
from fetcher.contract import Answer, FileProgress
from fetcher.disk.journal import Journal
from fetcher.disk.part import Part
from fetcher.errors import ChangedError, ProtocolError, RangesRefusedError
from fetcher.rules.answers import Version
from fetcher.rules.pages import HEAD
from fetcher.rules.pieces import Pieces
from fetcher.rules.ranges import Claim, Range
from fetcher.rules.resource import Resource
from fetcher.transfer.counts import Counts
from fetcher.transfer.expectations import Expectations
from fetcher.transfer.piece_check import PieceCheck
from fetcher.transfer.plan import Plan
from fetcher.transfer.safekeeping import Safekeeping
from fetcher.transfer.writer import RangeWriter


class Intake:
    """One file's bytes, whichever addresses they come from.

    :param address: the one that decides about the file's version.
    :param resource: what is known of the file there.
    :param part: where the bytes go.
    :param config: the settings.
    :param progress: kept up to date for displays.
    :param expectations: what the file has to be.
    :param on_first: called with the first answer of each attempt and its version, before any byte
        is written; may raise to refuse the file.
    :param pieces: the hashes of the file's pieces, if the list says.
    :param rounds: see :class:`Plan`.
    """

    def __init__(
        self,
        address: str,
        resource: Resource,
        part: Part,
        config: Config,
        progress: FileProgress,
        expectations: Expectations,
        on_first: Callable[[Answer, Version], None],
        pieces: Pieces | None = None,
        rounds: int = 1,
    ) -> None:
        self.counts = Counts()
        self.check: PieceCheck | None = None
        """Compares the file's pieces; None where none are listed, or nothing is known yet."""
        self.resource = resource
        self._address = address
        self._config = config
        self._rounds = rounds
        self.plan = self._plan(resource)
        self.mixed = False
        """Whether bytes of several addresses have been put together that only a checksum shows to
        belong together."""
        self._progress = progress
        self._expectations = expectations
        self._on_first = on_first
        self.pieces = pieces
        self._greeted = False
        self._stale = False
        self.adopt(part)

    @property
    def received(self) -> int:
        """Bytes of the file that are in the part."""
        return self.plan.ranges.received

    @property
    def listed(self) -> bool:
        """Whether the list tells the right bytes, whoever brings them."""
        return self._expectations.listed

    @property
    def complete(self) -> bool:
        """Whether all of the file is there, and its pieces are right."""
        return self.plan.ranges.complete and (self.check is None or self.check.complete)

    @property
    def to_check(self) -> bool:
        """Whether there are pieces that have not been looked at."""
        return self.check is not None and self.check.ready(self.plan.ranges.done)

    def resumable(self, version: Version) -> Version:
        """The file's version as a journal may state it.

        No address can be asked whether it has what came from others. That is gone on with where
        the list itself has something that will tell: what a server states now, it may not later.
        """
        return replace(version, etag=None, last_modified=None) if self.mixed else version

    def adopt(self, part: Part) -> None:
        """Write into this part from now on; only before the first byte."""
        self.part = part
        self.safekeeping = Safekeeping(part, self._journal, self._front)

    def resume(self, journal: Journal) -> None:
        """Go on from what a journal says is there.

        Of a whole file the last byte is asked for again: its server has to confirm the version,
        and states its checksum.
        """
        self.resource.version = journal.version
        done, size = journal.ranges, journal.version.size
        if size and done == ((0, size),):
            done = ((0, size - 1),) if size > 1 else ()
        self.plan = self._plan(self.resource, done)
        self.part.size = size
        self._begin_check()
        self.safekeeping.reserve(size or 0)
        self.counts.resumed = self.plan.ranges.received
        self._show()

    def begin_attempt(self) -> None:
        """The next answer is the first one of its attempt."""
        self._greeted = False

    def follow(self, address: str, resource: Resource) -> None:
        """Let this address decide about the version; before the first answer."""
        self._address, self.resource = address, resource
        self.plan = self._plan(resource)

    def begin_anew(self, address: str, resource: Resource) -> None:
        """Plan the whole file again, by what this address has.

        What is there stays until another version has been accepted in its place.
        """
        self._stale = self._stale or self.received > 0
        self.mixed = False
        self.check = None
        self.follow(address, resource)
        self.safekeeping.forget_size()
        self._show()

    def keep(self) -> None:
        """What is there is no more to be had where it came from: it is worth something."""
        if self.received and self.resource.version is not None:
            self._expectations.keep(self._address, self.resource.version)

    def count_restart(self) -> None:
        """What was there is to be fetched again."""
        self.counts.restarts += 1
        self.counts.resumed = 0

    def lose(self, start: int, end: int) -> None:
        """These bytes are wrong, and are to come again."""
        self.plan.ranges.lose(start, end)
        self._show()

    def reclaim(self, start: int, end: int) -> Claim:
        """These bytes are wrong, and are to come again from one address."""
        claim = self.plan.ranges.reclaim(start, end)
        self._show()
        return claim

    # --- what sources call ----------------------------------------------------------------------

    def accept(self, writer: RangeWriter, answer: Answer) -> bool:
        """Judge an answer of the address that decides; see ``RangeSink.begin``."""
        if answer.status == 304 and self.resource.conditional:
            self._on_first(answer, Version())
        if answer.status not in (200, 206, 416):
            return False
        body = self.resource.judge(answer, writer.claim.position, self.received)
        self._count(writer)
        self._greet(answer, body.version)
        if self._stale:
            self._expectations.check_page()
            self._expectations.check_kept(self.part.name, self._address, body.version)
            self._stale = False
            self.safekeeping.begin_anew()
        if body.whole and self.plan.take_whole(writer, body.version):
            self.safekeeping.compute(self.safekeeping.algorithms)
        if self.resource.version is None:
            self.resource.learn(body.version)
        if body.version.size is not None and self.plan.ranges.size is None:
            self._set_size(body.version.size)
        self._show()
        if answer.status == 416:
            return False
        # What comes behind the writer's claim would have to come from another answer.
        complete = body.start == 0 and body.end == body.version.size == writer.claim.end
        if not (body.whole or complete or self.resource.joinable):
            raise RangesRefusedError("nothing would show whether its pieces belong together")
        writer.whole = body.whole
        self.plan.streaming.add(writer)
        if not body.whole:
            self.plan.proven = True
        return True

    def join(self, writer: RangeWriter, answer: Answer, resource: Resource) -> bool:
        """Judge an answer of another address, whose bytes are put beside those that are there.

        :param resource: what is known of that address; its validators are its own.
        :raises ChangedError: what it has is another file, or nothing shows that it is the same.
        :raises RangesRefusedError: it does not send the range that was asked for.
        """
        if answer.status not in (200, 206, 416):
            return False
        known = self.resource.version or Version()
        resource.verifiable = self._expectations.verifiable
        version = resource.judge_beside(answer, writer.claim.position, known)
        # After a pause it may be the first that answers at all.
        self._greet(answer, version)
        if not (self._expectations.verifiable or known.agrees(version)):
            self._greeted = False
            raise ChangedError("nothing shows that its file is the same")
        if resource.version is None:
            resource.learn(version)
        self.mixed = self.mixed or not known.agrees(version)
        self.plan.proven = True
        self._count(writer)
        self.plan.streaming.add(writer)
        return True

    def store(self, claim: Claim, data: bytes | memoryview) -> None:
        """See ``Owner.store``."""
        if claim.position < HEAD:
            self._check_page(claim, data)
        self.part.write(claim.position, data)
        claim.advance(len(data))
        self._progress.done += len(data)
        self.safekeeping.wrote(len(data))
        self._expectations.check_size(self.part.name, claim.position, more=True)

    def end_of_whole(self, size: int) -> None:
        """A body without a length has ended; that tells the size, unless the list knows better."""
        listed = self._expectations.listed_size
        if listed is None or size >= listed:
            self._set_size(size)

    # --- the file -------------------------------------------------------------------------------

    def _plan(self, resource: Resource, done: tuple[Range, ...] = ()) -> Plan:
        return Plan(self._config, resource, done, self._rounds)

    def _greet(self, answer: Answer, version: Version) -> None:
        """Let the first answer of an attempt be judged by what the file has to be."""
        if not self._greeted:
            self._on_first(answer, version)
            self._greeted = True

    def _count(self, writer: RangeWriter) -> None:
        served = len(self.plan.streaming | {writer})
        self.counts.connections = max(self.counts.connections, served)

    def _check_page(self, claim: Claim, data: bytes | memoryview) -> None:
        try:
            self._expectations.check_page(data)
        except ProtocolError:
            # Nor are the few bytes of it that may be there already the file's.
            self.plan.ranges.rewind(claim)
            raise

    def _set_size(self, size: int) -> None:
        self._expectations.check_size(self.part.name, size)
        try:
            self.plan.ranges.set_size(size)
        except ValueError as error:
            raise ChangedError(f"it became shorter, {size} bytes") from error
        self.part.size = size
        if size > self._config.min_split_size:
            self.safekeeping.reserve(size)
        if self.resource.version is not None:
            self.resource.version = self.resource.version.with_size(size)
        self._begin_check()
        self._show()

    def _begin_check(self) -> None:
        version = self.resource.version
        # The list's pieces are not those of a compressed form: that is decoded first.
        if self.pieces is None or version is None or version.size is None or version.codings:
            return
        self.check = PieceCheck(self.pieces, self.part, version.size)

    def _show(self) -> None:
        self._progress.size = self.plan.ranges.size
        self._progress.done = self.received

    def _front(self) -> int:
        front = self.plan.ranges.front
        # What is wrong is written once more, and must not have been hashed with the rest.
        return front if self.check is None else min(front, self.check.front)

    def _journal(self) -> Journal | None:
        """What can be said now; nothing is worth saying that could not be gone on with."""
        version = self.resource.version
        if version is None or version.size is None or not self.resource.ranged:
            return None
        if not self.received:
            return None
        return Journal(self.part.name, self.resumable(version), tuple(self.plan.ranges.snapshot()))
