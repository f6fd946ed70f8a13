"""The README's settings files are what they say, and Scrapy takes them."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from scrapy.settings import Settings, default_settings

from fetcher import settings as project
from fetcher.config import Config, unknown_settings
from tests.crawl import PROJECT, clean_environment, read_report
from tests.servers.content import Content
from tests.servers.origin import Origin
from tests.servers.redis import RedisServer
from tests.servers.resource import Resource

README = (PROJECT / "README.md").read_text("utf-8")
SECTION = README.partition("\n### A settings file\n")[2].partition("\n### ")[0]


@dataclass(frozen=True)
class File:
    name: str
    text: str


def files() -> list[File]:
    names = re.findall(r"`(\w+\.py)`,", SECTION)
    texts = re.findall(r"^```py\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
    return [File(*each) for each in zip(names, texts, strict=True)]


def test_there_is_one_for_each_situation() -> None:
    names = [file.name for file in files()]
    assert names == ["laptop.py", "server.py", "polite.py", "node.py", "crew.py"]


@pytest.mark.parametrize("file", files(), ids=lambda file: file.name)
class TestFile:
    def test_all_it_sets_is_known_and_may_be_so(
        self, file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / f"readme_{file.name}").write_text(file.text)
        monkeypatch.syspath_prepend(tmp_path)
        settings = Settings()
        settings.setmodule(f"readme_{file.name.removesuffix('.py')}", priority="project")

        assert list(unknown_settings(settings)) == []
        config = Config.from_settings(settings)
        assert config != Config.from_settings(Settings(vars(project)))
        own = re.findall(r"^([A-Z_]+) =", file.text, re.MULTILINE)
        assert all(hasattr(project, name) or hasattr(default_settings, name) for name in own)

    def test_a_crawl_runs_by_it(
        self, file: File, tmp_path: Path, origin: Origin, redis_server: RedisServer
    ) -> None:
        """But for the folders and the machine that are not there."""
        (tmp_path / "fetcher").symlink_to(PROJECT / "fetcher")
        (tmp_path / "scrapy.cfg").write_text((PROJECT / "scrapy.cfg").read_text())
        (tmp_path / file.name).write_text(file.text)
        content = Content(1000)
        digest = base64.b64encode(bytes.fromhex(content.sha256)).decode()
        url = origin.add("/f", Resource(content, headers={"Repr-Digest": f"sha-256=:{digest}:"}))
        command = [sys.executable, "-m", "scrapy", "crawl", "fetch", "-a", f"url={url}"]
        command += ["-a", f"out={tmp_path / 'out'}", "-s", "DOWNLOAD_DELAY=0"]
        module = file.name.removesuffix(".py")
        env = {"SCRAPY_SETTINGS_MODULE": module, "QUEUE": redis_server.url}
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=clean_environment(env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (report,) = (tmp_path / "out").glob("report*.jsonl")
        (row,) = read_report(report.parent, report.name)
        assert row["status"] == "ok"
        assert content.first_difference(tmp_path / "out/f") is None
