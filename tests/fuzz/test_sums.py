"""Files of checksums: entries of names and digests, or no entry; and what is written is read."""

import gzip
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.disk.sums import read_sums
from fetcher.errors import InvalidListError, InvalidRowError
from fetcher.lists import SumsIndex, open_sums
from fetcher.rules.checksums import ALGORITHMS, parse_checksum
from fetcher.rules.sums import parse_sums_line, sums_line
from tests.fuzz.mutations import fuzz, mutated

SPECIAL = [
    *("", "\\", "\\\\", "\\n", " ", "  ", " *", "*", "./", "(", ")", ") = ", "=", "\t", "\r", "#"),
    *("\0", "\ufeff", "\x85", "\u2028", "\ud800", "SHA256 (", "MD5 (", "SHA2-512(", "-", "0" * 128),
]
LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
names = st.sampled_from(["a", "./b/c.tar", "x (1).iso", "a\\b", "a\nb", "ä", ") = 0", "-", " "])


@st.composite
def lines(draw: st.DrawFn) -> str:
    algorithm = draw(st.sampled_from([*ALGORITHMS, "sha224", "BLAKE2b"]))
    digits = draw(st.sampled_from("0aF")) * LENGTHS.get(algorithm, 56)
    name = sums_line(draw(names), "").removesuffix("\n")
    mark, name = ("\\", name[3:]) if name.startswith("\\") else ("", name[2:])
    between = draw(st.sampled_from(["  ", " *", " ", None]))
    if between is None:
        return f"{mark}{algorithm.upper()} ({name}) = {digits}"
    return f"{mark}{digits}{between}{name}"


@fuzz
@given(mutated(lines(), SPECIAL))
@example("SHA256 (" + ") =" * 10_000)
@example("\\" * 10_000)
def test_lines(line: str) -> None:
    entry = parse_sums_line(line)
    if entry is None:
        return
    name, checksum = entry
    assert name
    assert parse_checksum(checksum) == checksum
    assert checksum.partition(":")[2] in line.lower()
    if "\ud800" in name or not checksum.startswith("sha256:"):
        return
    again = sums_line(name, checksum.partition(":")[2])
    assert parse_sums_line(again.removesuffix("\n")) == (name.removeprefix("./"), checksum)


@pytest.fixture(scope="module")
def sums_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file in memory where there is such a place: it is written 100,000 times."""
    memory = Path("/dev/shm")  # noqa: S108 - with a name of this process
    folder = memory if memory.is_dir() else tmp_path_factory.getbasetemp()
    path = folder / f"fetcher-fuzz-sums-{os.getpid()}"
    yield path
    path.unlink(missing_ok=True)


@fuzz
@given(
    st.lists(mutated(lines(), SPECIAL), max_size=4).map("\n".join),
    st.sampled_from([bytes, lambda content: gzip.compress(content, 1, mtime=0)]),
    st.lists(names.map(lambda name: f"x/{name}") | names, max_size=3),
)
def test_files(
    sums_path: Path, text: str, packed: Callable[[bytes], bytes], asked: list[str]
) -> None:
    content = text.encode("utf-8", "surrogatepass")
    for name, digest in read_sums(content.splitlines(keepends=True)):
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert name
    sums_path.write_bytes(packed(content))
    index = SumsIndex(str(sums_path))
    try:
        with open_sums(str(sums_path)) as stream:
            index.read(stream)
        for name in asked:
            with suppress(InvalidRowError):
                for listed in index.find(name):
                    assert parse_checksum(listed.checksum) == listed.checksum
        assert all(sentence.isprintable() for sentence in (*index.leftovers(), index.bad_lines))
    except InvalidListError as error:
        assert error.message.isprintable()
    finally:
        index.close()
