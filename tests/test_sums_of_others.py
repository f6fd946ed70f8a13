"""``-a checksums=…``: what somebody has written by ``sha256sum``, joined to the rows by name."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scrapy.settings import Settings

from fetcher.errors import InvalidListError, InvalidRowError
from fetcher.lists import SumsIndex, open_sums
from fetcher.rules.sums import sums_line
from fetcher.spiders.assignment import prepare
from tests.crawl import PROJECT, run_crawl, run_scrapy, start_crawl, wait_for
from tests.servers.content import Content
from tests.servers.origin import Origin
from tests.servers.resource import Resource
from tests.test_fetch import names_in

FILE = Content(1000, seed=1)
SHA256, MD5, SHA1 = (FILE.digest(algorithm) for algorithm in ("sha256", "md5", "sha1"))
WRONG = "0" * 64
SECRET = "S3CRET"


def index(tmp_path: Path, content: str | bytes, name: str = "SUMS") -> SumsIndex:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    sums = SumsIndex(str(path))
    with open_sums(str(path)) as stream:
        sums.read(stream)
    return sums


def found(sums: SumsIndex, name: str) -> list[tuple[str, int]]:
    return [(listed.checksum[:8], listed.line) for listed in sums.find(name)]


# --- the file -------------------------------------------------------------------------------------


def test_lines_of_all_forms_in_one_file(tmp_path: Path) -> None:
    content = (
        "\ufeff# made by many programs\n\n"
        f"{SHA256}  a\r\n{SHA256.upper()} *./b\nSHA256 (c) = {SHA256}\nMD5 (d)= {MD5}\n"
        f"\\{SHA1}  e\\nf\n"
    )
    for data in (content.encode(), gzip.compress(content.encode())):
        sums = index(tmp_path, data)
        assert [found(sums, name) for name in ("a", "b", "c", "d", "e\nf")] == [
            [(f"sha256:{SHA256}"[:8], 3)],
            [(f"sha256:{SHA256}"[:8], 4)],
            [(f"sha256:{SHA256}"[:8], 5)],
            [(f"md5:{MD5}"[:8], 6)],
            [(f"sha1:{SHA1}"[:8], 7)],
        ]
        assert (sums.bad_lines, sums.leftovers()) == ("", [])


def test_of_several_algorithms_the_strongest_comes_first(tmp_path: Path) -> None:
    sums = index(tmp_path, f"{MD5}  a\n{SHA256}  a\n{SHA1}  a\n{MD5}  ./a\n")
    assert [listed.checksum for listed in sums.find("a")] == [
        f"sha256:{SHA256}",
        f"sha1:{SHA1}",
        f"md5:{MD5}",
    ]


@pytest.mark.parametrize("other", [f"{WRONG}  ./a", f"SHA256 (a) = {WRONG}"])
def test_two_digests_of_one_name_contradict_each_other(tmp_path: Path, other: str) -> None:
    sums = index(tmp_path, f"{SHA256}  a\n{MD5}  a\n{other}\n{SHA256}  b\n")
    with pytest.raises(InvalidRowError) as caught:
        sums.find("a")
    for words in (SHA256, WRONG, "line 1", "line 3", "SUMS"):
        assert words in caught.value.message
    assert found(sums, "b")
    assert sums.leftovers() == []


@pytest.mark.parametrize(
    ("paths", "name", "line"),
    [
        (["a/b.tar", "b.tar"], "b.tar", 2),
        (["a/b.tar"], "b.tar", 1),
        (["b.tar"], "a/b.tar", 1),
        (["x/a/b.tar", "x/c/b.tar"], "a/b.tar", 1),
        (["/data/a/b.tar"], "a/b.tar", 1),
        # Neither says which of the two, or that of another folder.
        (["a/b.tar", "c/b.tar"], "b.tar", None),
        (["a/b.tar"], "c/b.tar", None),
        (["ab.tar"], "b.tar", None),
        (["b.tar"], "ab.tar", None),
        (["b.tar.gz"], "b.tar", None),
    ],
)
def test_paths_match_whole_or_by_their_end_where_that_is_unique(
    tmp_path: Path, paths: list[str], name: str, line: int | None
) -> None:
    sums = index(tmp_path, "".join(sums_line(path, SHA256) for path in paths))
    assert [listed.line for listed in sums.find(name)] == ([] if line is None else [line])


def test_an_entry_is_for_one_file(tmp_path: Path) -> None:
    sums = index(tmp_path, f"{SHA256}  b.tar\n{SHA256}  c.tar\n")
    assert found(sums, "train/b.tar")
    assert found(sums, "train/b.tar")
    assert not found(sums, "val/b.tar")
    (sentence,) = (each for each in sums.leftovers() if "b.tar" in each)
    assert "fits several files" in sentence

    # That of the very name is nobody else's, which needs no words.
    assert found(sums, "c.tar")
    assert not found(sums, "val/c.tar")
    assert len(sums.leftovers()) == 1


def test_what_is_left_over_is_told_in_one_sentence(tmp_path: Path) -> None:
    names = ["b", "a", "\x1b[31m", f"https://me:{SECRET}@h/x", *"defghi"]
    sums = index(tmp_path, "".join(sums_line(name, SHA256) for name in names))
    sums.find("a")
    assert sums.leftovers() == [
        "9 of 10 entries of SUMS match no file of the list: b, ?[31m, https://h/x, d, e, …"
    ]


def test_lines_that_are_none_are_counted(tmp_path: Path) -> None:
    content = (
        b"-----BEGIN PGP SIGNED MESSAGE-----\n\n" + f"{SHA256}  a\n".encode() + b"\xff  b\n"
        b"d41d8cd98f00b204e9800998ecf8427  short\n" + b"x" * (2 << 20) + b"\n"
    )
    sums = index(tmp_path, content + f"{SHA256}  c\n".encode())
    assert sums.bad_lines == (
        "4 lines of SUMS without a checksum and a name, the first of them line 1: passed over"
    )
    assert (found(sums, "a")[0][1], found(sums, "c")[0][1]) == (3, 7)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no line of a checksum and a name"),
        (b"# nothing\nname url\n", "has no line of a checksum and a name"),
        (bytes(range(256)), "has no line of a checksum and a name"),
        (gzip.compress(f"{SHA256}  a\n".encode(), mtime=0)[:30], "cut short"),
        (b"<!DOCTYPE html>\n" + SHA256.encode() + b"  a\n", "is a web page"),
    ],
)
def test_what_holds_no_checksums(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(InvalidListError, match=words) as caught:
        index(tmp_path, content)
    assert "file of checksums" in caught.value.message
    assert "\n" not in caught.value.message


def test_many_entries_cost_no_more_memory_than_ten(tmp_path: Path) -> None:
    path = tmp_path / "SUMS"
    with path.open("w") as file:
        for number in range(100_000):
            file.write(f"{number:064x}  folder/{number}.tar\n")
    script = (
        "import sys\n"
        "from fetcher.lists import SumsIndex, open_sums\n"
        "from tests.memory import high_water_mark as peak\n"
        "before = peak()\n"
        "assert before\n"
        "sums = SumsIndex(sys.argv[1])\n"
        "sums.read(open_sums(sys.argv[1]))\n"
        "found = sum(len(sums.find(f'{n}.tar')) for n in range(0, 100_000, 20))\n"
        "print(found, peak() - before, sums.leftovers()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        cwd=PROJECT,
        check=True,
        text=True,
    )
    count, growth, *words = done.stdout.split()
    assert (int(count), words[0]) == (5_000, "95000")
    assert int(growth) < 16 << 20


# --- the crawl ------------------------------------------------------------------------------------


def test_what_becomes_of_rows_and_entries(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/f", FILE)
    named = {"Content-Disposition": 'attachment; filename="served.bin"'}
    listed = tmp_path / "l.tsv"
    lines = [
        "name\turl\tchecksum",
        f"right.bin\t{url}\t",
        f"folder/deep.bin\t{url}\t",
        f"wrong.bin\t{url}\t",
        f"both.bin\t{url}\tmd5:{MD5}",
        f"agreed.bin\t{url}\tsha256:{SHA256}",
        f"contradicted.bin\t{url}\tsha256:{WRONG}",
        f"twice.bin\t{url}\t",
        f"none.bin\t{url}\t",
        "bad.bin\tgopher://h/x\t",
        f"\t{origin.add('/asked.bin', Resource(FILE, headers=named))}\t",
    ]
    listed.write_text("\n".join(lines) + "\n")
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(
        f"{SHA256}  right.bin\n{SHA256} *./folder/deep.bin\n{WRONG}  wrong.bin\n"
        f"SHA256 (both.bin) = {SHA256}\n{SHA256}  agreed.bin\n{SHA256}  contradicted.bin\n"
        f"{SHA256}  twice.bin\n{WRONG}  twice.bin\n{SHA256}  bad.bin\n{SHA256}  asked.bin\n"
        f"{SHA256}  nobody.bin\nnonsense\n"
    )
    out = tmp_path / "out"
    arguments = {"checksums": str(sums)}

    result = run_crawl(out, urls=listed, arguments=arguments)

    assert result.returncode == 1
    rows = result.by_name
    for name in ("right.bin", "folder/deep.bin", "served.bin"):
        assert rows[name]["verified_by"] == ["size", "etag", "sha256"], name
    assert rows["both.bin"]["verified_by"] == ["size", "etag", "md5", "sha256"]
    assert rows["agreed.bin"]["verified_by"] == ["size", "etag", "sha256"]
    assert rows["none.bin"]["verified_by"] == ["size", "etag"]
    told = {name: row["error"]["message"] for name, row in rows.items() if row["error"]}
    assert set(told) == {"wrong.bin", "contradicted.bin", "twice.bin", "bad.bin"}
    for words in (SHA256, f"but the file of checksums says sha256:{WRONG}"):
        assert words in told["wrong.bin"]
    for words in (SHA256, WRONG, "line 7 of the list", "line 6 of SHA256SUMS"):
        assert words in told["contradicted.bin"]
    assert rows["contradicted.bin"]["error"]["line"] == 7
    for words in (SHA256, WRONG, "in line 7", "in line 8"):
        assert words in told["twice.bin"]
    (bad_lines,) = (line for line in result.stderr.splitlines() if "passed over" in line)
    assert "WARNING: 1 line of SHA256SUMS without" in bad_lines
    assert "line 12" in bad_lines
    (left,) = (line for line in result.stderr.splitlines() if "match no file" in line)
    assert left.endswith(
        "WARNING: 1 of 10 entries of SHA256SUMS match no file of the list: nobody.bin"
    )
    # Both that were compared with something: the wrong one came twice.
    assert len(origin.requests_for("/f")) == 7

    # What it says by then is asked of files that are there, too.
    sums.write_text(f"{WRONG}  right.bin\n{SHA256}  folder/deep.bin\n")
    again = run_crawl(out, urls=listed, arguments=arguments)
    assert again.by_name["right.bin"]["error"]["type"] == "ChecksumMismatchError"
    assert again.by_name["folder/deep.bin"]["status"] == "unchanged"
    # And the list to be given back knows it.
    assert f"sha256:{WRONG}" in (out / "retry.tsv").read_text()


def test_it_may_lie_on_a_server_and_shards_have_no_entries_of_others_left(
    origin: Origin, tmp_path: Path
) -> None:
    names = [f"{number}.bin" for number in range(8)]
    listed = tmp_path / "l.tsv"
    listed.write_text("".join(f"{name}\t{origin.add('/f', FILE)}\n" for name in names))
    packed = gzip.compress("".join(sums_line(name, SHA256) for name in names).encode())
    url = origin.add("/md5/SHA256SUMS", packed)
    out = tmp_path / "out"
    arguments = {"checksums": f"{url}?sig={SECRET}", "shard": "1/2"}
    settings = {"FETCHER_CHECKSUM": "require"}

    first = run_crawl(out, urls=listed, arguments=arguments, settings=settings)
    again = run_crawl(out, urls=listed, arguments=arguments, settings=settings)
    missing = run_crawl(
        tmp_path / "no",
        urls=listed,
        arguments={"checksums": f"{origin.url('/none')}?sig={SECRET}"},
    )

    assert first.returncode == 0, first.stderr
    assert 0 < len(names_in(out) & set(names)) < len(names)
    assert "match no file" not in first.stderr
    assert again.returncode == 0
    assert [record.status for record in origin.requests_for("/md5/SHA256SUMS")] == [206, 304]
    assert missing.returncode == 2
    (line,) = missing.stderr.splitlines()
    assert line.startswith("fetcher: the file of checksums cannot be fetched: http://")
    assert names_in(tmp_path / "no") == set()
    assert SECRET not in first.stderr + again.stderr + missing.stderr


def test_rows_without_an_entry_fail_where_one_is_required(origin: Origin, tmp_path: Path) -> None:
    """By ``scrapy download``."""
    sums = tmp_path / "sums"
    sums.write_text(f"{SHA256}  a.bin\n")
    out = tmp_path / "out"
    urls = [origin.add(f"/{name}", FILE) for name in ("a.bin", "b.bin")]

    result = run_scrapy(
        *("download", *urls, "--dir", str(out), "--checksums", str(sums)),
        *("-s", "FETCHER_CHECKSUM=require"),
        out=out,
    )

    assert result.returncode == 1
    assert result.by_name["a.bin"]["status"] == "ok"
    assert result.by_name["b.bin"]["error"]["type"] == "NoChecksumError"


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("missing", "does not exist; check the path"),
        (".", "is a folder"),
        ("page.html", "is a web page"),
        ("file:///etc/passwd", "does not start with one of http://"),
        (f"https://me:{SECRET}@/", "names no host"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_started(
    tmp_path: Path, location: str, words: str
) -> None:
    (tmp_path / "page.html").write_text("<html></html>")
    given = location if ":" in location else str(tmp_path / location)
    arguments = {"url": "http://h/a", "checksums": given, "out": str(tmp_path / "out")}

    with pytest.raises(InvalidListError, match=words) as caught:
        prepare(arguments, Settings())

    assert caught.value.message.startswith("the file of checksums ")
    assert SECRET not in caught.value.message
    assert not (tmp_path / "out").exists()


def test_what_holds_no_checksum_is_wrong_usage(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    url = origin.add("/a.bin", FILE)

    result = run_crawl(tmp_path / "out", url=url, arguments={"checksums": str(tmp_path / "empty")})

    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "has no line of a checksum and a name" in line
    assert not origin.requests


def test_standard_input_is_one_of_both_and_a_silent_one_holds_nothing_up(
    origin: Origin, tmp_path: Path
) -> None:
    url = origin.add("/a.bin", FILE)
    both = run_crawl(tmp_path / "both", arguments={"urls": "-", "checksums": "-"}, stdin=url)
    given = run_crawl(
        tmp_path / "given", url=url, arguments={"checksums": "-"}, stdin=f"{SHA256}  a.bin\n"
    )
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    os.write(held, f"{SHA256}  a.bin\n".encode())
    try:
        out = tmp_path / "out"
        with start_crawl(out, url=url, arguments={"checksums": str(pipe)}) as crawl:
            wait_for(lambda: [*(out / ".fetcher").glob("report.jsonl.*")])
            began = time.monotonic()
            crawl.send_signal(signal.SIGINT)
            silent = crawl.wait(timeout=10)
            assert time.monotonic() - began < 2
    finally:
        os.close(held)

    assert both.returncode == 2
    assert "standard input is either the list or the checksums" in both.stderr
    assert given.report[0]["verified_by"] == ["size", "etag", "sha256"]
    assert silent.returncode == 1
    assert "Traceback" not in silent.stderr
    assert len(origin.requests) == 1
    assert hashlib.sha256((tmp_path / "given/a.bin").read_bytes()).hexdigest() == SHA256
