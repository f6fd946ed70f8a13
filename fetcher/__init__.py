"""Downloads long lists of large files, whole and verified: a Scrapy project.

From a program of one's own: :class:`Downloader`. In a Scrapy project of one's own: :class:`Addon`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fetcher.addon import Addon
    from fetcher.library.downloader import Downloader
    from fetcher.library.results import Error, Results, Success
    from fetcher.library.session import SessionConfig

__all__ = ["Downloader", "SessionConfig", "Results", "Success", "Error", "Addon"]

_HOMES = {
    "Downloader": "fetcher.library.downloader",
    "SessionConfig": "fetcher.library.session",
    "Results": "fetcher.library.results",
    "Success": "fetcher.library.results",
    "Error": "fetcher.library.results",
    "Addon": "fetcher.addon",
}


def __getattr__(name: str) -> Any:
    # Scrapy imports this package for its settings, and needs none of these.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
