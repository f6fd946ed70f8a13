"""Which address has which path in a crawl, in no memory."""

from __future__ import annotations

from enum import Enum, auto

from fetcher.disk.seen import Seen
from fetcher.rules.names import fold_name


class Owner(Enum):
    """Whose a path is."""

    NEW = auto()
    """It was free, and is the address' now."""
    SAME = auto()
    """The address' own."""
    OTHER = auto()
    """Another address'."""


class Owners:
    """Gives each path to the first address that asks for it.

    :param fold: paths that differ only in case or in Unicode form are one, see
        :func:`fetcher.disk.folding.folds_names`.
    """

    def __init__(self, *, fold: bool = False) -> None:
        self._fold = fold
        self._seen = Seen()

    def take(self, path: str, address: bytes) -> Owner:
        """Whose the path is, now that this address asks for it.

        :param address: what two requests for the same thing share.
        """
        key = fold_name(path) if self._fold else path
        # No path holds a NUL.
        claim = f"{key}\0{address.hex()}"
        if claim in self._seen:
            return Owner.SAME
        if key in self._seen:
            return Owner.OTHER
        self._seen.add(key)
        self._seen.add(claim)
        return Owner.NEW

    def close(self) -> None:
        """Forget all."""
        self._seen.close()
