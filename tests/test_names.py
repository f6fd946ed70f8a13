"""Names: those of a list are checked, those of a server are made safe."""

import os
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.errors import InvalidNameError
from fetcher.rules.names import (
    JOURNAL_SUFFIX,
    MAX_BYTES,
    PART_SUFFIX,
    check_name,
    disposition_name,
    first_free,
    is_numbered,
    numbered,
    part_name,
    safe_name,
)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a/b.tar",
        "a b",
        ".hidden",
        "..a",
        "a..",
        "ä/€.tar",
        "x" * 255,
        "ä" * 127,
        "a/report.jsonl",
        "a/" * 99 + "b",
        ("x" * 199 + "/") * 9 + "x" * 200,
    ],
)
def test_names_of_a_list(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/",
        "/",
        "/a",
        "//a",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        "a//b",
        ".",
        "~/a",
        "c:a",
        "C:/a",
        "a\\b",
        "\\\\server\\a",
        "a\0",
        "a\nb",
        "a\x1b[2J",
        "a\x85",
        "gpj.\u202eexe",
        "\ud800",
        "x" * 256,
        "a/" + "ä" * 128,
        "a/" * 100 + "b",
        ("x" * 199 + "/") * 9 + "x" * 201,
        ".fetcher/a",
        ".FETCHER/a",
        ".fetcher",
        "a.part",
        "b/a.part.json",
        "report.jsonl",
        "report-1-of-4.jsonl",
        "SHA256SUMS",
        "retry.tsv",
        "report.jsonl/a",
        "report-1-of-2.jsonl/a/b",
        "report-host-17.jsonl/a",
        "SHA256SUMS/a",
        "retry.tsv/a",
        "retry-1-of-2.tsv/a",
        "a.part/b",
        "a/b.part.json/c",
        "a.part.jso~/b",
        "a.part.data/b",
    ],
)
def test_names_that_a_list_may_not_give(name: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        check_name(name)
    assert len(caught.value.message.splitlines()) == 1
    caught.value.message.encode()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.tar", "a.tar"),
        (" a b.tar ", "a b.tar"),
        ("../../etc/passwd", "passwd"),
        ("C:\\dir\\a.txt", "a.txt"),
        ("C:a.txt", "a.txt"),
        ("C: d:a.txt", "a.txt"),
        ("T10:30.tar", "T10:30.tar"),
        ("at T:30.tar", "at T:30.tar"),
        ("a\0b\n.tar", "a_b_.tar"),
        (".bashrc", "_bashrc"),
        ("..", ""),
        (". .", ""),
        ("", ""),
        ("a/", ""),
        ("x.part", "x.part_"),
        ("report.jsonl", "report.jsonl_"),
        ("x" * 300 + ".tar", "x" * 251 + ".tar"),
        ("x" * 250 + ".part" + "y" * 30, "x" * 249 + ".part_"),
    ],
)
def test_names_of_a_server(text: str, name: str) -> None:
    assert safe_name(text) == name


# Any character, and often those that mean something.
_texts = st.text() | st.text(alphabet="a.C:/\\~ \0\u202e\ud800ä", max_size=12)
_long = st.builds(
    lambda text, times, end: text * times + end,
    _texts,
    st.integers(1, 300),
    st.sampled_from(["", ".tar", ".part", ".part.json", "." + "y" * 30, ".partition" * 4]),
)


@given(_texts | _long)
@example("x" * 250 + ".part" + "y" * 30)
@example("x" * 400 + ".part.json")
def test_whatever_a_server_says_is_made_safe(text: str) -> None:
    name = safe_name(text)
    if name:
        assert check_name(name) == name
        assert "/" not in name
        assert len(os.fsencode(name)) <= MAX_BYTES


@given(_texts | _long, _texts)
def test_whatever_a_list_gives_stays_in_the_folder(first: str, second: str) -> None:
    try:
        name = check_name(f"{first}/{second}")
    except InvalidNameError:
        return
    path = PurePosixPath(name)
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert str(path) == name
    assert all(len(os.fsencode(part)) <= MAX_BYTES for part in path.parts)


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("a.tar", 0, "a.tar"),
        ("a.tar", 1, "a.1.tar"),
        ("a/b.tar.gz", 12, "a/b.tar.12.gz"),
        ("a.b/c", 1, "a.b/c.1"),
        (".hidden", 1, ".hidden.1"),
        ("x" * 255, 1, "x" * 253 + ".1"),
        ("a." + "y" * 253, 1, "a." + "y" * 251 + ".1"),
    ],
)
def test_numbered(name: str, number: int, expected: str) -> None:
    assert numbered(name, number) == expected


@given(_texts | _long, st.integers(1, 10**9))
@example("a." + "y" * 253, 1)
def test_a_numbered_name_is_as_good_as_the_name(text: str, number: int) -> None:
    name = safe_name(text) or "index"
    given_name = numbered(f"folder/{name}", number)
    assert check_name(given_name) == given_name
    assert given_name != f"folder/{name}"
    assert f".{number}" in given_name


@given(_texts | _long, st.integers(0, 10**9))
def test_a_numbered_name_is_known_again(text: str, number: int) -> None:
    name = "a/" + (safe_name(text) or "index")
    assert is_numbered(numbered(name, number), name)


def test_what_is_not_a_numbered_name() -> None:
    assert not is_numbered("a.1.tar", "b.tar")
    assert not is_numbered("a.x.tar", "a.tar")
    assert not is_numbered("b/a.1.tar", "a.tar")
    assert not is_numbered("a.01.tar", "a.tar")


@given(st.integers(0, 5000))
def test_the_first_free_number(taken: int) -> None:
    asked: list[int] = []

    def is_free(number: int) -> bool:
        asked.append(number)
        return number >= taken

    assert first_free(is_free) == taken
    assert len(asked) < 30


@given(st.sets(st.integers(0, 50)))
def test_any_free_number(taken: set[int]) -> None:
    assert first_free(lambda number: number not in taken) not in taken


@given(_texts | _long)
def test_there_is_room_for_the_part_and_its_journal(text: str) -> None:
    name = safe_name(text) or "index"
    part = part_name(name)
    assert part.endswith(PART_SUFFIX)
    assert len(os.fsencode(part.removesuffix(PART_SUFFIX) + JOURNAL_SUFFIX)) <= MAX_BYTES


def test_long_names_have_parts_of_their_own() -> None:
    assert part_name("x" * 255) != part_name("x" * 254 + "y")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("", ""),
        ("inline", ""),
        ("attachment; filename=a.tar", "a.tar"),
        ("attachment;FileName = a b.tar ; size=5", "a b.tar"),
        ("filename=a.tar", "a.tar"),
        ('attachment; filename="a;b.tar"', "a;b.tar"),
        (r'attachment; filename="say \"hi\".txt"', 'say "hi".txt'),
        (r'attachment; filename="C:\dir\a.txt"', "a.txt"),
        ('attachment; filename="a.tar', "a.tar"),
        ('attachment; filename=""', ""),
        ('attachment; filename="', ""),
        ('attachment; name="x; filename=evil"; filename=good', "good"),
        ("attachment; filename=a%20b", "a%20b"),
        ("attachment; filename=../../a", "a"),
        # RFC 6266, section 5, and RFC 8187, section 3.2.3
        ("attachment; filename*=UTF-8''%e2%82%ac%20rates", "€ rates"),
        ("attachment; filename*=iso-8859-1'en'%A3%20rates", "£ rates"),
        ("attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates", "€ rates"),
        ("attachment; filename*=utf-8''%e2%82%ac%20rates; filename=\"EURO rates\"", "€ rates"),
        ("attachment; filename*=UTF-8''..%2F..%2Fa", "a"),
        ("attachment; filename*=UTF-8''%ff; filename=a", "a"),
        ("attachment; filename*=nonsense''x; filename=a", "a"),
        ("attachment; filename*=hex''ff; filename=a", "a"),
        ("attachment; filename*=x; filename=a", "a"),
    ],
)
def test_content_disposition(header: str, name: str) -> None:
    assert disposition_name(header) == name


@given(
    st.text() | st.text(alphabet="; filename*='\"\\=%utf8-.", max_size=60).map("a;filename".__add__)
)
@example(';a="\\' * 10_000)
def test_whatever_the_content_disposition(header: str) -> None:
    name = disposition_name(header)
    assert not name or check_name(name) == name
