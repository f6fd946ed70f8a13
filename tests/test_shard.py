"""Shards of a list: nothing twice, nothing left out, the same names as without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.rules.shards import Shard
from tests.crawl import read_report, run_crawl
from tests.servers.origin import Origin


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "-1/2", "1/0", "a/b", "1/2/3", "1.0/2", "\u0661/2", "1 /2"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="give i/n"):
        Shard.parse(text)


@given(st.text(), st.integers(1, 50))
def test_each_name_is_of_one_shard(name: str, count: int) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    takers = [number for number in range(1, count + 1) if Shard(number, count).takes(name)]
    assert len(takers) == 1


@given(st.integers(0, 10**9), st.integers(1, 50))
def test_each_bad_line_is_of_one_shard(line: int, count: int) -> None:
    assert sum(Shard(number, count).takes_line(line) for number in range(1, count + 1)) == 1


def test_shards_are_those_of_yesterday_and_of_other_machines() -> None:
    """Were these to change, machines of two versions would fetch files twice, or not at all."""
    names = ["sa_000000.tar", "sa_000001.tar", "a/b.tar", "\u00fcber.bin"]
    found = [next(n for n in range(1, 8) if Shard(n, 7).takes(name)) for name in names]
    assert found == [4, 1, 6, 7]


def test_shards_take_all_files_once_under_the_names_of_a_whole_run(
    origin: Origin, tmp_path: Path
) -> None:
    lines = ["name\turl"]
    for number in range(12):
        origin.add(f"/{number}", f"{number}".encode())
        # Three of a name: they get numbers.
        lines.append(f"{number // 3}.bin\t{origin.url(f'/{number}')}")
    lines += ["bad.bin\tgopher://h/x", "../up.bin\t" + origin.url("/0"), lines[1]]
    urls = tmp_path / "list.tsv"
    urls.write_text("\n".join(lines) + "\n")
    out, whole = tmp_path / "out", tmp_path / "whole"

    rows = []
    for number in (1, 2):
        crawl = run_crawl(out, urls=urls, arguments={"shard": f"{number}/2"})
        report = read_report(out, f"report-{number}-of-2.jsonl")
        failed = [row for row in report if row["status"] == "failed"]
        assert crawl.returncode == (1 if failed else 0), crawl.stderr
        rows.append(report)
    assert run_crawl(whole, urls=urls).returncode == 1

    assert all(len(report) > 2 for report in rows)
    merged, expected = rows[0] + rows[1], read_report(whole)
    assert len(merged) == len(expected) == 14
    assert {row["name"]: what(row) for row in merged} == {
        row["name"]: what(row) for row in expected
    }
    assert not (out / "report.jsonl").exists()
    for row in expected:
        if row["status"] == "ok":
            assert (out / row["path"]).read_bytes() == (whole / row["path"]).read_bytes()


def what(row: dict[str, object]) -> str:
    return json.dumps([row["url"], row["checksum"], row["error"]])


@pytest.mark.parametrize("shard", ["0/2", "3/2", "two"])
def test_a_wrong_shard_is_wrong_usage(tmp_path: Path, shard: str) -> None:
    crawl = run_crawl(tmp_path / "out", url="http://127.0.0.1:9/x", arguments={"shard": shard})

    assert crawl.returncode == 2
    assert crawl.stderr.startswith("fetcher: the shard ")
    assert len(crawl.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
