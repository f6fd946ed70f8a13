"""What somebody puts into ``.fetcher/``, or in its place: not waited for, nor written through."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crawl import run_crawl
from tests.servers.content import Content
from tests.servers.origin import Origin

DATABASE = "completed.sqlite3"


@pytest.mark.parametrize("name", ["report.jsonl.1.abc", "SHA256SUMS.1.abc", "sums.sha256"])
def test_a_pipe_is_not_waited_for(origin: Origin, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    (out / ".fetcher").mkdir(parents=True)
    os.mkfifo(out / ".fetcher" / name)
    (out / "SHA256SUMS").write_text("somebody's")

    result = run_crawl(out, url=origin.add("/a.bin", Content(10)), timeout=20)

    assert result.returncode == 0, result.stderr
    assert (out / "SHA256SUMS").read_text() == "somebody's"


def link_folder(out: Path, elsewhere: Path) -> None:
    (out / ".fetcher").symlink_to(elsewhere)


def link(name: str) -> Callable[[Path, Path], None]:
    def make(out: Path, elsewhere: Path) -> None:
        (out / ".fetcher").mkdir()
        (out / ".fetcher" / name).symlink_to(elsewhere / "theirs")

    return make


def pipe(out: Path, elsewhere: Path) -> None:
    (out / ".fetcher").mkdir()
    os.mkfifo(out / ".fetcher" / DATABASE)


@pytest.mark.parametrize(
    "make", [link_folder, link(DATABASE), link(f"{DATABASE}-wal"), link(f"{DATABASE}-shm"), pipe]
)
def test_what_is_not_our_own_is_refused(
    origin: Origin, tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    make(out, elsewhere)

    result = run_crawl(out, url=origin.add("/a.bin", Content(10)), timeout=20)

    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert f"{out}/.fetcher" in line
    assert "remove it" in line
    assert list(elsewhere.iterdir()) == []
    assert not origin.requests
