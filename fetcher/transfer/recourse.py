"""Where a file's bytes come from next, and what is done when an address fails."""

from __future__ import annotations

from fetcher.config import Config
from fetcher.errors import (
    ChangedError,
    MirrorError,
    RangesRefusedError,
    ServerError,
    SizeMismatchError,
    TooLargeError,
)
from fetcher.rules.resource import Resource
from fetcher.rules.urls import redact
from fetcher.transfer.intake import Intake
from fetcher.transfer.source import Source
from fetcher.transfer.sources import Sources


class Recourse:
    """Decides between a file's addresses.

    :param intake: where the bytes go, and what is known of the file.
    :param sources: the addresses.
    :param config: the settings.
    """

    def __init__(self, intake: Intake, sources: Sources, config: Config) -> None:
        self._intake = intake
        self._sources = sources
        self._max_tries = config.max_tries

    def next_source(self) -> Source:
        """Where the next range is asked for."""
        resource = self._intake.resource
        together = resource.verifiable and resource.ranged and self._intake.plan.proven
        source = self._sources.next(together=together)
        idle = self.instead_of(source) if source.host.full else None
        if idle is None:
            return source
        if resource.version is None:
            self._sources.lead = idle
            self._intake.follow(idle.address, idle.resource)
        return idle

    def instead_of(self, busy: Source) -> Source | None:
        """An address to ask while a server has connections enough, if the list tells whether what
        comes from there is right."""
        if not self._intake.listed or self._intake.resource.conditional:
            return None
        return self._sources.idle(busy)

    def do_without(self, source: Source, error: ServerError) -> bool:
        """Whether the others bring the file all the same.

        A server may refuse one connection more and still serve those it has.

        :raises MirrorError: none of them can go on with what is there.
        """
        known = self._intake.resource.version is not None
        if isinstance(error, MirrorError):
            # Ended from this side.
            return known and self._sources.any
        others = known and self._sources.others_than(source)
        unlike = isinstance(error, ChangedError | RangesRefusedError)
        if unlike and (source is not self._sources.lead or (others and self._intake.listed)):
            self._sources.set_apart(source, error)
            if others:
                return True
            # What is there cannot be gone on with; the next address begins anew.
            raise MirrorError(error.message) from error
        if unlike or isinstance(error, SizeMismatchError | TooLargeError):
            return False
        if source.connections > 1:
            # Others may have failed at the same moment: they are not counted any more.
            self._intake.plan.lower(sum(each.connections for each in self._sources) - 1)
            return True
        if self._sources.several:
            self._sources.drop(source, error)
        return others

    def begin_anew(self, error: ServerError) -> None:
        """Plan the whole file again: by the same address, or by the next one.

        :raises ServerError: ``error``, or what it has come to; there is no other way.
        """
        if isinstance(error, ChangedError):
            self._after_change(error)
        else:
            self._after_failure(error)
        lead = self._sources.lead
        self._intake.begin_anew(lead.address, lead.resource)

    def _after_change(self, error: ChangedError) -> None:
        resource, address = self._intake.resource, self._sources.lead.address
        self._intake.count_restart()
        resource.changed(error)
        if resource.changes >= self._max_tries:
            self._lead_anew(
                ChangedError(
                    f"{redact(address)} changed {resource.changes} times while it was fetched (at "
                    f"last {error}): try again when it is at rest"
                )
            )

    def _after_failure(self, error: ServerError) -> None:
        self._intake.keep()
        if isinstance(error, RangesRefusedError) and self._intake.resource.ranged:
            self._intake.resource.refused()
        else:
            self._lead_anew(error)
        if self._intake.received:
            self._intake.count_restart()

    def _lead_anew(self, error: ServerError) -> None:
        lead = self._sources.lead_anew(error)
        if lead is None:
            raise error
        lead.resource = Resource(lead.condition)
