"""Whether a file system takes names that differ only in case or Unicode form for one."""

from __future__ import annotations

import tempfile
from pathlib import Path

_SPELLINGS = ("fold-\u00e9.", "FOLD-\u00e9.", "fold-e\u0301.")
"""One name as it is, in other case, and with its accent decomposed (Unicode form D)."""


def folds_names(folder: Path) -> bool:
    """Try it out, by an empty file that is gone afterwards; false where that cannot be done.

    So do the usual file systems of macOS and Windows, and on Linux network shares of theirs, FAT,
    and folders of ext4 that are marked so.
    """
    first, *others = _SPELLINGS
    try:
        with tempfile.NamedTemporaryFile(prefix=first, dir=folder) as file:
            ending = Path(file.name).name.removeprefix(first)
            return any((folder / (other + ending)).exists() for other in others)
    except OSError:
        return False
