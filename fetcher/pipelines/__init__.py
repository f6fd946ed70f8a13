"""Item pipelines. For other Scrapy projects: :class:`LargeFilesPipeline`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fetcher.pipelines.files import LargeFilesPipeline

__all__ = ["LargeFilesPipeline"]


def __getattr__(name: str) -> Any:
    # Whoever has lists only loads neither this one nor what it builds on.
    if name == "LargeFilesPipeline":
        from fetcher.pipelines.files import LargeFilesPipeline

        return LargeFilesPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
