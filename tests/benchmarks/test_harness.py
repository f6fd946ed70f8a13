"""The benchmarks run, and leave out whoever does not do the job."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from lxml import etree

from tests.benchmarks.cases import CASES
from tests.benchmarks.job import Job, Load
from tests.benchmarks.measure import UnfitError, paired, run, table
from tests.benchmarks.readme import tables, update
from tests.conftest import not_here
from tests.crawl import PROJECT

LOAD = Load(count=1, size=2000, parallel=1, splits=1)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    LOAD.put(tmp_path)
    return Job(LOAD, tmp_path / "out", tmp_path / "list.txt", ["http://h/x"])


def test_a_small_run() -> None:
    if shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") is None:
        not_here("nginx is not installed")
    command = [sys.executable, "-m", "tests.benchmarks", "tiny", "--smaller", "2000"]
    # Not in `tmp_path`, into which other users, as nginx runs for, cannot look.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        done = subprocess.run(
            [*command, "--rounds", "1", "--folder", folder],
            cwd=PROJECT,
            capture_output=True,
            text=True,
        )
        assert list(Path(folder).iterdir()) == []
    assert done.returncode == 0, done.stderr
    assert "| fetcher | " in done.stdout
    assert "| fetcher --processes 2 | " in done.stdout


def test_who_does_the_job_is_measured_and_who_does_not_is_left_out(
    job: Job, tmp_path: Path
) -> None:
    name = LOAD.names[0]
    right = job.contender("right", "cp", tmp_path / name, job.out)
    contenders = [
        right,
        job.contender("wrong", "cp", sys.executable, job.out / name),
        job.contender("idle", "true"),
        job.contender("failing", "false"),
        job.contender("slow", "sleep", "60"),
    ]
    results = paired(contenders, 2, tmp_path, limit=1)
    assert [len(runs) for runs in results.runs.values()] == [2]
    assert results.unfit == {
        "wrong": f"did not fetch {name} right",
        "idle": f"did not fetch {name} right",
        "failing": "ended with status 1",
        "slow": "not done after 1 s",
    }
    assert "| slow | not done after 1 s |" in table(results)


def test_what_is_begun_is_gone_on_with(job: Job, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(tmp_path / LOAD.names[0], begun)
    going_on = Job(LOAD, job.out, job.list, job.addresses, begun={"here": begun})
    run(going_on.contender("here", "true"), tmp_path, limit=5)
    with pytest.raises(UnfitError):
        run(going_on.contender("elsewhere", "true"), tmp_path, limit=5)


def test_the_readme_has_a_place_for_each_case(tmp_path: Path) -> None:
    readme, chart = tmp_path / "README.md", tmp_path / "chart.svg"
    shutil.copy(PROJECT / "README.md", readme)
    for name in CASES:
        update(readme, name, f"| fetcher | 1.50 | |\n| other {name} | 2.00 | |", chart)
    measured = dict(tables(readme.read_text("utf-8")))
    assert measured == {name: [("fetcher", 1.5), (f"other {name}", 2.0)] for name in CASES}
    drawn = [text for text in etree.fromstring(chart.read_bytes()).itertext() if text.strip()]
    assert drawn.count("1.50") == len(CASES)
    with pytest.raises(ValueError, match="no place"):
        update(readme, "nothing", "", chart)
