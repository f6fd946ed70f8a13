"""Gives one part its final name, without a download around it."""

from __future__ import annotations

import os

from fetcher.disk.part import Part
from fetcher.disk.syncing import sync_folder


def commit(part: Part, mtime: float | None, replaces: os.stat_result | None) -> os.stat_result:
    """The steps of :func:`fetcher.transfer.commit.commit_all`."""
    final = part.make_final(mtime, replaces)
    part.take_name(replaces)
    sync_folder(part.final.parent)
    part.clean_up()
    return final
