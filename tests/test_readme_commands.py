"""The README's commands do what it says: all of "Use it" is run as it stands there.

The internet is a few servers of this machine, which proxies lead to; SSH's configuration has the
host that the README calls ``backup``.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CertificateAuthority
from tests.crawl import PROJECT, clean_environment, read_report
from tests.servers.content import Bytes, Content
from tests.servers.origin import Origin
from tests.servers.redis import RedisServer
from tests.servers.relay import Tunnel
from tests.servers.resource import Resource
from tests.servers.sftp import SFTPServer, new_key

README = (PROJECT / "README.md").read_text("utf-8")

_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")
_ADDRESS = re.compile(r"(https?)://([a-z0-9.-]+)(/[^\s\"'<>)`]*)")
_PROXY = "http://127.0.0.1:3128"
_QUEUE = "redis://127.0.0.1:6379/0"
"""The README's; here they are others."""


@dataclass(frozen=True)
class Section:
    """A task of the README, and its blocks of code in their order: language and text."""

    title: str
    blocks: tuple[tuple[str, str], ...]


def sections() -> list[Section]:
    _, _, rest = README.partition("\n## Use it\n")
    use, _, _ = rest.partition("\n## ")
    found = []
    for part in use.split("\n### ")[1:]:
        title, _, text = part.partition("\n")
        blocks = tuple(re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
        if blocks:
            found.append(Section(title, blocks))
    return found


@dataclass(frozen=True)
class World:
    """A project on a machine whose internet is small.

    :param folder: a fresh clone, as far as users look.
    :param proxy: where the README's proxy is.
    :param queue: where its Redis is.
    :param sha256: what all archives have, in place of the checksums of real ones.
    """

    folder: Path
    env: dict[str, str]
    proxy: str
    queue: str
    sha256: str

    def run(self, language: str, text: str) -> subprocess.CompletedProcess[str]:
        shell = ["bash", "-e", "-c"] if language == "sh" else [sys.executable, "-c"]
        return subprocess.run(
            [*shell, self.local(text)],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def local(self, text: str) -> str:
        return _SHA256.sub(
            self.sha256, text.replace(_PROXY, self.proxy).replace(_QUEUE, self.queue)
        )


def archive() -> bytes:
    """A small .tar.gz."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in (("hello/README", b"Hello\n"), ("hello/src/hello.c", b"int main;\n")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, certificate_authority: CertificateAuthority
) -> Iterator[World]:
    folder, home, served = (tmp_path_factory.mktemp(name) for name in ("project", "home", "srv"))
    (folder / "fetcher").symlink_to(PROJECT / "fetcher")
    shutil.copy(PROJECT / "scrapy.cfg", folder)
    tarball = Bytes(archive())
    inputs = (path for path in (PROJECT / "inputs").iterdir() if path.is_file())
    lists = {path.name: path.read_text("utf-8") for path in inputs}
    addresses = {
        found.groups() for text in (README, *lists.values()) for found in _ADDRESS.finditer(text)
    }
    with ExitStack() as stack:
        plain = stack.enter_context(Origin())
        hosts = sorted({host for _, host, _ in addresses})
        secure = stack.enter_context(Origin(certificate_authority.server_context(*hosts)))
        tunnel = stack.enter_context(Tunnel(secure.port))
        for scheme, _, path in addresses:
            content = tarball if path.endswith(".tar.gz") else Content(300_000, seed=len(path))
            (secure if scheme == "https" else plain).add(path, Resource(content))
        secure.add("/lists/hello.txt", lists["hello.txt"].encode())
        env = clean_environment(certificate_authority.env) | {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "SSH_AUTH_SOCK": "",
            "http_proxy": plain.url("").rstrip("/"),
            "https_proxy": tunnel.url,
        }
        queue = stack.enter_context(RedisServer(tmp_path_factory.mktemp("redis")))
        world = World(folder, env, tunnel.url, queue.url, tarball.sha256)
        (folder / "inputs").mkdir()
        for name, text in lists.items():
            (folder / "inputs" / name).write_text(world.local(text), "utf-8")
        stack.enter_context(backup(served, home))
        yield world


def backup(served: Path, home: Path) -> SFTPServer:
    """The README's SFTP server, which the user's configuration for SSH knows."""
    (served / "srv").mkdir()
    Content(300_000).write_to(served / "srv/dump.tar")
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700)
    server = SFTPServer(served, keys={"anna": [new_key(ssh / "id_ed25519")]})
    server.known_hosts(ssh / "known_hosts")
    (ssh / "config").write_text(f"Host backup\n HostName 127.0.0.1\n Port {server.port}\n")
    return server


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.title)
def test_section(world: World, section: Section) -> None:
    for report in world.folder.rglob("report*.jsonl"):
        report.unlink()

    for language, text in section.blocks:
        done = world.run(language, text)
        assert done.returncode == 0, done.stderr

    rows = [
        row
        for report in world.folder.rglob("report*.jsonl")
        for row in read_report(report.parent, report.name)
    ]
    assert {row["status"] for row in rows} <= {"ok", "unchanged"}
    assert rows or "python" in {language for language, _ in section.blocks}


def test_there_is_a_section_for_each_task() -> None:
    assert len(sections()) >= 10


def test_what_is_no_command_is_run_elsewhere() -> None:
    """```py stands for modules: of another project, which tests/test_addon.py runs, and of
    settings, which tests/test_readme_settings.py loads."""
    parts = README.split("\n### ")
    titles = [part.partition("\n")[0] for part in parts if "\n```py\n" in part]
    assert titles == ["In any other Scrapy project", "A settings file"]
