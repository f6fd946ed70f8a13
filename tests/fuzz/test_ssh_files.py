"""The files by which SSH servers are known: what makes no sense is passed by or refused."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paramiko import HostKeys

from fetcher.errors import HostKeyError, LoginError
from fetcher.handlers.blocking import Login
from fetcher.handlers.sftp.known_hosts import KnownHosts
from fetcher.handlers.sftp.ssh_config import target
from tests.fuzz.mutations import fuzz, mutated
from tests.servers.sftp import new_key

KEY, OTHER = new_key(), new_key()
LINES = [
    *(b"", b"\0", b"\n", b" ", b"\t", b",", b"*", b"?", b"!", b"|1|", b"|", b"@revoked ", b"#"),
    *(b"[", b"]:22", b"\xff", b"\xe2\x80\xa8", b"=", b"ssh-rsa", b"@cert-authority "),
]
known_lines = st.builds(
    lambda mark, hosts, key: f"{mark}{hosts} {key.get_name()} {key.get_base64()}\n".encode(),
    st.sampled_from(["", "", "@revoked ", "@cert-authority ", "#"]),
    st.sampled_from(["h", "other", "*", "h,!h", "[h]:2222", "h?,*", HostKeys.hash_host("h")]),
    st.sampled_from([KEY, OTHER]),
)


@pytest.fixture(scope="module")
def ssh_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    memory = Path("/dev/shm")  # noqa: S108 - with a name of this process
    folder = memory if memory.is_dir() else tmp_path_factory.getbasetemp()
    path = folder / f"fetcher-fuzz-ssh-{os.getpid()}"
    yield path
    path.unlink(missing_ok=True)


@fuzz
@given(mutated(st.lists(known_lines, max_size=4).map(b"".join), LINES))
def test_known_hosts(ssh_file: Path, text: bytes) -> None:
    ssh_file.write_bytes(text)
    hosts = KnownHosts(ssh_file, accept_new=False)
    assert all(hosts.algorithms("h"))
    try:
        hosts.check("h", KEY)
    except HostKeyError as error:
        assert error.message.isprintable()
        return
    # Only a key that stands there is trusted.
    assert KEY.get_base64().encode() in text


OPTIONS = [
    *(b"", b"\0", b"\n", b" ", b"=", b'"', b"'", b"*", b"!", b"%h", b"%", b"~", b"$HOME", b"\xff"),
    *(b"Match all\n", b"Match exec true\n", b"Host\n", b"Include x\n", b"#", b"-1", b"99999"),
]
configurations = st.lists(
    st.sampled_from(
        [
            b"Host h\n",
            b"Host *.example !h\n",
            b"Match host h\n",
            b"  HostName real\n",
            b"  Port 2222\n",
            b"  User=you\n",
            b"  IdentityFile ~/.ssh/%h\n",
            b"  HostKeyAlias alias\n",
            b"  ProxyCommand none\n",
            b"  CanonicalizeHostname yes\n",
        ]
    ),
    max_size=6,
).map(b"".join)


@fuzz
@given(mutated(configurations, OPTIONS).filter(lambda text: b"exec" not in text.lower()))
def test_ssh_config(ssh_file: Path, text: bytes) -> None:
    ssh_file.write_bytes(text)
    try:
        found = target(Login("sftp", "h", None, "me", None), ssh_file)
    except LoginError as error:
        assert error.message
        return
    assert found.host
    assert 0 < found.port < 1 << 16
    assert found.name
