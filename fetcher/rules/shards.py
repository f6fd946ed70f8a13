"""Shards: which of several processes fetches which file, told from the file's name alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts of a list that have no file in common and leave none out.

    :param number: which one; the first is 1.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that ``i/n`` stands for.

        :raises ValueError: it is not of that form, or not 1 <= i <= n.
        """
        match = _SHARD.fullmatch(text.strip())
        number, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= number <= count:
            raise ValueError(f"the shard {text!r} is none; give i/n with 1 <= i <= n, such as 2/4")
        return cls(number, count)

    def takes(self, name: str) -> bool:
        """Whether the file is this shard's; the same on every machine and in every version."""
        return _place(name, self.count) == self.number

    def takes_line(self, line: int) -> bool:
        """Whether a row that has no name, because it cannot be used, is this shard's to report."""
        # No file's name begins with a line feed.
        return _place(f"\n{line}", self.count) == self.number

    def __str__(self) -> str:
        """For the names of files that shards do not share."""
        return f"{self.number}-of-{self.count}"


def _place(text: str, count: int) -> int:
    digest = blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count + 1
