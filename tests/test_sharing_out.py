"""What several processes have in common: limits that add up, and one list for all."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy.settings import Settings

from fetcher.errors import DiskError, InvalidListError, InvalidSettingError
from fetcher.rules.shares import shares
from fetcher.workers.limits import Limits
from fetcher.workers.spool import Spool, reads_once
from fetcher.workers.team import Team

HOST = "CONCURRENT_REQUESTS_PER_DOMAIN"


def settings_with(**values: Any) -> Settings:
    settings = Settings()
    settings.setmodule("fetcher.settings", priority="project")
    settings.setdict(values, priority="cmdline")
    return settings


@given(st.integers(0, 10**12), st.integers(1, 100))
def test_shares_add_up_and_are_even(total: int, count: int) -> None:
    parts = shares(total, count)
    assert (len(parts), sum(parts)) == (count, total)
    assert max(parts) - min(parts) <= 1


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.integers(1, 10**9))
def test_limits_add_up_to_those_of_one(files: int, hosts: int, splits: int, rate: int) -> None:
    given = {
        "FETCHER_MAX_PARALLEL": files,
        HOST: hosts,
        "FETCHER_MAX_SPLITS": splits,
        "FETCHER_RATE_LIMIT": rate,
    }
    limits = Limits(settings_with(**given))
    count, notice = limits.fitting(50)
    assert count == min(files, hosts)
    assert (notice is None) == (count == 50)
    each = limits.of_each(count)
    for name in ("FETCHER_MAX_PARALLEL", HOST):
        assert sum(own[name] for own in each) == given[name]
        assert min(own[name] for own in each) >= 1
    if rate >= count:
        assert sum(own["FETCHER_RATE_LIMIT"] for own in each) == rate
    for own in each:
        assert own["FETCHER_MAX_SPLITS"] == min(splits, own[HOST])


def test_pauses_and_slots_are_shared_out_too() -> None:
    slots = {"h": {"concurrency": 4, "delay": 1.5, "jitter": 0}, "g": {"delay": 2}}
    limits = Limits(
        settings_with(DOWNLOAD_DELAY="0.5", DOWNLOAD_SLOTS=slots, FETCHER_RATE_LIMIT="1.5K")
    )
    assert limits.fitting(9)[0] == 4
    first, second, third = limits.of_each(3)
    assert [own["FETCHER_RATE_LIMIT"] for own in (first, second, third)] == [512] * 3
    assert first["DOWNLOAD_DELAY"] == 1.5
    assert first["DOWNLOAD_SLOTS"] == {
        "h": {"concurrency": 2, "delay": 4.5, "jitter": 0},
        "g": {"delay": 6},
    }
    assert second["DOWNLOAD_SLOTS"]["h"]["concurrency"] == 1
    assert "FETCHER_RATE_LIMIT" not in Limits(settings_with()).of_each(2)[0]


@pytest.mark.parametrize("name", ["FETCHER_RATE_LIMIT", "DOWNLOAD_DELAY", HOST])
def test_a_limit_that_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(InvalidSettingError, match=f"{name}.*much"):
        Limits(settings_with(**{name: "much"}))


def test_what_reads_once(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").touch()
    os.mkfifo(tmp_path / "pipe")
    for location in ("-", tmp_path / "pipe", "/dev/stdin", "/dev/fd/0", "/dev/null"):
        assert reads_once(str(location)), location
    for location in (tmp_path, tmp_path / "list.tsv", tmp_path / "no", "", "https://h/l", "a\0b"):
        assert not reads_once(str(location)), location


def test_a_spool_has_no_name_and_is_read_by_each_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.tsv").write_bytes(b"http://h/a\n" * 300_000)
    spools = tmp_path / "spools"
    spools.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spools))
    with Spool(str(tmp_path / "list.tsv"), 2) as spool:
        assert [*spools.iterdir()] == []
        for descriptor in spool.descriptors:
            found = os.fstat(descriptor)
            assert (found.st_mode & 0o777, found.st_nlink) == (0o600, 0)
            assert not os.get_inheritable(descriptor)
            with os.fdopen(os.dup(descriptor), "rb") as file:
                assert file.read() == b"http://h/a\n" * 300_000
        closed = [*spool.descriptors]
    for descriptor in closed:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_list_that_cannot_be_kept_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()  # What other tests have left to it.
    before = descriptors()
    with pytest.raises(InvalidListError, match="cannot be read: No such file"):
        Spool(str(tmp_path / "no"), 2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(DiskError, match=r"cannot be kept in .*nowhere.*: No such file.*TMPDIR"):
        Spool("/dev/null", 2)
    assert descriptors() == before


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_what_the_processes_are_given(tmp_path: Path) -> None:
    """What stands on the command line, each a share, and a job folder of its own."""
    settings = settings_with(JOBDIR=str(tmp_path / "job"), USER_AGENT="me")
    settings.set("BOT_NAME", "project", priority="project")
    out = str(tmp_path / "out")
    rows = [{"url": "http://h/x"}, {"url": "gopher://h/x"}]
    team = Team({"arguments": {"out": out}, "rows": rows, "headers": [("X", "y")]}, settings, 2)
    first, second = team.jobs
    assert second["arguments"] == {"out": out, "shard": "2/2"}
    assert (second["rows"], second["headers"]) == (rows, [("X", "y")])
    assert second["settings"]["USER_AGENT"] == "me"
    assert "BOT_NAME" not in second["settings"]
    folders = [job["settings"]["JOBDIR"] for job in (first, second)]
    assert folders == [str(tmp_path / "job" / part) for part in ("1-of-2", "2-of-2")]
    assert second["settings"]["FEEDS"] == {}
