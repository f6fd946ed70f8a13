"""A row under the name that its file gets in this run."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from fetcher.lists.rows import BadRow, Row
from fetcher.rules.names import url_name

R = TypeVar("R", bound=Row | BadRow)


class NamedRow(NamedTuple, Generic[R]):
    """A row of this run.

    :ivar number: which of the list's rows it is; the first is 1.
    :ivar name: of its file; "" for a row that cannot be used.
    :ivar sums: what the file of checksums says of it, ``algorithm:hex``, where the list does not.
    """

    number: int
    row: R
    name: str
    sums: str | None = None

    @property
    def variant(self) -> str | None:
        """See :class:`fetcher.contract.FileMeta`."""
        row = self.row
        if isinstance(row, BadRow) or not row.headers:
            return None
        # Not the headers themselves: a token may be another one in each run.
        return self.name if self.name != (row.name or url_name(row.url)) else None


Rows = list[NamedRow[Row | BadRow]]

BROKEN_LIST = "(the list)"
"""The name in the item of a list that has turned out to be damaged further on."""
