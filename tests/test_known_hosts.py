"""Which host keys are trusted by a file, and how a file learns them."""

import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest
from paramiko import HostKeys, PKey

from fetcher.errors import HostKeyError
from fetcher.handlers.sftp.known_hosts import KnownHosts
from tests.effort import at_most
from tests.servers.sftp import new_key

KEY, OTHER = new_key(), new_key()


def line(patterns: str, key: PKey = KEY) -> str:
    return f"{patterns} {key.get_name()} {key.get_base64()}\n"


def hosts(tmp_path: Path, text: str | None = None, *, accept_new: bool = False) -> KnownHosts:
    path = tmp_path / "known_hosts"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return KnownHosts(path, accept_new=accept_new)


@pytest.mark.parametrize(
    ("patterns", "host"),
    [
        ("h.example", "h.example"),
        ("H.example", "h.Example"),
        ("other,h", "h"),
        ("*.example", "h.example"),
        ("h*e*m*e", "h.example"),
        ("*a*b*", "xaxbx"),
        ("**h**", "h"),
        ("?*?", "h1"),
        ("h?", "h1"),
        ("*,!other", "h"),
        ("[h]:2222", "[h]:2222"),
        ("[*]:2222", "[h]:2222"),
        pytest.param(HostKeys.hash_host("h"), "h", id="hash"),
        pytest.param(HostKeys.hash_host("[h]:2222"), "[h]:2222", id="hash and port"),
    ],
)
def test_host_that_is_known(tmp_path: Path, patterns: str, host: str) -> None:
    known = hosts(tmp_path, line("third", OTHER) + line(patterns))
    known.check(host, KEY)
    assert known.algorithms(host) == ["ssh-ed25519"]
    with pytest.raises(HostKeyError, match="has changed"):
        known.check(host, OTHER)


@pytest.mark.parametrize(
    ("patterns", "host"),
    [
        ("h.example", "hxexample"),
        ("h", "[h]:2222"),
        ("h*b", "hba"),
        ("*a*b", "ba"),
        ("h?", "h"),
        ("?", "h1"),
        ("[ah]", "h"),
        ("[h]:2222", "h"),
        ("[h]:2222", "[h]:2223"),
        ("h*,!h1", "h1"),
        ("!h1,h*", "h1"),
        ("!h", "h2"),
        ("#h", "h"),
        ("# h", "h"),
        ("@cert-authority h", "h"),
        ("@unheard-of h", "h"),
        pytest.param(HostKeys.hash_host("other"), "h", id="hash of another"),
        ("|1|abc|def", "h"),
        ("|1|abc", "h"),
        ("|1|YWJj|ZGVm", "h"),
        ("|1|!!|??", "h"),
    ],
)
def test_host_that_is_not_known(tmp_path: Path, patterns: str, host: str) -> None:
    known = hosts(tmp_path, line(patterns))
    assert known.algorithms(host) == []
    with pytest.raises(HostKeyError, match="is not known"):
        known.check(host, KEY)


def test_patterns_that_take_long_to_look_through(tmp_path: Path) -> None:
    known = hosts(tmp_path, line("*a" * 30 + "b") + line("*" * 1000 + "?" * 40 + "b"))
    with at_most(1):
        assert known.algorithms("a" * 60) == []


def test_either_of_two_keys_is_right(tmp_path: Path) -> None:
    known = hosts(tmp_path, line("h", OTHER) + line("h"))
    known.check("h", KEY)
    known.check("h", OTHER)
    with pytest.raises(HostKeyError, match="has changed"):
        known.check("h", new_key())


def test_signature_algorithms_of_rsa_keys(tmp_path: Path) -> None:
    known = hosts(tmp_path, "h ssh-rsa AAAA\n" + line("h"))
    assert known.algorithms("h") == ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]


@pytest.mark.parametrize("accept_new", [False, True])
def test_revoked_key(tmp_path: Path, accept_new: bool) -> None:
    text = line("h") + line("@revoked *")
    with pytest.raises(HostKeyError, match="is marked as revoked"):
        hosts(tmp_path, text, accept_new=accept_new).check("h", KEY)
    assert (tmp_path / "known_hosts").read_text() == text


@pytest.mark.parametrize(
    "bad", ["h", "h ssh-ed25519", "\0\0 \0", "\udcff \udcff \udcff", "@revoked"]
)
def test_lines_that_make_no_sense_are_passed_by(tmp_path: Path, bad: str) -> None:
    hosts(tmp_path, f"\n{bad}\n" + line("h")).check("h", KEY)


@pytest.mark.parametrize("accept_new", [False, True])
def test_file_that_cannot_be_read(tmp_path: Path, accept_new: bool) -> None:
    (tmp_path / "known_hosts").mkdir()
    known = hosts(tmp_path, accept_new=accept_new)
    with pytest.raises(HostKeyError, match="cannot be read"):
        known.check("h", KEY)
    with pytest.raises(HostKeyError, match="cannot be read"):
        known.algorithms("h")


# --- what is learned ------------------------------------------------------------------------------


def test_first_key_of_all(tmp_path: Path) -> None:
    known = hosts(tmp_path / "new", accept_new=True)
    known.check("[h]:2222", KEY)
    known.check("[h]:2222", KEY)
    path = tmp_path / "new/known_hosts"
    assert path.read_text() == line("[h]:2222")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("there", [line("other"), line("other").rstrip()], ids=["ended", "not"])
def test_one_key_more(tmp_path: Path, there: str) -> None:
    hosts(tmp_path, there, accept_new=True).check("h", KEY)
    assert (tmp_path / "known_hosts").read_text() == line("other") + line("h")


@pytest.mark.parametrize("patterns", ["h", "*", pytest.param(HostKeys.hash_host("h"), id="hash")])
def test_no_key_in_place_of_another(tmp_path: Path, patterns: str) -> None:
    with pytest.raises(HostKeyError, match="has changed"):
        hosts(tmp_path, line(patterns), accept_new=True).check("h", OTHER)
    assert (tmp_path / "known_hosts").read_text() == line(patterns)


class SlowKey:
    """Gives other threads time to come in between."""

    fingerprint = KEY.fingerprint

    def get_name(self) -> str:
        time.sleep(0.005)
        return KEY.get_name()

    def get_base64(self) -> str:
        time.sleep(0.005)
        return KEY.get_base64()


def test_one_line_for_all_who_come_at_once(tmp_path: Path) -> None:
    known = hosts(tmp_path, accept_new=True)
    threads = [
        threading.Thread(target=known.check, args=("h", cast("Any", SlowKey()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "known_hosts").read_text() == line("h")
