"""Lists of every form and fault, from files, pipes and standard input."""

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import InvalidListError, InvalidNameError, InvalidURLError, Stopped
from fetcher.lists import BadRow, Row, make_row, open_list
from fetcher.lists.rows import MAX_SHOWN
from fetcher.lists.stream import HEAD_SIZE
from fetcher.lists.text import MAX_LINE
from fetcher.rules.urls import check_url

ROOT = Path(__file__).parent.parent
INPUTS = ROOT / "inputs"
SHA256 = "2ca1f17051a430f6fed1196e4952717507171acfd97d96577212502703b25deb"
MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def read(path: Path, format: str | None = None) -> list[Row | BadRow]:  # noqa: A002
    with open_list(str(path), format) as source:
        return list(source)


def rows_of(tmp_path: Path, name: str, content: str | bytes) -> list[Row | BadRow]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path)


def names_and_urls(rows: list[Row | BadRow]) -> list[tuple[str | None, str | None]]:
    assert all(isinstance(row, Row) for row in rows), rows
    return [(row.name, row.url) for row in rows]


def row(line: int, url: str, name: str | None = None) -> Row:
    return Row(line, url, name, None, None, ())


@contextmanager
def standard_input() -> Iterator[int]:
    """Descriptor 0 is a pipe; gives the end that is written to, to be closed by who uses it."""
    saved = os.dup(0)
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)
    try:
        yield writing
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def run(script: str, *arguments: str, given: bytes = b"") -> str:
    """What a Python process prints that gets ``given`` on standard input."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, cwd=ROOT, check=True)
    return done.stdout.decode()


# Formats


def test_a_column_that_may_be_a_misspelt_checksum_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"filename\turl\tsha-256\tlicence\na\thttp://h/a\t{'0' * 64}\tfree\n")
    (row,) = read(path)
    assert isinstance(row, Row)
    assert row.checksum is None
    (told,) = caplog.messages
    assert told.startswith("the column 'sha-256' of the list is not known")


def test_tsv_with_the_header_of_data_sets(tmp_path: Path) -> None:
    content = "file_name\tcdn_link\na.tar\thttps://h/1?oh=2&oe=3\nb/c.tar\thttp://h:81/2#x\n"
    assert rows_of(tmp_path, "x.tsv", content) == [
        row(2, "https://h/1?oh=2&oe=3", "a.tar"),
        row(3, "http://h:81/2", "b/c.tar"),
    ]


@pytest.mark.parametrize("name", ["name", "file_name", "FileName", " out ", "#name"])
@pytest.mark.parametrize("url", ["url", "cdn_link", "LINK"])
def test_known_columns_in_any_order_beside_unknown_ones(
    tmp_path: Path, name: str, url: str
) -> None:
    content = f"{name}\tnotes\t{url}\tsize\na\tfoo\thttp://h/1\t10\n"
    assert rows_of(tmp_path, "x.tsv", content) == [Row(2, "http://h/1", "a", 10, None, ())]


@pytest.mark.parametrize(
    "content",
    [
        "what\twhere\na\thttp://h/1\n",
        "a\thttp://h/1\n",
        "http://h/1\ta\n",
        "name\twhere\na\thttp://h/1\n",
        "# bought in March\n\na\thttp://h/1\n",
    ],
)
def test_columns_without_known_names_are_told_from_the_first_row(
    tmp_path: Path, content: str
) -> None:
    assert names_and_urls(rows_of(tmp_path, "x.tsv", content)) == [("a", "http://h/1")]


@pytest.mark.parametrize(
    "content",
    [
        "http://h/1\n",
        "url\nhttp://h/1\n",
        "links\nhttp://h/1\n",
        "url,title\nhttp://h/1,a\n",
        "http://h/1,100\n",
        "size,url\n,http://h/1\n",
    ],
)
def test_urls_without_names(tmp_path: Path, content: str) -> None:
    assert names_and_urls(rows_of(tmp_path, "x.csv", content)) == [(None, "http://h/1")]


def test_all_columns(tmp_path: Path) -> None:
    content = (
        "name,url,size,checksum,md5,sha256,mirrors\n"
        f"a,http://h/1,5,,{MD5},{SHA256.upper()},http://i/1  https://j/1 http://h/1 http://i/1\n"
        f"b,http://h/2,,md5={MD5},,,\n"
        f"c,http://h/3,,{SHA256},,,\n"
        f"d,http://h/4,007,,md5:{MD5}\n"
    )
    assert rows_of(tmp_path, "x.csv", content) == [
        Row(2, "http://h/1", "a", 5, f"sha256:{SHA256}", ("http://i/1", "https://j/1")),
        Row(3, "http://h/2", "b", None, f"md5:{MD5}", ()),
        Row(4, "http://h/3", "c", None, f"sha256:{SHA256}", ()),
        Row(5, "http://h/4", "d", 7, f"md5:{MD5}", ()),
    ]


def test_size_without_name(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "x.tsv", "url\tsize\nhttp://h/1\t5\n") == [
        Row(2, "http://h/1", None, 5, None, ())
    ]


def test_csv_quoting(tmp_path: Path) -> None:
    content = 'name,url\n"a,b.tar", "http://h/1"\n"say ""hi""",http://h/2\n"a,http://h/3\n'
    good, quoted, bad = rows_of(tmp_path, "x.csv", content)
    assert names_and_urls([good, quoted]) == [
        ("a,b.tar", "http://h/1"),
        ('say "hi"', "http://h/2"),
    ]
    assert isinstance(bad, BadRow)
    assert bad.line == 4
    assert "quotation marks" in bad.error.message


def test_quotation_marks_mean_nothing_in_tsv(tmp_path: Path) -> None:
    content = '"a\thttp://h/1\n'
    assert names_and_urls(rows_of(tmp_path, "x.tsv", content)) == [('"a', "http://h/1")]


def test_txt_with_comments_and_mirrors(tmp_path: Path) -> None:
    content = "# all of them\n\nhttp://h/1\n  http://h/2,3  \nhttp://h/4\thttp://i/4\thttp://j/4\n"
    assert rows_of(tmp_path, "x.txt", content) == [
        row(3, "http://h/1"),
        row(4, "http://h/2,3"),
        Row(5, "http://h/4", None, None, None, ("http://i/4", "http://j/4")),
    ]


@pytest.mark.parametrize("name", ["x.tsv", "x.csv", "x.txt"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n", "\n\n\n"])
def test_line_ends_marks_and_blank_lines(
    tmp_path: Path, name: str, mark: str, end: str, last: str
) -> None:
    content = (mark + "http://h/1\n \t \n\nhttp://h/2" + last).replace("\n", end)
    assert rows_of(tmp_path, name, content) == [row(1, "http://h/1"), row(4, "http://h/2")]


@pytest.mark.parametrize("format_", ["tsv", "csv", "txt"])
def test_the_format_can_be_given(tmp_path: Path, format_: str) -> None:
    path = tmp_path / "list.md"
    path.write_text("http://h/1\n")
    assert read(path, format_) == [row(1, "http://h/1")]


@pytest.mark.parametrize(
    ("name", "content", "format_", "count"),
    [
        ("x.tsv", "http://h/1\thttp://i/1\n", "tsv", 1),
        ("x.CSV", "http://h/1\n", "csv", 1),
        ("x.txt", "http://h/1\n", "txt", 1),
        ("x.txt", "http://h/1\thttp://i/1\n", "txt", 1),
        ("x.txt", "# from the makers\nfile_name\tcdn_link\na\thttp://h/1\n", "tsv", 1),
        ("x.txt", "a\thttp://h/1\n", "tsv", 1),
        ("x.txt", "a,b\n", "txt", 1),
        ("x.txt.gz", "a\thttp://h/1\n", "tsv", 1),
        ("x.csv.gz", "a,http://h/1\n", "csv", 1),
        ("list", "a\thttp://h/1\n", "tsv", 1),
        ("list", "http://h/1\thttp://i/1\n", "txt", 1),
        ("list", "name,url\na,http://h/1\n", "csv", 1),
        ("list", "a,http://h/1\n", "csv", 1),
        ("list", "http://h/1,2\nhttp://h/2\n", "txt", 2),
        ("list", "http://h/1\n", "txt", 1),
        ("list.urls", '"a,http://h/1\n', "txt", 1),
    ],
)
def test_the_format_is_told(
    tmp_path: Path, name: str, content: str, format_: str, count: int
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    with open_list(str(path)) as source:
        assert source.format == format_
        assert len(list(source)) == count


@pytest.mark.parametrize(
    ("file_name", "name"),
    [("sa1b.tsv", "sa1b"), ("sa1b.TSV.gz", "sa1b"), ("v1.2.csv", "v1.2"), ("list", "list")],
)
def test_the_name_of_the_list(tmp_path: Path, file_name: str, name: str) -> None:
    (tmp_path / file_name).write_text("http://h/1\n")
    with open_list(str(tmp_path / file_name)) as source:
        assert source.name == name


# Bad rows


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ("a\t\t", "no URL"),
        ("a\tgopher://h/1\t", "does not start with"),
        ("a\tno address\t", "blanks or control"),
        ("a\thttp://\t", "names no host"),
        ("../a\thttp://h/1\t", "leaves the output folder"),
        ("/etc/passwd\thttp://h/1\t", "leaves the output folder"),
        ("c:\\a\thttp://h/1\t", "no relative path"),
        ("a\0b\thttp://h/1\t", "control characters"),
        ("x" * 256 + "\thttp://h/1\t", "longer than 255 bytes"),
        ("a.part\thttp://h/1\t", "this program uses"),
        ("a\thttp://h/1\tten", "no number of bytes"),
        ("a\thttp://h/1\t-1", "no number of bytes"),
        ("a\thttp://h/1\t10K", "no number of bytes"),
        ("a\thttp://h/1\t" + "9" * 5000, "no number of bytes"),
        ("a\thttp://h/1\t\tmd5:12", "no md5 checksum"),
        ("a\thttp://h/1\t\t\tfile:///etc/passwd", "does not start with"),
    ],
)
def test_a_bad_row_does_not_stop_the_others(tmp_path: Path, fields: str, sentence: str) -> None:
    padding = "# \n" * HEAD_SIZE
    content = f"{padding}name\turl\tsize\tchecksum\tmirrors\n{fields}\nb\thttp://h/2\n"
    bad, good = rows_of(tmp_path, "x.tsv", content)
    assert isinstance(bad, BadRow)
    assert bad.line == HEAD_SIZE + 2
    assert sentence in bad.error.message
    assert "\n" not in bad.error.message
    assert len(bad.error.message) <= MAX_SHOWN + 1
    assert good == row(HEAD_SIZE + 3, "http://h/2", "b")


def test_a_bad_row_says_which_row_it_is() -> None:
    bad = make_row(7, {"name": "../a", "url": "https://me:secret@h/1?sig=secret"})
    assert isinstance(bad, BadRow)
    assert isinstance(bad.error, InvalidNameError)
    assert (bad.line, bad.name, bad.url) == (7, "../a", "https://h/1?sig=…")
    nothing = make_row(8, {})
    assert isinstance(nothing, BadRow)
    assert isinstance(nothing.error, InvalidURLError)
    assert (nothing.name, nothing.url) == (None, None)


@pytest.mark.parametrize("name", ["x.tsv", "x.csv", "x.txt", "list"])
def test_a_line_that_is_too_long_or_undecodable_is_one_bad_row(tmp_path: Path, name: str) -> None:
    longest = b"http://h/4" + b" " * (MAX_LINE - 10)
    content = b"http://h/1\n" + b"x" * (3 * MAX_LINE) + b"\nhttp://h/\xff\n" + longest
    content += b"\r\n" + longest + b" \r\nhttp://h/6\n"
    first, too_long, undecodable, just_fits, one_more, last = rows_of(tmp_path, name, content)
    assert first == row(1, "http://h/1")
    for line, bad, sentence in (
        (2, too_long, "longer than"),
        (3, undecodable, "not in UTF-8"),
        (5, one_more, "longer than"),
    ):
        assert isinstance(bad, BadRow)
        assert bad.line == line
        assert sentence in bad.error.message
    assert just_fits == row(4, "http://h/4")
    assert last == row(6, "http://h/6")


def test_a_list_of_bad_rows_only_is_a_list(tmp_path: Path) -> None:
    long, bad = rows_of(tmp_path, "list", b"x" * (MAX_LINE + 1) + b"\nfoo\n")
    assert isinstance(long, BadRow)
    assert isinstance(bad, BadRow)


# Bad lists


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.tsv", b"", "has no row"),
        ("x.tsv", b"file_name\tcdn_link\n", "has no row"),
        ("x.csv", b"\xef\xbb\xbfname,url\r\n\r\n,\r\n", "has no row"),
        ("x.txt", b"# nothing\n\n   \n", "has no row"),
        ("list", b"# nothing\n", "has no row"),
        ("list.gz", gzip.compress(b"\n", mtime=0), "has no row"),
        ("x.txt", b"http://h/1\0\n", "binary"),
        ("x.txt", b"http://h/\xff\n", "UTF-8"),
        ("x.txt", "http://h/1\n".encode("utf-16"), "UTF-8"),
        ("x.txt", "http://h/1\n".encode("utf-16-le"), "binary"),
        ("x.txt.gz", gzip.compress(b"http://h/1\0\n", mtime=0), "binary"),
        ("x.txt", b"\x1f\x8bhttp://h/1\n", "gzip"),
        ("x.txt.gz", gzip.compress(b"http://h/1\n", mtime=0)[:15], "gzip"),
        ("x.jsonl", b"\n \n", "has no row"),
        ("x.aria2", b"# nothing\n", "has no row"),
        ("x.meta4.gz", gzip.compress(b"<?xml?>", mtime=0), "no well-formed XML"),
        ("list", b"<?xml version='1.0'?><metalink/>", "no Metalink"),
        ("list", b"<!DOCTYPE html><html></html>", "web page"),
        ("x.tsv", b"\n<html><body>Log in</body></html>", "web page"),
    ],
)
def test_a_list_that_is_none(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidListError, match=sentence) as caught:
        open_list(str(path))
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_list_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("http://h/1\n")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for location, sentence in (
        (str(tmp_path / "none.tsv"), "does not exist"),
        ("", "does not exist"),
        (str(tmp_path), "is a folder"),
        (str(tmp_path / "file" / "x.tsv"), "cannot be read: Not a directory"),
        (str(tmp_path / "loop"), "cannot be read"),
        ("a\0b", "cannot be read"),
        ("http://me:secret@h/list.tsv", "is an address"),
        ("sftp://h/list.tsv", "is an address"),
    ):
        with pytest.raises(InvalidListError, match=sentence) as caught:
            open_list(location)
        assert "secret" not in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_list_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("http://h/1\n")
    path.chmod(0)
    with pytest.raises(InvalidListError, match="cannot be read: Permission denied"):
        open_list(str(path))


@pytest.mark.parametrize("format_", ["xlsx", "TSV"])
def test_a_format_that_is_not_read(format_: str) -> None:
    with pytest.raises(InvalidListError, match="use one of tsv, csv, txt, jsonl, aria2, metalink"):
        open_list(str(INPUTS / "sa1b.tsv"), format_)


@pytest.mark.parametrize("edge", range(4))
def test_a_character_may_lie_across_the_end_of_what_is_looked_at(tmp_path: Path, edge: int) -> None:
    content = "http://h/" + "x" * (HEAD_SIZE - 9 - edge) + "\U0001f4be\n"
    assert rows_of(tmp_path, "x.txt", content) == [row(1, content.strip())]


# gzip


def test_gzip_in_several_members_and_under_any_name(tmp_path: Path) -> None:
    content = gzip.compress(b"a\thttp://h/1\nb\tht") + gzip.compress(b"tp://h/2\n") + b"\0" * 10
    assert rows_of(tmp_path, "x.tsv", content) == [
        row(1, "http://h/1", "a"),
        row(2, "http://h/2", "b"),
    ]


@pytest.mark.parametrize("fault", ["cut short", "changed", "followed by something else"])
def test_gzip_that_is_damaged_further_on(tmp_path: Path, fault: str) -> None:
    lines = [f"http://h/{number}\n" for number in range(200_000)]
    content = bytearray(gzip.compress("".join(lines).encode()))
    if fault == "cut short":
        del content[len(content) // 2 :]
    elif fault == "changed":
        content[len(content) // 2 :] = b"\xff" * (len(content) // 2)
    else:
        content += b"foo"
    path = tmp_path / "x.txt.gz"
    path.write_bytes(content)
    with open_list(str(path)) as source:
        rows = iter(source)
        assert next(rows) == row(1, "http://h/0")
        with pytest.raises(InvalidListError, match=r"x\.txt\.gz.*gzip"):
            list(rows)


# Standard input


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input_of_a_process(packed: bool) -> None:
    content = b"file_name\tcdn_link\na\thttp://h/1\nb\thttp://h/2\n"
    script = (
        "from fetcher.lists import open_list\n"
        "with open_list('-') as source:\n"
        "    print(source.name, source.format, *(row.name for row in source))\n"
    )
    given = gzip.compress(content) if packed else content
    assert run(script, given=given).split() == ["stdin", "tsv", "a", "b"]


def test_rows_are_given_before_the_pipe_ends() -> None:
    with standard_input() as pipe, os.fdopen(pipe, "wb", buffering=0) as writer:
        writer.write(b"http://h/1\nhtt")
        with open_list("-") as source:
            rows = iter(source)
            assert next(rows) == row(1, "http://h/1")
            writer.write(b"p://h/2\n")
            assert next(rows) == row(2, "http://h/2")
            writer.close()
            assert list(rows) == []
        os.fstat(0)  # Still open.


def test_gzipped_rows_are_given_before_the_pipe_ends() -> None:
    with standard_input() as pipe, os.fdopen(pipe, "wb", buffering=0) as writer:
        writer.write(gzip.compress(b"http://h/1\n"))
        with open_list("-") as source:
            rows = iter(source)
            assert next(rows) == row(1, "http://h/1")
            writer.write(gzip.compress(b"http://h/2\n"))
            assert next(rows) == row(2, "http://h/2")
            writer.close()
            assert list(rows) == []


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    with standard_input() as pipe, os.fdopen(pipe, "wb", buffering=0) as writer:
        os.set_blocking(0, False)
        writer.write(b"http://h/1\n")
        with open_list("-") as source:
            rows = iter(source)
            assert next(rows) == row(1, "http://h/1")
            threading.Timer(0.01, writer.close).start()
            assert list(rows) == []


def test_closing_ends_a_read_that_waits() -> None:
    with standard_input() as pipe, os.fdopen(pipe, "wb", buffering=0) as writer:
        writer.write(b"http://h/1\n")
        source = open_list("-")
        rows = iter(source)
        next(rows)
        reasons: list[BaseException] = []

        def wait() -> None:
            try:
                next(rows)
            except (Stopped, ValueError) as reason:  # ValueError: closed before the read began.
                reasons.append(reason)

        thread = threading.Thread(target=wait)
        thread.start()
        source.close()
        thread.join(5)
        assert len(reasons) == 1
        source.close()


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\0", b"\xff", b"\x1f\x8b\x08"])
def test_standard_input_that_is_no_list(content: bytes) -> None:
    with standard_input() as pipe:
        with os.fdopen(pipe, "wb") as writer:
            writer.write(content)
        with pytest.raises(InvalidListError, match="standard input"):
            open_list("-")


def test_standard_input_that_is_closed() -> None:
    script = (
        "import os\n"
        "from fetcher.errors import InvalidListError\n"
        "from fetcher.lists import open_list\n"
        "os.close(0)\n"
        "try:\n"
        "    open_list('-')\n"
        "except InvalidListError as error:\n"
        "    print(error)\n"
    )
    assert run(script).startswith("standard input cannot be read: Bad file descriptor")


# Anything, and much of it


@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='ab/.:"#\t,\r\n\0\ufeff\xe9', max_size=200).map(str.encode),
        st.lists(
            st.sampled_from(
                [b"http://h/1", b"name", b"url", b"\t", b",", b"\n", b'"', b"..", b"\xff", b"5"]
            ),
            max_size=30,
        ).map(b"".join),
    ),
    format_=st.sampled_from([None, "tsv", "csv", "txt"]),
    packed=st.booleans(),
)
def test_whatever_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, format_: str | None, packed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "anything"
    path.write_bytes(gzip.compress(content) if packed else content)
    try:
        rows = read(path, format_)
    except InvalidListError as error:
        assert len(error.message.splitlines()) == 1
        return
    assert rows
    lines = [found.line for found in rows]
    assert lines == sorted(set(lines))
    assert lines[-1] <= content.count(b"\n") + 1


@given(st.from_regex(r"\Ahttps?://[!-~]{1,60}\Z"))
def test_the_short_cut_for_plain_urls_accepts_what_the_full_check_does(url: str) -> None:
    made = make_row(1, {"url": url})
    try:
        assert made.url == check_url(url)
    except InvalidURLError:
        assert isinstance(made, BadRow)


def test_a_million_rows_cost_no_more_memory_than_ten(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    with path.open("w") as file:
        file.write("file_name\tcdn_link\n")
        file.writelines(
            f"sa_{number}.tar\thttps://h/m/{number}.tar\n" for number in range(1_000_000)
        )
    script = (
        "import sys\n"
        "from fetcher.lists import open_list\n"
        "from tests.memory import high_water_mark as peak\n"
        "with open_list(sys.argv[1]) as source:\n"
        "    rows = iter(source)\n"
        "    for _ in range(10): next(rows)\n"
        "    before = peak()\n"
        "    assert before\n"
        "    print(sum(1 for _ in rows), peak() - before)\n"
    )
    count, growth = map(int, run(script, str(path)).split())
    assert count == 999_990
    assert growth < 2 << 20


LISTS = sorted(path for path in INPUTS.iterdir() if path.suffix)
"""All but the file of checksums."""


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_the_examples(path: Path) -> None:
    assert all(isinstance(found, Row) for found in read(path))
