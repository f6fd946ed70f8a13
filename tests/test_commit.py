"""Several files get their names together, and each fails by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from scrapy import Request

from fetcher.disk.ledger import Ledger
from fetcher.disk.part import Part
from fetcher.errors import DiskError, ForeignFileError, Stopped
from fetcher.rules.answers import Version
from fetcher.transfer.commit import commit, commit_all
from fetcher.transfer.disk_work import DiskWork
from fetcher.transfer.download import Download
from fetcher.transfer.safekeeping import Safekeeping


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path)) as ledger:
        yield ledger


def download(out: Path, ledger: Ledger, name: str) -> Download:
    """A file that holds its own name."""
    part = Part(out, name)
    part.write(0, name.encode())
    version = Version(len(name), '"a"')
    return Download(
        request=Request("http://h/"),
        source="http://h/",
        part=part,
        version=version,
        resumable=version,
        safekeeping=Safekeeping(part, lambda: None, lambda: 0),
        pieces=None,
        brought=[],
        stated={},
        record="",
        listed_size=None,
        max_size=0,
        ledger=ledger,
        disk=DiskWork(),
        replaces=None,
    )


def run_with(
    out: Path, ledger: Ledger, *names: str, spoil: str | None = None
) -> list[Exception | None]:
    async def main() -> list[Exception | None]:
        downloads = [download(out, ledger, name) for name in names]
        try:
            if spoil is not None:
                (out / spoil).write_text("theirs")
            return commit_all(downloads)
        finally:
            for each in downloads:
                each.close()

    return asyncio.run(main())


def test_all_are_there_and_remembered(tmp_path: Path, ledger: Ledger) -> None:
    names = "a", "folder/b", "folder/c", "other/d"
    assert run_with(tmp_path, ledger, *names) == [None] * 4
    for name in names:
        path = tmp_path / name
        assert path.read_text() == name
        remembered = ledger.find(name)
        assert remembered is not None
        assert remembered.describes(path.stat())
    assert not list(tmp_path.rglob("*.part*"))


def test_one_that_cannot_be_committed_keeps_no_other_from_it(
    tmp_path: Path, ledger: Ledger
) -> None:
    errors = run_with(tmp_path, ledger, "a", "b", "c", spoil="b")
    assert [type(error) for error in errors] == [type(None), ForeignFileError, type(None)]
    assert [(tmp_path / name).read_text() for name in "abc"] == ["a", "theirs", "c"]
    assert ledger.find("b") is None
    assert (tmp_path / "b.part").read_text() == "b"


def test_what_cannot_be_remembered_gets_no_name(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = DiskError("the ledger cannot be written")

    def refuse(*_: object) -> None:
        raise broken

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "record", refuse)
        assert run_with(tmp_path, ledger, "a", "b") == [broken] * 2
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "a.part").exists()


@pytest.mark.parametrize("small", [True, False])
def test_who_is_stopped_meanwhile_says_in_the_journal_that_all_is_there(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, *, small: bool
) -> None:
    def stop(*_: object) -> None:
        raise Stopped("stopped")

    monkeypatch.setattr(ledger, "record", stop)
    if not small:
        monkeypatch.setattr("fetcher.transfer.commit.SMALL", 0)

    async def main() -> None:
        each = download(tmp_path, ledger, "a")
        with closing(each), pytest.raises(Stopped):
            await commit(each)

    asyncio.run(main())
    assert not (tmp_path / "a").exists()
    with closing(Part(tmp_path, "a")) as part:
        assert part.resumable is not None
        assert part.resumable.ranges == ((0, 1),)
