"""Final names: unique, the same on every run, cheap."""

import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.disk.folding import folds_names
from fetcher.lists import Naming, Row
from fetcher.rules import names
from tests.effort import at_most

ROOT = Path(__file__).parent.parent


@pytest.fixture
def naming() -> Iterator[Naming]:
    made = Naming()
    yield made
    made.close()


def row(name: str | None, url: str = "http://h/x.tar", size: int | None = None) -> Row:
    return Row(1, url, name, size, None, ())


def assign_all(rows: list[Row]) -> list[str | None]:
    naming = Naming()
    try:
        return [naming.assign(each) for each in rows]
    finally:
        naming.close()


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("b/c.bin", "http://h/x.tar", "b/c.bin"),
        (None, "http://h/a/x.tar?y=z.zip", "x.tar"),
        (None, "http://h/a%20b.tar", "a b.tar"),
        (None, "http://h/..%2F..%2Fetc%2Fpasswd", "passwd"),
        (None, "http://h/a/%2e%2e", "index"),
        (None, "http://h/a/", "index"),
        (None, "http://h", "index"),
        (None, "http://h/x.part", "x.part_"),
    ],
)
def test_where_the_name_comes_from(
    naming: Naming, name: str | None, url: str, expected: str
) -> None:
    assert naming.assign(row(name, url)) == expected


def test_where_the_file_system_takes_two_names_for_one_the_later_gets_a_number() -> None:
    naming = Naming(fold=True)
    wanted = ["A.bin", "a.bin", "a (1).bin", "caf\u00e9", "CAFE\u0301", "STRASSE", "stra\u00dfe"]
    try:
        given = [naming.assign(row(name, f"http://h/{at}")) for at, name in enumerate(wanted)]
        assert naming.assign(row("a.bin", "http://h/1")) is None, "the same row again"
    finally:
        naming.close()
    numbered = [name for name in given if name is not None and "1" in name]
    folded = {unicodedata.normalize("NFC", str(name)).casefold() for name in given}
    assert len(folded) == len(given)
    assert len(numbered) == 4


def test_whether_a_file_system_does_is_tried_out(tmp_path: Path) -> None:
    # Said by two files, independently of the function.
    (tmp_path / "x").touch()
    assert folds_names(tmp_path) == (tmp_path / "X").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert not folds_names(tmp_path / "missing")


def test_the_later_of_two_rows_with_one_name_gets_a_number() -> None:
    rows = [
        row("a/x.tar", "http://h/1"),
        row("a/x.tar", "http://h/2"),
        row("a/x.2.tar", "http://h/3"),
        row("a/x.tar", "http://h/4"),
        row("a/x.1.tar", "http://h/5"),
        row("a/x.tar", "http://h/6"),
        row("x.tar", "http://h/7"),
    ]
    assert assign_all(rows) == [
        "a/x.tar",
        "a/x.1.tar",
        "a/x.2.tar",
        "a/x.3.tar",
        "a/x.1.1.tar",
        "a/x.4.tar",
        "x.tar",
    ]


def test_the_very_same_row_is_fetched_once() -> None:
    rows = [
        Row(1, "http://h/x", "x", 5, "md5:1", ("http://i/x",)),
        Row(2, "http://h/x", "x", 5, "md5:1", ("http://i/x",)),
        Row(3, "http://h/x", "x", 6, "md5:1", ("http://i/x",)),
        Row(4, "http://h/x", "x", 5, "md5:2", ("http://i/x",)),
        Row(5, "http://h/x", "x", 5, "md5:1", ()),
        Row(6, "http://h/x", None, 5, "md5:1", ()),
        Row(7, "http://h/x", "x", 6, "md5:1", ("http://i/x",)),
        Row(8, "http://h/x", "y", 5, "md5:1", ("http://i/x",)),
    ]
    assert assign_all(rows) == ["x", None, "x.1", "x.2", "x.3", None, None, "y"]


def test_rows_that_ask_by_other_headers_are_other_rows() -> None:
    versions = [(), (("X-Version", "1"),), (("X-Version", "2"),)]
    rows = [Row(1, "http://h/x", None, None, None, (), headers) for headers in versions]
    assert assign_all(rows * 2) == ["x", "x.1", "x.2", None, None, None]


def test_names_meet_only_in_one_folder(naming: Naming) -> None:
    folders = ["/a", "/b", "/a", "/\udcff", "/a"]
    given = [naming.assign(row("x", f"http://h/{at}"), at) for at in folders]
    assert given == ["x", "x", None, "x", None]
    assert naming.assign(row("x", "http://h/other"), "/a") == "x.1"
    assert naming.assign(row("x", "http://h/other"), "/b") == "x.1"


def test_many_rows_with_one_name() -> None:
    rows = [row("x", f"http://h/{number}") for number in range(20_000)]
    given = assign_all(rows * 2)
    assert given[:20_000] == ["x", *(f"x.{number}" for number in range(1, 20_000))]
    assert set(given[20_000:]) == {None}


def test_many_long_names_that_are_one_when_a_number_is_added() -> None:
    rows = [row("x" * 250 + f"{number:05}", f"http://h/{number}") for number in range(2000)]
    with at_most(2):
        given = assign_all([*rows, *rows, *(row(each.name, "http://i/") for each in rows)])
    assert given[:2000] == [each.name for each in rows]
    assert set(given[2000:4000]) == {None}
    assert len(set(given[4000:])) == 2000
    assert all(len(name or "") <= 255 for name in given)


def test_several_threads(naming: Naming) -> None:
    given: list[str | None] = []

    def assign(thread: int) -> None:
        rows = (row("x", f"http://h/{thread}/{number}") for number in range(200))
        given.extend(naming.assign(each) for each in rows)

    threads = [threading.Thread(target=assign, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, given)) == sorted(names.numbered("x", number) for number in range(800))


# Few names, near each other, and some as long as they may be.
_names = st.one_of(
    st.from_regex(r"\A[ab](\.[12]){0,2}(\.tar)?\Z"),
    st.sampled_from(["x" * 255, "x" * 253, "x" * 251 + ".tar", "d/" + "x" * 255]),
)


@given(st.lists(st.builds(row, _names, st.sampled_from(["http://h/1", "http://h/2"]))))
def test_names_are_unique_and_the_same_on_every_run(rows: list[Row]) -> None:
    first = assign_all(rows)
    assert assign_all(rows) == first
    given = [name for name in first if name is not None]
    assert len(given) == len(set(given)) == len(set(rows))
    for name in given:
        assert names.check_name(name) == name


def test_a_long_list_costs_no_more_memory() -> None:
    script = (
        "from fetcher.lists import Naming, Row\n"
        "from tests.memory import high_water_mark as peak\n"
        "naming = Naming()\n"
        "before = peak()\n"
        "assert before\n"
        "for number in range(300_000):\n"
        "    naming.assign(Row(number, f'http://h/{number}', f'{number}.tar', None, None, ()))\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT, check=True
    )
    assert int(done.stdout) < 8 << 20
