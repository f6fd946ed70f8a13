"""``retry.tsv``: the failed rows, whole enough to be given back, and for nobody else's eyes."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.extensions.retry_list import HEADER
from fetcher.lists import Row, open_list
from fetcher.rules.urls import join_credentials, split_credentials
from tests.crawl import Crawl, clean_environment, run_crawl, start_crawl
from tests.servers.content import Content
from tests.servers.faults import Status
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource

MIB = 1 << 20
QUICK = {"FETCHER_MAX_TRIES": 1}


def rows(path: Path) -> list[Row]:
    with open_list(str(path)) as source:
        found = list(source)
    assert all(isinstance(row, Row) for row in found)
    return sorted((row for row in found if isinstance(row, Row)), key=lambda row: row.url)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text())
def test_a_login_comes_back_as_it_was(user: str, password: str) -> None:
    user, password = user.replace(":", ""), password.encode(errors="ignore").decode()
    joined = join_credentials("https://h:8/a?b=c", _basic(user, password))
    assert joined is not None
    assert split_credentials(joined) == ("https://h:8/a?b=c", _basic(user, password))


def _basic(user: str, password: str) -> str:
    import base64

    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_what_is_no_login_has_no_address() -> None:
    assert join_credentials("https://h/a", "Bearer abc") is None
    assert join_credentials("https://h/a", "Basic ä") is None
    assert join_credentials("https://h/a", None) == "https://h/a"


def test_failed_rows_can_be_given_back(origin: Origin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    content = Content(1000, seed=1)
    for path in ("/a.bin", "/b.bin", "/named"):
        origin.add(path, Status(404))
    origin.add("/right.bin", Content(10))
    listed = tmp_path / "list.tsv"
    login = "user:pa%20ss%2Fw%25"
    listed.write_text(
        "name\turl\tsize\tsha256\n"
        f"x/a.bin\t{origin.url('/a.bin', userinfo=login)}?sig=S3CRET\t1000\t{content.sha256}\n"
        f"\t{origin.url('/b.bin')}\n"
        f"same\t{origin.url('/right.bin')}\n"
        f"same\t{origin.url('/named')}\n"
        f"../bad\t{origin.url('/named')}\n"
        "bad\tgopher://h/\n"
    )

    first = run_crawl(out, urls=listed, settings=QUICK)

    retry = out / "retry.tsv"
    assert first.returncode == 1
    assert "; 3 of what failed are in retry.tsv, too" in first.stderr
    assert retry.stat().st_mode & 0o777 == 0o600
    assert "S3CRET" not in first.stderr + (out / "report.jsonl").read_text()
    signed = origin.url("/a.bin", userinfo=login) + "?sig=S3CRET"
    assert [(row.name, row.url, row.size, row.checksum) for row in rows(retry)] == [
        (None, origin.url("/b.bin"), None, None),
        ("same.1", origin.url("/named"), None, None),
        ("x/a.bin", signed, 1000, f"sha256:{content.sha256}"),
    ]

    origin.add("/a.bin", content)
    origin.add("/b.bin", content)
    second = run_crawl(out, urls=retry, settings=QUICK)
    assert second.returncode == 1
    assert "; what failed is in retry.tsv, too" in second.stderr
    assert [row.name for row in rows(retry)] == ["same.1"]
    assert second.by_name["x/a.bin"]["verified_by"][-1] == "sha256"

    origin.add("/named", content)
    third = run_crawl(out, urls=retry)
    assert (third.returncode, retry.exists()) == (0, False)
    assert {row["name"] for row in third.report} == {"same.1"}
    assert not [path for path in (out / ".fetcher").iterdir() if "retry" in path.name]


def test_what_the_users_files_hold_is_not_copied(origin: Origin, tmp_path: Path) -> None:
    """It will be found there again, and who may read the list need not see it."""
    out, listed = tmp_path / "out", tmp_path / "list.jsonl"
    files = {"netrc": "machine 127.0.0.1 login u password s3cret\n"}
    files["cookies"] = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsid\ts3cret\n"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    own = origin.add("/own", Status(404)).replace("//", "//me:pass@")
    url, mirror = origin.add("/a", Status(404)), origin.add("/b", Status(404))
    found = [
        {"urls": [url, mirror]},
        {"url": own},
        {"url": url, "name": "headed", "headers": {"Authorization": "Bearer s3cret"}},
        {"url": url, "name": "baked", "headers": {"Cookie": "s3cret"}},
    ]
    listed.write_text("".join(json.dumps(row) + "\n" for row in found))

    result = run_crawl(
        out,
        listed,
        settings={**QUICK, "FETCHER_COOKIES": str(tmp_path / "cookies")},
        env={"NETRC": str(tmp_path / "netrc")},
    )

    assert "s3cret" not in (out / "retry.tsv").read_text()
    assert [(row.url, row.mirrors) for row in rows(out / "retry.tsv")] == [
        (url, (mirror,)),
        (own, ()),
    ]
    assert "2 failed rows are not in" in result.stderr


def test_stopped_rows_are_in_it_and_a_retry_that_is_stopped_loses_none(
    origin: Origin, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    gate = Gate(after=MIB)
    urls = [
        origin.add(f"/{name}", Resource(Content(4 * MIB, seed=1), gate=gate))
        for name in ("a", "b", "c")
    ]
    one = {"FETCHER_MAX_PARALLEL": 1}
    with start_crawl(out, url=" ".join(urls), settings=one) as crawl:
        gate.wait_until_held()
        crawl.send_signal(signal.SIGINT)
        assert crawl.wait().returncode == 1
    assert [row.url for row in rows(out / "retry.tsv")] == urls[:1]

    listed = out / "retry.tsv"
    listed.write_text(listed.read_text() + "".join(f"\t{url}\t\t\t\n" for url in urls[1:]))
    with start_crawl(out, urls=listed, settings=one) as crawl:
        gate.wait_until_held()
        crawl.send_signal(signal.SIGINT)
        crawl.wait()
    assert [row.url for row in rows(listed)] == urls

    gate.open()
    assert run_crawl(out, urls=listed).returncode == 0
    assert not listed.exists()


def test_a_retry_by_scrapy_download_that_is_stopped_loses_none(
    origin: Origin, tmp_path: Path
) -> None:
    gate = Gate(after=MIB)
    resource = Resource(Content(4 * MIB, seed=1), gate=gate)
    urls = [origin.add(f"/{name}", resource) for name in ("a", "b", "c")]
    listed = tmp_path / "retry.tsv"
    listed.write_bytes(HEADER + "".join(f"\t{url}\t\t\t\n" for url in urls).encode())
    command = [sys.executable, "-m", "scrapy", "download", "--dir", str(tmp_path)]
    command += ["-i", str(listed), "--max-parallel", "1"]
    with Crawl(command, tmp_path, clean_environment(), "") as crawl:
        gate.wait_until_held()
        crawl.send_signal(signal.SIGINT)
        assert crawl.wait().returncode == 1
    assert [row.url for row in rows(listed)] == urls


def test_rows_of_another_list_stay(origin: Origin, tmp_path: Path) -> None:
    out, retry = tmp_path / "out", tmp_path / "out" / "retry.tsv"
    names = ("first", "other", "third")
    urls = {name: origin.add(f"/{name}", Status(404)) for name in names}
    good = origin.add("/good", Content(10))

    def left_by(*given: str) -> list[str]:
        run_crawl(out, url=" ".join(given), settings=QUICK)
        return [row.url.rpartition("/")[2] for row in rows(retry)] if retry.exists() else []

    assert left_by(urls["first"]) == ["first"]
    before = retry.read_bytes()
    assert left_by(good) == ["first"]
    assert retry.read_bytes() == before
    assert left_by(urls["other"], urls["third"]) == ["first", "other", "third"]
    for name in ("first", "third"):
        origin.replace(f"/{name}", Content(10))
    assert left_by(urls["first"] + "?sig=new", good) == ["other", "third"]
    assert left_by(str(urls["other"]), urls["third"]) == ["other"]
    origin.replace("/other", Content(10))
    assert left_by(urls["other"]) == []


@pytest.mark.parametrize("fails", [True, False])
def test_somebodys_file_is_left_alone(origin: Origin, tmp_path: Path, fails: bool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "retry.tsv").write_text("precious")
    url = origin.add("/a", Status(404) if fails else Content(10))
    result = run_crawl(out, url=url, settings=QUICK)
    assert (out / "retry.tsv").read_text() == "precious"
    assert ("somebody else's" in result.stderr) is fails
