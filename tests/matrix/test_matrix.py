"""One crawl over all faults: it ends, every row is told of, and no file is wrong."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CertificateAuthority
from tests.crawl import CrawlResult, run_crawl
from tests.matrix import (
    breaks,
    change,
    content,
    disk,
    links,
    load,
    names,
    ranges,
    reruns,
    time,
)
from tests.matrix.cases import MIB, SETTINGS, Case, Outcome, Place, Row
from tests.servers.origin import Origin

FAMILIES = (
    ranges.family,
    breaks.family,
    time.family,
    change.family,
    reruns.family,
    load.family,
    links.family,
    names.family,
    content.family,
    disk.family,
)

CASES = [case for family in FAMILIES for case in family]

SECONDS = 60
"""That the whole crawl may take."""


@dataclass(frozen=True)
class Matrix:
    """The one crawl, and what it left."""

    result: CrawlResult
    rows: dict[str, Row]
    servers: dict[str, list[Origin]]
    before: set[str]
    """What stood in the folder before the crawl."""

    def report(self, case: Case) -> dict[str, object]:
        line = 2 + CASES.index(case)
        name = final_name(case, self.rows[case.id])
        told = [
            row
            for row in self.result.report
            if row["name"] == name or (row["error"] or {}).get("line") == line
        ]
        assert len(told) == 1, f"{case.id} is reported {len(told)} times"
        return told[0]


def final_name(case: Case, row: Row) -> str:
    return row.final or row.name or f"{case.id}.bin"


@pytest.fixture(scope="module")
def matrix(
    tmp_path_factory: pytest.TempPathFactory, certificate_authority: CertificateAuthority
) -> Iterator[Matrix]:
    folder = tmp_path_factory.mktemp("matrix")
    out = folder / "out"
    out.mkdir()
    servers: dict[str, list[Origin]] = {}
    with ExitStack() as stack:
        rows = {}
        for family in FAMILIES:
            origin = stack.enter_context(Origin())
            tls = stack.enter_context(Origin(certificate_authority.server_context()))
            started = servers[family.name] = [origin, tls]

            def alone(started: list[Origin] = started) -> Origin:
                started.append(stack.enter_context(Origin()))
                return started[-1]

            for case in family:
                place = Place(f"{case.id}.bin", f"/{case.key}", origin, tls, alone, stack, out)
                rows[case.id] = case.put(place)
        before = files_in(out)
        result = run_crawl(
            out,
            urls=write_matrix(folder / "list.csv", rows),
            settings=SETTINGS,
            env=certificate_authority.env,
            timeout=SECONDS,
        )
        yield Matrix(result, rows, servers, before)


def write_matrix(path: Path, rows: dict[str, Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "url", "size", "checksum"])
        for key, row in rows.items():
            name = f"{key}.bin" if row.name is None else row.name
            writer.writerow([name, row.url, row.size or "", row.checksum or ""])
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(matrix: Matrix, case: Case) -> None:
    row = matrix.rows[case.id]
    told = matrix.report(case)
    error = told["error"]
    final = matrix.result.out / final_name(case, row)
    if case.fails is None:
        assert error is None, error
        assert told["status"] == "ok"
        assert row.content is not None
        assert hashlib.sha256(final.read_bytes()).hexdigest() == row.content.sha256
        assert told["size"] == row.content.size
    else:
        assert told["status"] == "failed"
        assert isinstance(error, dict)
        types = (case.fails,) if isinstance(case.fails, str) else case.fails
        assert error["type"] in types, error
        assert is_a_sentence(error["message"]), error
        assert not final.is_file()
    if row.check is not None:
        asked = [
            record
            for origin in matrix.servers[case.family]
            for record in origin.requests
            if record.path == f"/{case.key}"
        ]
        row.check(Outcome(told, asked, final))


def is_a_sentence(message: str) -> bool:
    """One line that says enough and holds nothing that steers a terminal."""
    return len(message) > 20 and message.isprintable() and "Traceback" not in message


def test_every_row_is_told_of_once(matrix: Matrix) -> None:
    assert len(matrix.result.report) == len(CASES)


def test_the_crawl_as_a_whole(matrix: Matrix) -> None:
    result = matrix.result
    assert result.returncode == int(any(case.fails for case in CASES))
    assert "Traceback" not in result.stderr
    assert result.peak_rss < 250 * MIB


def test_nothing_else_stands_in_the_folder(matrix: Matrix) -> None:
    """A file under a final name is one that was reported as such."""
    out = matrix.result.out
    right = {final_name(case, matrix.rows[case.id]) for case in CASES if case.fails is None} | {
        "report.jsonl",
        "retry.tsv",
        "SHA256SUMS",
    }
    found = {name for name in files_in(out) if not name.endswith((".part", ".part.json"))}
    assert found - right - matrix.before == set()


def files_in(out: Path) -> set[str]:
    return {
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and ".fetcher" not in path.parts
    }
