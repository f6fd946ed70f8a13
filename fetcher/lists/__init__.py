"""Lists of files to fetch: reading them, and naming what they list."""

from fetcher.lists.naming import Naming, identity
from fetcher.lists.rows import BadRow, Row, make_row
from fetcher.lists.source import READERS, ListSource, open_list

__all__ = [
    "open_list",
    "ListSource",
    "READERS",
    "Row",
    "BadRow",
    "make_row",
    "Naming",
    "identity",
]
