"""The large files of another Scrapy project: through its items, and as requests of its spiders."""

import re
import signal
from pathlib import Path

from fetcher.disk.journal import decode
from tests.crawl import PROJECT, wait_for
from tests.project import ITEMS, Project, by_link, page
from tests.servers.content import Content
from tests.servers.ftp import FTPServer
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource
from tests.servers.sftp import SFTPServer

MIB = 1 << 20
README = (PROJECT / "README.md").read_text("utf-8")


def safe_bytes(project: Project) -> int:
    """What the journals say is there."""
    journals = (project.files / "full").glob("*.part.json")
    ranges = [each for path in journals for each in decode(path.read_bytes()).ranges]
    return sum(end - start for start, end in ranges)


def test_two_files_of_a_page_through_a_kill_a_ctrl_c_and_to_the_end(
    origin: Origin, tmp_path: Path
) -> None:
    gate = Gate(after=2 * MIB)
    contents = {"/a.bin": Content(24 * MIB, 1), "/b.bin": Content(24 * MIB, 2)}
    for path, content in contents.items():
        origin.add(path, Resource(content, gate=gate))
    url = origin.add("/", page(*contents))
    project = Project(tmp_path / "shop", ITEMS)

    with project.start("items", url=url) as crawl:
        gate.wait_until_held(6)
        wait_for(lambda: safe_bytes(project) == 2 * 3 * 2 * MIB, message="the journals")
        crawl.send_signal(signal.SIGKILL)
        assert crawl.wait().returncode == -signal.SIGKILL
    assert not list((project.files / "full").glob("*.bin"))
    wait_for(lambda: not any(map(origin.active, contents)), message="the end of the connections")

    with project.start("items", url=url) as crawl:
        gate.wait_until_held(2)
        crawl.send_signal(signal.SIGINT)
        stopped = crawl.wait(10)
    assert "'finish_reason': 'shutdown'" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert [item["files"] for item in project.items] == [[], []]

    gate.open()
    before = origin.sent()
    done = project.crawl("items", url=url)
    assert "'fetcher/bytes/resumed'" in done.stderr, done.stderr
    for path, content in contents.items():
        found = by_link(project)[path[1:]]
        assert found == {
            "url": origin.url(path),
            "path": found["path"],
            "checksum": f"sha256:{content.sha256}",
            "status": "downloaded",
            "size": content.size,
            "verified_by": ["size", "etag"],
        }
        assert content.first_difference(project.files / str(found["path"])) is None
    assert origin.sent() - before < 44 * MIB

    asked = len(origin.requests)
    project.crawl("items", url=url)
    assert [record.path for record in origin.requests[asked:]] == ["/robots.txt", "/"]
    assert {each["status"] for each in by_link(project).values()} == {"uptodate"}
    project.crawl("items", "-s", "FILES_EXPIRES=0", url=url)
    assert {(each.path, each.status) for each in origin.requests[-2:]} == {
        ("/a.bin", 304),
        ("/b.bin", 304),
    }


def test_memory_does_not_grow_with_a_file(origin: Origin, tmp_path: Path) -> None:
    content = Content(256 * MIB)
    origin.add("/a.bin", content)
    project = Project(tmp_path / "shop", ITEMS)
    result = project.crawl("items", url=origin.add("/", page("/a.bin")))
    found = by_link(project)["a.bin"]
    assert (found["status"], found["checksum"]) == ("downloaded", f"sha256:{content.sha256}")
    assert result.peak_rss < 130 * MIB


def test_the_example_of_the_readme(origin: Origin, tmp_path: Path) -> None:
    _, _, section = README.partition("\n### In any other Scrapy project\n")
    section, _, _ = section.partition("\n### ")
    blocks = re.findall(r"^```py\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    settings, *spiders = (block.replace("https://ftp.gnu.org", origin.url("")) for block in blocks)
    content = Content(20 * MIB)
    origin.add("/gnu/hello/", page("hello-2.12.tar.gz"))
    origin.add("/gnu/hello/hello-2.12.tar.gz", content)
    project = Project(tmp_path / "shop", "\n".join(spiders), settings)

    project.crawl("releases")
    found = by_link(project)["hello-2.12.tar.gz"]
    assert (found["status"], found["size"]) == ("downloaded", content.size)
    assert content.first_difference(project.files / found["path"]) is None

    result = project.crawl("one_file", "-s", f"JOBDIR={tmp_path / 'job'}")
    (item,) = project.items
    assert (item["status"], item["checksum"]) == ("ok", f"sha256:{content.sha256}")
    assert item["connections"] > 1
    assert content.first_difference(project.files / "hello/hello-2.12.tar.gz") is None
    assert "'fetcher/files/ok': 1" in result.stderr


def test_files_of_other_protocols(origin: Origin, tmp_path: Path) -> None:
    folder, home = tmp_path / "srv", tmp_path / "home"
    folder.mkdir()
    (home / ".ssh").mkdir(parents=True)
    content = Content(9 * MIB)
    content.write_to(folder / "a.bin")
    users = {"anna": "secret"}
    with (
        FTPServer(folder) as open_to_all,
        FTPServer(folder, users, anonymous=False) as closed,
        SFTPServer(folder, users) as sftp,
    ):
        sftp.known_hosts(home / ".ssh/known_hosts")
        urls = [
            open_to_all.url("/a.bin"),
            f"ftp://anna:secret@127.0.0.1:{closed.port}/a.bin",
            f"sftp://anna:secret@127.0.0.1:{sftp.port}/a.bin",
        ]
        project = Project(tmp_path / "shop", ITEMS)
        env = {"HOME": str(home), "SSH_AUTH_SOCK": ""}
        result = project.crawl("items", url=origin.add("/", page(*urls)), env=env)
    files = [item["files"][0] for item in project.items]
    assert sorted(each["url"] for each in files) == sorted(urls)
    assert {each["checksum"] for each in files} == {f"sha256:{content.sha256}"}
    assert " ERROR: " not in result.stderr
    assert not re.findall("(?:Crawled|File) .*secret", result.stderr)


ASKING = """
import scrapy
from fetcher.contract import plain_row


class AskingSpider(scrapy.Spider):
    name = "asking"

    async def start(self):
        for name in "abcdefg":
            meta = {"fetch": plain_row(f"{name}.bin", self.out)}
            yield scrapy.Request(self.url.replace("?", name), meta=meta, callback=self.fetched)

    def fetched(self, response):
        if response.item is not None:
            yield response.item
"""


def test_requests_for_files_that_were_stopped_are_in_the_job_folder(
    origin: Origin, tmp_path: Path
) -> None:
    gate = Gate(after=1000)
    contents = {f"{name}.bin": Content(100_000, seed) for seed, name in enumerate("abcdefg")}
    for name, content in contents.items():
        origin.add(f"/{name}", Resource(content, gate=gate))
    project = Project(tmp_path / "shop", ASKING)
    job, url, out = f"JOBDIR={tmp_path / 'job'}", origin.url("/?.bin"), str(project.files)

    with project.start("asking", "-s", job, url=url, out=out) as crawl:
        gate.wait_until_held(5)
        crawl.send_signal(signal.SIGINT)
        crawl.wait(10)
    assert {item["error"]["type"] for item in project.items} == {"Stopped"}

    gate.open()
    project.crawl("asking", "-s", job, url=url, out=out)
    assert sorted(item["name"] for item in project.items) == sorted(contents)
    for name, content in contents.items():
        assert content.first_difference(project.files / name) is None
