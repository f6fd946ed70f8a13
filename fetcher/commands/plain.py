"""Texts from outside, as they may be shown on a terminal."""

from __future__ import annotations

_SHOWN = 2000
"""Characters of a text that are shown."""


def plain(text: str) -> str:
    """A text without control characters, credentials and the values of query parameters."""
    # Scrapy imports every command whichever is run.
    from fetcher.rules.names import CONTROL
    from fetcher.rules.urls import redact_text

    text = CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return redact_text(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
