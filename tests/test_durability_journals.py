"""Journals and parts that were cut, altered, mixed up or lost: nothing of them is believed, or all.

The pairs are real: a crawl was interrupted in the middle of its files.
"""

import base64
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from fetcher.disk.journal import Journal, decode
from fetcher.disk.part import Part
from tests.crawl import run_crawl, start_crawl, write_list
from tests.servers.content import Content
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource

SIZE = 4 << 20
HELD = 200_001
"""Bytes of each connection's range that come before the interruption."""
CONNECTIONS = 2
SAFE = HELD * CONNECTIONS


@dataclass(frozen=True)
class Pair:
    """A part and its journal, to be damaged."""

    folder: Path
    name: str

    @property
    def part(self) -> Path:
        return self.folder / f"{self.name}.part"

    @property
    def journal(self) -> Path:
        return self.folder / f"{self.name}.part.json"

    def edit(self, change: Callable[[bytes], bytes]) -> None:
        """Write another text in the journal's place."""
        self.journal.write_bytes(change(self.journal.read_bytes()))

    def lose(self, *paths: Path) -> None:
        """Remove what lies there."""
        for path in paths:
            path.unlink()

    def alter(self) -> None:
        """Change a byte of the part that the journal calls safe."""
        with self.part.open("r+b") as file:
            file.seek(HELD - 1)
            byte = file.read(1)[0]
            file.seek(HELD - 1)
            file.write(bytes([byte ^ 1]))

    def take(self, other: str, *suffixes: str) -> None:
        """Put another file's part or journal in the place of this one's."""
        for suffix in suffixes:
            shutil.copyfile(self.folder / f"{other}{suffix}", self.folder / f"{self.name}{suffix}")


def flipped(text: bytes, at: int, bit: int) -> bytes:
    return text[:at] + bytes([text[at] ^ 1 << bit]) + text[at + 1 :]


ALTERED = "part-altered"
"""That is no journal's business, but a checksum's: its server states one."""

# What is done to each of them, and whether what was safe is gone on with.
DAMAGE: dict[str, tuple[Callable[[Pair], object], bool]] = {
    "untouched": (lambda pair: None, True),
    "journal-cut": (lambda pair: pair.edit(lambda text: text[:-20]), False),
    "journal-empty": (lambda pair: pair.edit(lambda text: b""), False),
    "journal-bit": (lambda pair: pair.edit(lambda text: flipped(text, len(text) // 2, 0)), False),
    "journal-zeroed": (lambda pair: pair.edit(lambda text: bytes(len(text))), False),
    "journal-tail-zeroed": (lambda pair: pair.edit(lambda text: text[:99] + bytes(99)), False),
    "journal-twice": (lambda pair: pair.edit(lambda text: text * 2), False),
    "journal-deleted": (lambda pair: pair.lose(pair.journal), False),
    "journal-of-another": (lambda pair: pair.take("untouched", ".part.json"), False),
    "both-of-another": (lambda pair: pair.take("untouched", ".part", ".part.json"), False),
    "part-cut": (lambda pair: os.truncate(pair.part, pair.part.stat().st_size - 1), False),
    "part-empty": (lambda pair: os.truncate(pair.part, 0), False),
    "part-longer": (lambda pair: os.truncate(pair.part, SIZE * 2), True),
    "part-deleted": (lambda pair: pair.lose(pair.part), False),
    "both-deleted": (lambda pair: pair.lose(pair.part, pair.journal), False),
    ALTERED: (lambda pair: pair.alter(), False),
}
CONTENTS = {name: Content(SIZE, seed=number) for number, name in enumerate(DAMAGE)}
SETTINGS = {
    "FETCHER_MIN_SPLIT_SIZE": SIZE // CONNECTIONS,
    "FETCHER_MAX_SPLITS": CONNECTIONS,
    "FETCHER_MAX_PARALLEL": len(DAMAGE),
    "CONCURRENT_REQUESTS_PER_DOMAIN": CONNECTIONS * len(DAMAGE),
}


@dataclass(frozen=True)
class Interrupted:
    """A crawl that was stopped in the middle of all its files."""

    origin: Origin
    rows: Path
    out: Path


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interrupted]:
    folder, gate = tmp_path_factory.mktemp("interrupted"), Gate(after=HELD)
    with Origin() as origin:
        resources = {name: Resource(content, gate=gate) for name, content in CONTENTS.items()}
        digest = base64.b64encode(bytes.fromhex(CONTENTS[ALTERED].sha256)).decode()
        resources[ALTERED].headers = {"Repr-Digest": f"sha-256=:{digest}:"}
        rows = write_list(
            folder / "list.tsv",
            [(name, origin.add(f"/{name}", resource)) for name, resource in resources.items()],
        )
        with start_crawl(folder / "out", rows, settings=SETTINGS) as crawl:
            gate.wait_until_held(CONNECTIONS * len(DAMAGE))
            crawl.send_signal(signal.SIGTERM)
            crawl.wait()
        gate.open()
        yield Interrupted(origin, rows, folder / "out")


def test_a_file_is_right_whatever_happened_to_its_part_and_journal(
    interrupted: Interrupted, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(interrupted.out, out)
    (out / "report.jsonl").unlink()
    for name, (damage, _) in DAMAGE.items():
        damage(Pair(out, name))
    result = run_crawl(out, interrupted.rows, settings=SETTINGS)
    assert result.returncode == 0
    found = {name: (row["status"], row["resumed"]) for name, row in result.by_name.items()}
    assert found == {name: ("ok", SAFE if kept else 0) for name, (_, kept) in DAMAGE.items()}
    for name, content in CONTENTS.items():
        assert content.first_difference(out / name) is None, name
    assert not list(out.glob("*.part*"))


@dataclass
class Opened:
    """A pair of its own, to be put back and opened again and again."""

    pair: Pair
    text: bytes
    journal: Journal

    def resumable(self) -> Journal | None:
        with closing(Part(self.pair.folder, self.pair.name)) as part:
            return part.resumable

    def believed(self, text: bytes) -> Journal | None:
        """What is gone on with when this text is the journal's."""
        self.pair.journal.write_bytes(text)
        return self.resumable()


@pytest.fixture
def opened(interrupted: Interrupted, tmp_path: Path) -> Opened:
    for suffix in (".part", ".part.json"):
        shutil.copy(interrupted.out / f"untouched{suffix}", tmp_path)
    pair = Pair(tmp_path, "untouched")
    text = pair.journal.read_bytes()
    found = Opened(pair, text, decode(text))
    half = SIZE // CONNECTIONS
    assert found.journal.ranges == ((0, HELD), (half, half + HELD))
    assert found.resumable() == found.journal
    return found


def test_a_journal_cut_at_every_byte(opened: Opened) -> None:
    for length in range(len(opened.text)):
        assert opened.believed(opened.text[:length]) is None


def test_a_journal_with_every_bit_flipped(opened: Opened) -> None:
    for at in range(len(opened.text)):
        for bit in range(8):
            assert opened.believed(flipped(opened.text, at, bit)) is None


def test_a_journal_zeroed_from_or_up_to_every_byte(opened: Opened) -> None:
    size = len(opened.text)
    for at in range(size):
        assert opened.believed(opened.text[:at] + bytes(size - at)) is None
        assert opened.believed(bytes(at + 1) + opened.text[at + 1 :]) is None


def test_the_journal_of_every_other_file(opened: Opened, interrupted: Interrupted) -> None:
    for name in DAMAGE.keys() - {"untouched"}:
        assert opened.believed((interrupted.out / f"{name}.part.json").read_bytes()) is None


def test_a_part_of_every_size(opened: Opened) -> None:
    _, end = opened.journal.ranges[-1]
    edges = {at + step for ranges in opened.journal.ranges for at in ranges for step in (-1, 0, 1)}
    sizes = {*edges, *range(0, SIZE + 3, 4099), SIZE - 1, SIZE, SIZE + 1} - {-1}
    for size in sorted(sizes, reverse=True):
        os.truncate(opened.pair.part, size)
        assert opened.resumable() == (opened.journal if size >= end else None)
    opened.pair.part.unlink()
    assert opened.resumable() is None
