"""What is counted of one file's transfer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """What a transfer tells of itself in the report; see :class:`fetcher.items.FileItem`."""

    received: int = 0
    resumed: int = 0
    connections: int = 0
    retries: int = 0
    restarts: int = 0
