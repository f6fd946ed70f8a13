"""Files of checksums: entries of names and digests, or no entry; and what is written is read."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.disk.sums import read_sums
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


@fuzz
@given(st.lists(mutated(lines(), SPECIAL), max_size=4).map("\n".join))
def test_files(text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    for name, digest in read_sums(content.splitlines(keepends=True)):
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert name
