"""Lists in JSON lines, in aria2's form, and Metalinks."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fetcher.errors import InvalidListError
from fetcher.lists import BadRow, Row, open_list
from fetcher.rules.pieces import Pieces
from fetcher.rules.urls import MAX_URL
from tests.crawl import PROJECT
from tests.effort import at_most

SHA256 = "2ca1f17051a430f6fed1196e4952717507171acfd97d96577212502703b25deb"
SHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def read(tmp_path: Path, content: str | bytes, name: str = "list") -> list[Row | BadRow]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_list(str(path)) as source:
        return list(source)


def one(tmp_path: Path, content: str, name: str = "list") -> Row:
    (row,) = read(tmp_path, content, name)
    assert isinstance(row, Row), row
    return row


def error_of(tmp_path: Path, content: str, name: str = "list") -> str:
    (row,) = read(tmp_path, content, name)
    assert isinstance(row, BadRow), row
    return row.error.message


# JSON lines


def test_jsonl(tmp_path: Path) -> None:
    lines = [
        {"url": "http://h/1"},
        {"urls": ["http://h/2", "http://i/2"], "name": "b/c", "size": 5, "checksum": SHA256},
        {"Link": "http://h/3", "headers": {"X-Key": " abc ", "Cookie": "a=b"}, "split": 3},
        {"url": "http://h/4", "mirrors": "http://i/4 http://j/4", "md5": MD5, "other": [1, {}]},
        {"url": "http://h/5", "name": None, "size": "7"},
    ]
    content = "\n\n".join(map(json.dumps, lines))

    assert read(tmp_path, content) == read(tmp_path, gzip.compress(content.encode()), "x.jsonl.gz")
    assert read(tmp_path, content) == [
        Row(1, "http://h/1", None, None, None, ()),
        Row(3, "http://h/2", "b/c", 5, f"sha256:{SHA256}", ("http://i/2",)),
        Row(5, "http://h/3", None, None, None, (), (("X-Key", "abc"), ("Cookie", "a=b")), 3),
        Row(7, "http://h/4", None, None, f"md5:{MD5}", ("http://i/4", "http://j/4")),
        Row(9, "http://h/5", None, 7, None, ()),
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"url": "http://h/1"', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('["http://h/1"]', "no JSON object"),
        ("1", "no JSON object"),
        ('{"url": 5}', "does not start with one of"),
        ('{"url": {"a": 1}}', "the value of 'url' is no text"),
        ('{"url": "http://h/1", "url": "http://h/2"}', "stands twice"),
        ('{"urls": [["http://h/1"]]}', "the value of 'urls' is no text"),
        ('{"urls": 1}', "no array"),
        ('{"urls": ["http://h/1", ""]}', "is empty"),
        ('{"name": "x"}', "no URL"),
        ('{"url": "http://h/1", "size": -1}', "no number of bytes"),
        ('{"url": "http://h/1", "size": 1.5}', "no text"),
        ('{"url": "http://h/1", "size": 1' + "0" * 5000 + "}", "no JSON"),
        ('{"url": "http://h/1", "size": true}', "no text"),
        ('{"url": "http://h/1", "headers": ["a"]}', "no object"),
        ('{"url": "http://h/1", "headers": {"a": "x\\r\\nEvil: 1"}}', "line break"),
        ('{"url": "http://h/1", "headers": {"Range": "bytes=0-"}}', "the downloader's own"),
        ('{"url": "http://h/1", "headers": {"a b": "c"}}', "no proper name"),
        ('{"url": "http://h/1", "split": 0}', "no number of connections"),
        ('{"url": "http://h/1", "name": "../x"}', "leaves the output folder"),
        ('{"url": "\\ud800"}', "control characters"),
        ('{"url": "http://h/\\udfff", "name": "\\ud800"}', "control characters"),
        ('{"url": "http://h/1", "size": "\\ud800"}', "no number of bytes"),
        ('{"url": "http://h/%s"}' % ("a" * MAX_URL), "longer than"),
        ('{"url": "http://h/1", "headers": {"a": "%s"}}' % ("a" * 65536), "headers are longer"),
    ],
)
def test_a_bad_line_of_jsonl_does_not_stop_the_others(tmp_path: Path, line: str, told: str) -> None:
    first, bad, last = read(tmp_path, f'{{"url": "http://h/a"}}\n{line}\n{{"url": "http://h/b"}}\n')
    assert isinstance(bad, BadRow), bad
    assert bad.line == 2
    assert told in bad.error.message
    f"{bad.error.message} {bad.url} {bad.name}".encode()
    assert isinstance(first, Row)
    assert isinstance(last, Row)


def test_a_key_that_may_be_a_misspelt_one_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = {"url": "http://h/1", "SHA-256": SHA256, "note": "x", "file_size": 5, "\ud800sum": 1}
    rows = read(tmp_path, "\n".join([json.dumps(entry)] * 3), "x.jsonl")
    assert rows == [Row(at, "http://h/1", None, None, None, ()) for at in (1, 2, 3)]
    warned = [each.message for each in caplog.records]
    assert [each.split("'")[1] for each in warned] == ["SHA-256", "file_size", "\\ud800sum"]
    assert all("is not known and is passed over" in each for each in warned)


def test_a_bad_line_gives_no_secret_away(tmp_path: Path) -> None:
    lines = [
        {"url": "http://user:secret@h/1", "headers": {"Authorization": "secret\n"}},
        {"url": "http://h/2?sig=secret", "size": "x"},
        {"url": "http://user:secret@h:port/"},
    ]
    for row in read(tmp_path, "\n".join(map(json.dumps, lines))):
        assert isinstance(row, BadRow), row
        assert "secret" not in f"{row.error.message} {row.url} {row.name}"


# aria2


def test_aria2(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = f"""# a comment
http://h/1\thttp://i/1
  out=one.bin
  checksum=sha-256={SHA256}
  header=X-Key: abc
  header=Cookie: a=b
  split=4
  max-tries=9
\thttps-proxy=x
http://h/2.tar
 dir=sub/folder

http://h/3
  dir=./sub
  out=three
  max-tries=1
http://h/4
"""
    assert (
        read(tmp_path, content, "x.aria2")
        == read(tmp_path, content)
        == [
            Row(
                2,
                "http://h/1",
                "one.bin",
                None,
                f"sha256:{SHA256}",
                ("http://i/1",),
                (("X-Key", "abc"), ("Cookie", "a=b")),
                4,
            ),
            Row(10, "http://h/2.tar", "sub/folder/2.tar", None, None, ()),
            Row(13, "http://h/3", "sub/three", None, None, ()),
            Row(17, "http://h/4", None, None, None, ()),
        ]
    )
    warned = [each.message for each in caplog.records]
    assert len(warned) == 4, "once for each option and list"
    assert "'max-tries'" in warned[0]
    assert "'https-proxy'" in warned[1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("dir=/downloads", "leaves the output folder"),
        ("dir=..", "leaves the output folder"),
        ("out=../x", "leaves the output folder"),
        ("checksum=crc32=1", "no checksum"),
        ("header=Host: evil", "the downloader's own"),
        ("header=nonsense", "no proper name"),
        ("split=none", "no number of connections"),
    ],
)
def test_a_bad_entry_of_aria2(tmp_path: Path, options: str, told: str) -> None:
    assert told in error_of(tmp_path, f"http://h/1\n  {options}\n", "x.aria2")


def test_an_option_above_the_first_address(tmp_path: Path) -> None:
    bad, good = read(tmp_path, "  out=x\nhttp://h/1\n", "x.aria2")
    assert isinstance(bad, BadRow)
    assert good == Row(2, "http://h/1", None, None, None, ())


def test_a_plain_list_stays_one(tmp_path: Path) -> None:
    content = "http://h/1?a=b\n  http://h/2?c=d\n"
    assert [row.url for row in read(tmp_path, content)] == ["http://h/1?a=b", "http://h/2?c=d"]


# Metalink

METALINK = f"""<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink">
  <generator>nobody</generator>
  <file name="a/one.bin">
    <size>25</size>
    <hash type="md5">{MD5}</hash>
    <hash type="sha-256">{SHA256}</hash>
    <hash type="sha-999">x</hash>
    <pieces length="10" type="sha-1">{f"<hash>{SHA1}</hash>" * 3}</pieces>
    <pieces length="5" type="sha-256"><hash>{SHA256}</hash></pieces>
    <url priority="30" location="de">ftp://last/1</url>
    <url>http://nowhere/1</url>
    <url priority="1">
      http://first/1
    </url>
    <url priority="2">magnet:?xt=urn</url>
    <metaurl mediatype="torrent" priority="1">http://torrent/1</metaurl>
  </file>
  <file name="two"><url>https://h/2</url></file>
</metalink>
"""


@pytest.mark.parametrize("name", ["list", "x.meta4", "x.metalink"])
def test_metalink(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, METALINK, name) == [
        Row(
            4,
            "http://first/1",
            "a/one.bin",
            25,
            f"sha256:{SHA256}",
            ("ftp://last/1", "http://nowhere/1"),
            pieces=Pieces(10, "sha1", (SHA1,) * 3),
        ),
        Row(19, "https://h/2", "two", None, None, ()),
    ]


def test_metalink_of_version_3(tmp_path: Path) -> None:
    content = f"""<metalink version="3.0" xmlns="http://www.metalinker.org/"><files>
<file name="one"><size>5</size>
<verification><hash type="sha1">{SHA1}</hash>
<pieces length="5" type="sha1"><hash piece="0">{SHA1}</hash></pieces></verification>
<resources maxconnections="1"><url type="http" preference="10">http://last/1</url>
<url type="bittorrent" preference="100">http://h/1.torrent.</url>
<url type="http" preference="90">http://first/1</url></resources></file>
</files></metalink>"""
    row = one(tmp_path, content)
    assert (row.name, row.size, row.checksum) == ("one", 5, f"sha1:{SHA1}")
    assert row.pieces == Pieces(5, "sha1", (SHA1,))
    assert (row.url, *row.mirrors) == ("http://first/1", "http://last/1")


MIB = 1 << 20

HEAD = '<metalink xmlns="urn:ietf:params:xml:ns:metalink">'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (f"{HEAD}<file name='x'>", "cut short"),
        (f"{HEAD}<file name='x'></metalink>", "no well-formed XML"),
        ("<html><body/></html>", "web page"),
        ("<rss/>", "no Metalink"),
        (f"<!DOCTYPE m [<!ENTITY a 'b'>]>{HEAD}<file name='&a;'/></metalink>", "DTD"),
        (f"<!DOCTYPE m SYSTEM 'file:///etc/passwd'>{HEAD}<file name='x'/></metalink>", "DTD"),
        (f"{HEAD}<file name='x'><size>&b;</size></file></metalink>", "no well-formed XML"),
        (HEAD + "<x>" * 10_000, "no well-formed XML"),
    ],
)
def test_what_is_no_metalink(tmp_path: Path, content: str, told: str) -> None:
    with pytest.raises(InvalidListError, match=told):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("<file><url>http://h/1</url></file>", ""),
        ("<file name='x'/>", "no URL"),
        ("<file name='x'><url>magnet:?x</url></file>", "does not start with"),
        ("<file name='../x'><url>http://h/1</url></file>", "leaves the output folder"),
        ("<file name='x'><size>many</size><url>http://h/1</url></file>", "no number of bytes"),
        ("<file name='x'><hash type='md5'>1</hash><url>http://h/1</url></file>", "no md5 checksum"),
    ],
)
def test_a_bad_file_does_not_stop_the_others(tmp_path: Path, file: str, told: str) -> None:
    rows = read(tmp_path, f"{HEAD}{file}<file name='b'><url>http://h/2</url></file></metalink>")
    assert len(rows) == 2
    if told:
        assert isinstance(rows[0], BadRow)
        assert told in rows[0].error.message
    assert isinstance(rows[1], Row)


@pytest.mark.parametrize("length", ["", "0", "-5", "x", "9" * 30])
def test_pieces_that_mean_nothing_are_done_without(tmp_path: Path, length: str) -> None:
    pieces = f"<pieces length='{length}' type='md5'><hash>x</hash></pieces>"
    content = f"{HEAD}<file name='x'>{pieces}<url>http://h/1</url></file></metalink>"
    assert one(tmp_path, content).pieces is None


# All


def test_two_checksums_that_contradict_each_other(tmp_path: Path) -> None:
    other = "0" * 64
    line = json.dumps({"url": "http://h/1", "checksum": f"sha256:{SHA256}", "sha256": other})
    told = error_of(tmp_path, line)
    assert SHA256 in told
    assert other in told


@pytest.mark.parametrize(
    ("name", "head", "entry", "tail"),
    [
        ("x.jsonl", "", '{"name": "%d", "url": "http://h/%d"}\n', ""),
        ("x.aria2", "", "http://h/%d\n  out=%d\n", ""),
        ("x.meta4", HEAD, "<file name='%d'><url>http://h/%d</url></file>", "</metalink>"),
    ],
)
def test_many_rows_cost_no_more_memory_than_ten(
    tmp_path: Path, name: str, head: str, entry: str, tail: str
) -> None:
    count = 100_000
    path = tmp_path / name
    path.write_text(head + "".join(entry % (at, at) for at in range(count)) + tail)
    rows, growth = memory_of_reading(path, first=10)
    assert rows == count
    assert growth < 4 * MIB


@pytest.mark.parametrize("junk", ["<!---->", "<?x?>", "<x/>", "<x>text</x>text", "<size>1</size>"])
@pytest.mark.parametrize("within", ["", "<x>", "<file name='b'>"])
def test_what_a_metalink_holds_beside_its_files_costs_no_memory(
    tmp_path: Path, junk: str, within: str
) -> None:
    file = "<file name='a'><url>http://h/1</url></file>"
    end = {"": "", "<x>": "</x>", "<file name='b'>": "<url>http://h/2</url></file>"}[within]
    path = tmp_path / "x.meta4"
    path.write_text(f"{HEAD}{file}{within}{junk * 100_000}{end}</metalink>")
    rows, growth = memory_of_reading(path, first=1)
    assert rows == 1 + within.startswith("<file")
    assert growth < 4 * MIB


def test_comments_without_end_around_a_metalink_are_refused(tmp_path: Path) -> None:
    for content in ("{0}{1}", "{1}{0}"):
        file = f"{HEAD}<file name='a'><url>http://h/1</url></file></metalink>"
        with pytest.raises(InvalidListError, match="comments"):
            read(tmp_path, content.format(file, "<!---->" * 200_000))


def test_long_texts_of_a_metalink_cost_no_memory(tmp_path: Path) -> None:
    long = "".join(f"<url>http://h/{at}{'a' * (8 * MIB)}</url>" for at in range(8))
    path = tmp_path / "x.meta4"
    path.write_text(
        f"{HEAD}<file name='a'><url>http://h/1</url></file>"
        f"<file name='b'>{long}<url>http://h/2</url></file></metalink>"
    )
    rows, growth = memory_of_reading(path, first=1)
    assert rows == 2
    assert growth < 40 * MIB
    _, second = read(tmp_path, path.read_bytes())
    assert isinstance(second, Row)
    assert (second.url, second.mirrors) == ("http://h/2", ())


def test_headers_without_end_below_an_address_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.aria2"
    path.write_text("http://h/1\nhttp://h/2\n" + f"  header=a: {'a' * 1000}\n" * 50_000)
    rows, growth = memory_of_reading(path, first=1)
    assert rows == 2
    assert growth < 4 * MIB
    _, second = read(tmp_path, path.read_bytes(), "x.aria2")
    assert isinstance(second, BadRow)
    assert "headers are longer" in second.error.message


def test_options_that_take_long_to_look_through(tmp_path: Path) -> None:
    with at_most(1):
        row = one(tmp_path, f"http://h/1\n  {'a-' * 200_000}://=x\n", "x.aria2")
    assert row.url == "http://h/1"


def memory_of_reading(path: Path, first: int) -> tuple[int, int]:
    """How many rows a list has, and how many bytes more were used after the first ones."""
    script = (
        "import sys\n"
        "from fetcher.lists import open_list\n"
        "from tests.memory import high_water_mark as peak\n"
        "rows = iter(open_list(sys.argv[1]))\n"
        "first = int(sys.argv[2])\n"
        "for _ in range(first): next(rows)\n"
        "before = peak()\n"
        "assert before\n"
        "print(first + sum(1 for _ in rows), peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(first)],
        stdout=subprocess.PIPE,
        cwd=PROJECT,
        check=True,
    )
    rows, growth = map(int, done.stdout.split())
    return rows, growth


@pytest.mark.parametrize("address", ["http://[x/f", "http://a\u2100b/f", "gopher://h/f"])
def test_aria2s_folder_below_an_address_that_is_none(tmp_path: Path, address: str) -> None:
    (tmp_path / "x.aria2").write_text(f"{address}\n  dir=a\nhttp://h/ok\n  dir=b\n", "utf-8")
    with open_list(str(tmp_path / "x.aria2")) as source:
        bad, good = source
    assert isinstance(bad, BadRow)
    assert isinstance(good, Row)
    assert good.name == "b/ok"


def test_a_prefix_that_nobody_has_declared(tmp_path: Path) -> None:
    file = "<file name='a'><url>http://h/1</url></file>"
    with pytest.raises(InvalidListError, match="well-formed"):
        read(tmp_path, f"{HEAD}{file}<a:b/></metalink>")
