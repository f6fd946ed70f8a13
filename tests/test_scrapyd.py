"""Scrapyd itself, twice: what is deployed, scheduled, cancelled, followed and shared out."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import not_here
from tests.crawl import (
    PROJECT,
    Crawl,
    CrawlResult,
    clean_environment,
    read_report,
    wait_for,
    write_list,
)
from tests.servers.content import Content
from tests.servers.faults import Status
from tests.servers.origin import Origin
from tests.servers.resource import Resource
from tests.servers.scrapyd import Scrapyd

MIB = 1 << 20
SECRET = "s3cret"
"""The second node's password."""


@dataclass(frozen=True)
class Site:
    """A clone of the project, and two nodes that it is deployed to; the second wants a login."""

    clone: Path
    one: Scrapyd
    two: Scrapyd

    @property
    def second(self) -> str:
        """The second node's address."""
        return f"http://me:{SECRET}@127.0.0.1:{self.two.port}"

    @property
    def env(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return clean_environment({"HOME": str(self.clone.parent), "PATH": path})

    def start(self, *args: str) -> Crawl:
        """``scrapy schedule`` in the clone."""
        command = ["env", "-C", str(self.clone), sys.executable, "-m", "scrapy", "schedule", *args]
        return Crawl(command, self.clone, self.env, "")

    def schedule(self, *args: str) -> CrawlResult:
        with self.start(*args) as running:
            return running.wait()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if shutil.which("git") is None:
        not_here("git is not installed")
    base = tmp_path_factory.mktemp("site")
    clone = base / "clone"
    ignored = shutil.ignore_patterns(".*_cache", "__pycache__", ".git", ".hypothesis", ".venv")
    shutil.copytree(PROJECT, clone, ignore=ignored)
    with ExitStack() as stack:
        one = stack.enter_context(Scrapyd(base / "one"))
        config = ConfigParser()
        config.read(clone / "scrapy.cfg")
        config["deploy"]["url"] = f"{one.url}/"
        with (clone / "scrapy.cfg").open("w") as file:
            config.write(file)
        git(clone, "init", "--quiet")
        git(clone, "add", "--all")
        before = git(clone, "status", "--porcelain")
        two = Scrapyd(base / "two", {"username": "me", "password": SECRET})
        site = Site(clone, one, two)
        one.wait_until_up()
        program = Path(sys.executable).with_name("scrapyd-deploy")
        told = subprocess.run(
            [program],
            cwd=clone,
            env=site.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert '"spiders": 1' in told.stdout, told.stderr
        # Who deploys has nothing to commit or to throw away.
        assert git(clone, "status", "--porcelain") == before
        two.take_projects(one)
        stack.enter_context(two)
        two.wait_until_up()
        yield site


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


# --- one node ---------------------------------------------------------------------------------


def test_the_egg_holds_the_program_and_nothing_else(site: Site) -> None:
    (egg,) = (site.one.folder / "eggs/fetcher").glob("*.egg")
    with zipfile.ZipFile(egg) as archive:
        names = {name for name in archive.namelist() if not name.endswith(".pyc")}
    program = {
        path.relative_to(PROJECT).as_posix()
        for path in (PROJECT / "fetcher").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if not name.startswith("EGG-INFO/")} == program


def test_a_job_is_scheduled_by_arguments_and_settings(
    site: Site, origin: Origin, tmp_path: Path
) -> None:
    content = Content(MIB, seed=1)
    row = f"ä.bin\t{origin.add('/a.bin', content)}\n"
    address = origin.add("/lists/a.tsv", f"name\turl\n{row}".encode())
    out = tmp_path / "out"

    settings = ("FETCHER_RECORD_CHECKSUM=sha1", "USER_AGENT=scheduled", "LOG_LEVEL=ERROR")
    job = site.one.schedule(*(("setting", each) for each in settings), urls=address, out=str(out))
    site.one.wait_until("finished", job)

    assert content.first_difference(out / "ä.bin") is None
    assert {request.headers["user-agent"] for request in origin.requests} == {"scheduled"}
    (line,) = read_report(out)
    assert (line["status"], line["checksum"]) == ("ok", f"sha1:{content.digest('sha1')}")
    assert site.one.items(job) == (out / "report.jsonl").read_bytes()
    assert site.one.log(job).endswith("exit status 0\n")
    assert site.one.jobs("finished")[job]["items_url"]


def test_what_is_wrong_with_a_job_is_a_line_of_its_log(
    site: Site, origin: Origin, tmp_path: Path
) -> None:
    there = str(write_list(tmp_path / "a.tsv", [("a", origin.add("/a", b"a"))]))
    wrong = {
        "give a list by -a urls=FILE": {},
        "relative paths count from Scrapyd's folder": {"urls": "lists/a.tsv"},
        "the shard '3/2' is none": {"urls": there, "shard": "3/2"},
        f"{origin.url('/gone.tsv')} was answered with status 404": {
            "urls": origin.url("/gone.tsv")
        },
    }
    out = str(tmp_path / "out")
    jobs = {site.one.schedule(out=out, **given): message for message, given in wrong.items()}
    wait_for(lambda: set(jobs) <= set(site.one.jobs("finished")))
    for job, message in jobs.items():
        error, last = site.one.log(job).splitlines()
        assert message in error
        assert " ERROR: " in error
        assert last.endswith("exit status 2")


def test_a_job_that_is_cancelled_is_gone_at_once_and_goes_on_when_it_is_scheduled_again(
    site: Site, origin: Origin, tmp_path: Path
) -> None:
    content = Content(3 * MIB, seed=2)
    url = origin.add("/slow.bin", Resource(content, rate=MIB // 8))
    given = (str(write_list(tmp_path / "slow.tsv", [("slow.bin", url)])), "-a", f"out={tmp_path}")

    first = site.schedule(*given)
    job = site.one.wait_for_one("running")
    assert (first.returncode, first.stdout.split()[1]) == (0, job["id"])
    part = tmp_path / "slow.bin.part"
    wait_for(lambda: part.exists() and part.stat().st_size)

    again = site.schedule(*given)
    assert (again.returncode, again.stderr) == (0, "")
    skipped = "skipped, the job before is still running"
    assert again.stdout == f"{skipped}: {job['id']} at {site.one.url}\n"

    site.one.cancel(job["id"])
    wait_for(lambda: not Path(f"/proc/{job['pid']}").exists(), 2, "the end of a cancelled job")
    assert part.exists()
    assert part.with_name("slow.bin.part.json").exists()
    site.one.wait_until("finished", job["id"])

    origin.replace("/slow.bin", Resource(content))
    last = site.schedule("--wait", *given)
    assert (last.returncode, last.stderr) == (0, "")
    assert last.stdout.endswith(": 1 file, 1 ok\n")
    assert content.first_difference(tmp_path / "slow.bin") is None
    (line,) = read_report(tmp_path)
    assert line["resumed"] > 0


def test_a_job_that_is_killed_is_told_of(site: Site, origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/slow.bin", Resource(Content(3 * MIB), rate=MIB // 8))
    with site.start("--wait", "-a", f"url={url}", "-a", f"out={tmp_path}") as waiting:
        job = site.one.wait_for_one("running")
        wait_for(lambda: origin.active("/slow.bin"))
        os.kill(job["pid"], signal.SIGKILL)
        result = waiting.wait()
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert f"{job['id']} at {site.one.url} ended without a word, killed or never begun" in line


def test_a_job_that_is_called_wrongly_ends_the_command_like_the_crawl(
    site: Site, tmp_path: Path
) -> None:
    result = site.schedule("--wait", str(tmp_path / "none.tsv"))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"the list '{tmp_path}/none.tsv' does not exist" in result.stderr


# --- several nodes ----------------------------------------------------------------------------


def test_nodes_share_a_list_and_their_reports_become_one(
    site: Site, origin: Origin, tmp_path: Path
) -> None:
    contents = {f"{number}.bin": Content(100_000, seed=number) for number in range(8)}
    rows = [(name, origin.add(f"/{name}", content)) for name, content in contents.items()]
    rows.append(("gone.bin", origin.add("/gone.bin", Status(404))))
    listed, out = write_list(tmp_path / "some list.tsv", rows), tmp_path / "out"
    report = tmp_path / "report.jsonl"

    nodes = ("--node", site.one.url, "--node", site.second)
    result = site.schedule(
        "--wait", "--report", str(report), *nodes, str(listed), "-a", f"out={out}"
    )

    assert (result.returncode, result.stderr) == (1, "")
    told = result.stdout.splitlines()
    for number, node, line in ((1, site.one, told[0]), (2, site.two, told[1])):
        assert re.fullmatch(
            rf"scheduled some_list-\w{{8}}-\d{{8}}-\d{{6}}-\d{{3}}-{number}-of-2 at {node.url}",
            line,
        )
    assert sum(line.startswith("gone.bin: http://") for line in told) == 1
    assert told[-1] == "in all: 9 files, 8 ok, 1 failed"
    assert SECRET not in result.stdout
    for name, content in contents.items():
        assert content.first_difference(out / name) is None
    shards = [read_report(out, f"report-{number}-of-2.jsonl") for number in (1, 2)]
    assert all(shards)
    lines = [json.loads(line) for line in report.read_text("utf-8").splitlines()]
    assert sorted(map(str, lines)) == sorted(map(str, shards[0] + shards[1]))
    assert not list(tmp_path.glob(".report*"))


def test_a_node_that_dies_is_given_up_and_the_others_are_followed(
    site: Site, origin: Origin, tmp_path: Path
) -> None:
    names = [f"{number}.bin" for number in range(8)]
    slow = Resource(Content(3 * MIB), rate=MIB // 8)
    rows = [(name, origin.add(f"/{name}", slow)) for name in names]
    listed = write_list(tmp_path / "list.tsv", rows)
    third = Scrapyd(site.one.folder.parent / "three")
    third.take_projects(site.one)
    with third:
        third.wait_until_up()
        # Asked for its spiders the first time, it takes as long as a crawl to start.
        third.get("listspiders", project="fetcher")
        nodes = ("--node", site.one.url, "--node", third.url)
        arguments = ("--wait", "--timeout", "1", *nodes, str(listed), "-a", f"out={tmp_path}/out")
        with site.start(*arguments) as waiting:
            third.wait_for_one("running")
            wait_for(lambda: all(origin.active(f"/{name}") for name in names))
            third.stop()
            site.one.cancel(site.one.wait_for_one("running")["id"])
            result = waiting.wait(20)
    assert result.returncode == 1
    assert ".bin: stopped before the file was whole" in result.stdout
    assert re.search(r"-1-of-2: (\d) files, \1 failed$", result.stdout, re.MULTILINE)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"fetcher: the Scrapyd at {third.url} cannot be reached: ")
    assert "-2-of-2 may go on" in line


def test_a_node_that_is_stuck_or_refuses_is_told_of_in_one_line(site: Site, tmp_path: Path) -> None:
    given = ("/data/a.tsv", "-a", f"out={tmp_path}")
    refused = site.schedule("--project", "other", *given)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "answers with an error: project 'other' not found" in refused.stderr
    login = site.schedule("--node", site.second.replace(SECRET, "wr0ng"), *given)
    assert login.returncode == 1
    assert "wants another login" in login.stderr
    os.kill(site.two.process.pid, signal.SIGSTOP)
    try:
        stuck = site.schedule("--node", site.second, "--timeout", "0.5", *given)
    finally:
        os.kill(site.two.process.pid, signal.SIGCONT)
    assert (stuck.returncode, stuck.stdout) == (1, "")
    assert stuck.stderr.endswith("cannot be reached: nothing came within 0.5 s\n")
    for result in (refused, login, stuck):
        assert result.stderr.count("\n") == 1
        assert not {"wr0ng", SECRET} & set(re.split(r"\W", result.stderr))


# --- what the documentation says ----------------------------------------------------------------


def test_the_commands_of_the_readme_and_of_the_crontab(
    site: Site, origin: Origin, tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        not_here("curl is not installed")
    write_list(tmp_path / "sa1b.tsv", [("a.bin", origin.add("/a.bin", Content(100_000)))])
    readme = (PROJECT / "README.md").read_text("utf-8")
    section = readme.partition("\n### Scheduled: Scrapyd\n")[2].partition("\n### ")[0]
    crontab = (PROJECT / "inputs/scrapyd/crontab").read_text("utf-8")
    first, more, share = re.findall(r"^```bash\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    (nightly,) = re.findall(r"^0 3 \* \* \*  (.*)", crontab, re.MULTILINE)
    # All of this file has been deployed so.
    assert first.startswith("scrapyd-deploy\n")
    first = first.removeprefix("scrapyd-deploy\n")
    here = {
        "http://localhost:6800": site.one.url,
        "http://a:6800": site.one.url,
        "http://b:6800": site.second,
        "/srv/fetcher": str(site.clone),
        "/data/lists": str(tmp_path),
        "/srv/lists": str(tmp_path),
        "/data/": f"{tmp_path}/",
        "/srv/": f"{tmp_path}/",
    }
    for command in (first, more, nightly, share):
        if command == share:
            wait_for(site.one.is_idle)
        done = subprocess.run(
            ["bash", "-e", "-c", replaced(command, here)],
            cwd=site.clone,
            env=site.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, '"status": "error"' in done.stdout) == (0, False), done
    assert read_report(tmp_path / "sa1b")
    assert (site.clone / "sa1b.jsonl").read_text("utf-8").count('"unchanged"') == 1


def replaced(text: str, by: Mapping[str, str]) -> str:
    for old, new in by.items():
        text = text.replace(old, new)
    return text
