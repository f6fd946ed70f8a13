"""What a user's configuration makes of an address."""

import getpass
from pathlib import Path

import pytest

from fetcher.errors import LoginError
from fetcher.handlers.blocking import Login
from fetcher.handlers.sftp.ssh_config import Target, target

ME = getpass.getuser()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config"


def goal(config: Path, text: str, *, port: int | None = None, user: str | None = None) -> Target:
    config.write_text(text)
    return target(Login("sftp", "h", port, user), config)


def test_no_configuration(config: Path) -> None:
    assert target(Login("sftp", "h", None), config) == Target("h", 22, ME, "h", ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Target("h", 22, ME, "h", ())),
        ("Host other\n  Port 1\n  ProxyJump x\n", Target("h", 22, ME, "h", ())),
        ("Host h\n  HostName real\n", Target("real", 22, ME, "real", ())),
        ("Host *\n  Port 2222\n  User you\n", Target("h", 2222, "you", "[h]:2222", ())),
        ("HostKeyAlias alias\nPort 2222\n", Target("h", 2222, ME, "alias", ())),
        ("ProxyCommand none\nProxyJump none\n", Target("h", 22, ME, "h", ())),
        ("UnheardOf 1\n", Target("h", 22, ME, "h", ())),
    ],
)
def test_configuration(config: Path, text: str, expected: Target) -> None:
    assert goal(config, text) == expected


def test_the_address_comes_first(config: Path) -> None:
    text = "Host h\n  HostName real\n  Port abc\n  User you\n"
    assert goal(config, text, port=22, user="me") == Target("real", 22, "me", "real", ())
    assert goal(config, text, port=2223, user="me").name == "[real]:2223"


def test_keys_that_are_there(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").touch()
    text = f"IdentityFile ~/key\nIdentityFile {tmp_path}/missing\nIdentityFile {tmp_path}\n"
    assert [Path(path).expanduser() for path in goal(config, text).identities] == [tmp_path / "key"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Port abc\n", "'abc'"),
        ("Port 0\n", "'0'"),
        ("Port 65536\n", "'65536'"),
        ("Port \N{SUPERSCRIPT TWO}\n", "a number up to 65535"),
        ("ProxyJump gate\n", "proxyjump"),
        ("ProxyCommand nc %h %p\n", "proxycommand"),
        ("Host\n  Port\n", "cannot be used"),
        ("Match unheard-of\n", "cannot be used"),
        ("CanonicalizeHostname yes\n", "cannot be used"),
    ],
)
def test_what_cannot_be_used(config: Path, text: str, why: str) -> None:
    with pytest.raises(LoginError, match=why) as caught:
        goal(config, text)
    assert str(config) in caught.value.message


@pytest.mark.parametrize("text", [None, b"\xff\xfe"])
def test_file_that_cannot_be_read(config: Path, text: bytes | None) -> None:
    if text is None:
        config.mkdir()
    else:
        config.write_bytes(text)
    with pytest.raises(LoginError, match="cannot be used"):
        target(Login("sftp", "h", None), config)
