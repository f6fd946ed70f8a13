"""Lists of files to fetch: reading them, and naming what they list."""

from fetcher.lists.formats import list_name
from fetcher.lists.named import BROKEN_LIST, NamedRow, Rows
from fetcher.lists.naming import Naming, identity
from fetcher.lists.rows import BadRow, Row, make_row
from fetcher.lists.source import READERS, ListSource, check_format, open_list
from fetcher.lists.stream import STDIN, ListStream, label
from fetcher.lists.sums import SumsIndex, open_sums

__all__ = [
    "open_list",
    "ListSource",
    "READERS",
    "check_format",
    "list_name",
    "Row",
    "BadRow",
    "make_row",
    "NamedRow",
    "Rows",
    "BROKEN_LIST",
    "Naming",
    "open_sums",
    "SumsIndex",
    "ListStream",
    "STDIN",
    "identity",
    "label",
]
