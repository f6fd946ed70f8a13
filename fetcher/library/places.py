"""Where a file that a program wants belongs, however its folder is spelled."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fetcher.lists import Row


def place(out: str, row: Row) -> tuple[str, Row]:
    """The folder of the row's file, absolute and without links, and the row with a plain name.

    :param out: the folder that the row's name is relative to.
    """
    folder, _, name = (row.name or "").rpartition("/")
    return os.path.realpath(Path(out, folder)), replace(row, name=name or None)
