"""Logins and cookies that the user keeps in files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.crawl import CrawlResult, run_crawl
from tests.servers.content import Content
from tests.servers.faults import Redirect
from tests.servers.origin import Origin

BASIC = "Basic " + base64.b64encode(b"anna:se:cret").decode()


def fetch(tmp_path: Path, url: str, netrc: str = "", cookies: str = "") -> CrawlResult:
    files = {"NETRC": tmp_path / "netrc"}
    files["NETRC"].write_text(netrc)
    files["NETRC"].chmod(0o600)
    settings = {}
    if cookies:
        (tmp_path / "cookies.txt").write_text(cookies)
        settings["FETCHER_COOKIES"] = str(tmp_path / "cookies.txt")
    return run_crawl(
        tmp_path / "out",
        url=url,
        settings=settings,
        env={name: str(path) for name, path in files.items()},
    )


def sent(origin: Origin, name: str, path: str = "/a.bin") -> set[str | None]:
    return {exchange.headers.get(name) for exchange in origin.requests_for(path)}


def test_the_login_of_netrc(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", Content(1000))
    entry = (
        "machine other.example login x password y\nmachine 127.0.0.1 login anna password se:cret\n"
    )

    result = fetch(tmp_path, url, netrc=entry)

    assert result.returncode == 0
    assert sent(origin, "authorization") == {BASIC}
    assert "cret" not in result.stderr + (tmp_path / "out" / "report.jsonl").read_text()


def test_that_of_the_address_counts_before_it(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", Content(1000)).replace("://", "://anna:se%3Acret@")

    fetch(tmp_path, url, netrc="machine 127.0.0.1 login x password y\n")

    assert sent(origin, "authorization") == {BASIC}


def test_it_stays_with_the_address_of_the_list(origin: Origin, tmp_path: Path) -> None:
    with Origin() as other:
        target = other.add("/b.bin", Content(1000))
        url = origin.add("/a.bin", Redirect(target))
        cookie = "127.0.0.1\tFALSE\t/a.bin\tFALSE\t0\tsession\tabc"

        result = fetch(
            tmp_path,
            url,
            netrc="machine 127.0.0.1 login anna password se:cret\n",
            cookies=f"# Netscape HTTP Cookie File\n{cookie}\n",
        )

        assert result.returncode == 0
        assert sent(origin, "authorization") == {BASIC}
        assert sent(origin, "cookie") == {"session=abc"}
        assert sent(other, "authorization", "/b.bin") == {None}
        assert sent(other, "cookie", "/b.bin") == {None}


@pytest.mark.parametrize(
    ("netrc", "told"), [("machine\n", "its line"), ("nonsense secret\n", "its line 1")]
)
def test_a_netrc_that_means_nothing_is_told_of_and_done_without(
    origin: Origin, tmp_path: Path, netrc: str, told: str
) -> None:
    result = fetch(tmp_path, origin.add("/a.bin", Content(1000)), netrc=netrc)

    assert result.returncode == 0
    assert told in result.stderr
    assert "secret" not in result.stderr
    assert "Traceback" not in result.stderr
    assert sent(origin, "authorization") == {None}


def test_a_netrc_that_cannot_be_read(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", Content(1000))

    result = run_crawl(tmp_path / "out", url=url, env={"NETRC": str(tmp_path)})

    assert result.returncode == 0
    assert f"{tmp_path} is done without, it cannot be read: Is a directory" in result.stderr


def test_cookies_go_where_they_belong(origin: Origin, tmp_path: Path) -> None:
    cookies = """# Netscape HTTP Cookie File
127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tabc
#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t4102444800\thidden\tdef
127.0.0.1\tFALSE\t/\tTRUE\t4102444800\tsecure\tno
127.0.0.1\tFALSE\t/\tFALSE\t1000000000\texpired\tno
127.0.0.1\tFALSE\t/other\tFALSE\t4102444800\tpath\tno
.example.org\tTRUE\t/\tFALSE\t4102444800\tdomain\tno
"""
    result = fetch(tmp_path, origin.add("/a.bin", Content(1000)), cookies=cookies)

    assert result.returncode == 0
    (value,) = sent(origin, "cookie")
    assert sorted(str(value).split("; ")) == ["hidden=def", "session=abc"]


COOKIES = "# Netscape HTTP Cookie File\n"


@pytest.mark.parametrize(
    "content",
    [
        "session=secret\n",
        "\x00\xff",
        None,
        COOKIES + "h\tx\tsecret\n",
        COOKIES + "h\tFALSE\t/\tFALSE\tinf\tsid\tsecret\n",
    ],
)
def test_a_file_that_holds_no_cookies(origin: Origin, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cookies.txt"
    if content is not None:
        path.write_text(content, "latin-1")

    result = run_crawl(
        tmp_path / "out", url=origin.url("/a.bin"), settings={"FETCHER_COOKIES": str(path)}
    )

    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert f"FETCHER_COOKIES={path}" in line
    assert "secret" not in line
    assert not origin.requests
