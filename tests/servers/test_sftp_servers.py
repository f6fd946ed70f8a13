"""Both SFTP servers, as paramiko's client sees them."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import paramiko
import pytest

from tests.conftest import not_here
from tests.crawl import wait_for
from tests.servers.content import Content
from tests.servers.openssh import OpenSSH
from tests.servers.resource import Gate
from tests.servers.sftp import SFTPServer, new_key
from tests.servers.sftp_session import After, ConnectionFault, OffsetGate, Operation

CONTENT = Content(200_000, seed=3)
SIZE = CONTENT.size
BYTES = CONTENT.read(0, SIZE)


@pytest.fixture(autouse=True)
def not_even_a_daemon_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "home" / "user").mkdir(parents=True)
    (root / "a").write_bytes(BYTES)
    (root / "home" / "user" / "größer 100%.bin").write_bytes(b"at home")
    return root


@pytest.fixture
def server(root: Path) -> Iterator[SFTPServer]:
    with SFTPServer(root) as server:
        yield server


@contextmanager
def connected(port: int, username: str = "user", **options: Any) -> Iterator[paramiko.Transport]:
    """A connection that has logged in, by default with the password."""
    if "pkey" not in options:
        options.setdefault("password", "password")
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        transport = paramiko.Transport(sock)
        try:
            transport.connect(username=username, **options)
            yield transport
        finally:
            end(transport)


def end(transport: paramiko.Transport) -> None:
    """At once: of itself, the thread sees only within a tenth of a second that it is closed."""
    with suppress(OSError):
        transport.sock.shutdown(socket.SHUT_RDWR)
    transport.join(10)
    transport.close()


@contextmanager
def logged_in(port: int, **options: Any) -> Iterator[Any]:
    with connected(port, **options) as transport:
        client: Any = paramiko.SFTPClient.from_transport(transport)
        client.get_channel().settimeout(30)
        yield client


@contextmanager
def ssh_client(port: int, known_hosts: Path, **options: Any) -> Iterator[Any]:
    """A connection to a server that has shown a key it is known by."""
    client: Any = paramiko.SSHClient()
    client.load_host_keys(str(known_hosts))
    try:
        client.connect("127.0.0.1", port, allow_agent=False, look_for_keys=False, **options)
        yield client
    finally:
        end(client.get_transport())


def ask(file: Any, offset: int, size: int) -> bytes:
    """What one READ is answered with; EOFError and OSError for a refusal."""
    request = (paramiko.sftp.CMD_READ, file.handle, paramiko.sftp.int64(offset), size)
    answer: bytes = file.sftp._request(*request)[1].get_string()
    return answer


def read(client: Any, path: str = "/a") -> bytes:
    """All that comes, be it whole or not."""
    received = b""
    with client.open(path) as file, suppress(EOFError, OSError, paramiko.SSHException):
        while True:
            received += ask(file, len(received), 32 << 10)
    return received


def in_thread(call: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    return thread


# --- What a good server does -------------------------------------------------------------------


def test_gives_the_right_bytes(server: SFTPServer) -> None:
    with logged_in(server.port) as client:
        assert client.stat("/a").st_size == SIZE
        assert read(client) == BYTES
        with client.open("/a") as file:
            assert file.stat().st_size == SIZE
            assert ask(file, 70_000, 100) == BYTES[70_000:70_100]
            assert server.open_files("/a") == 1
    assert server.connections == 1
    assert server.sent() == server.sent("/a") == SIZE + 100
    assert server.peak() == server.peak("/a") == 1
    assert server.open_files() == 0
    assert server.operations[:3] == [
        (0, "stat", "/a", 0, 0),
        (0, "open", "/a", 0, 0),
        (0, "read", "/a", 0, 32 << 10),
    ]
    assert server.operations[-1] == Operation(0, "read", "/a", 70_000, 100)


def test_relative_names_begin_at_home(root: Path) -> None:
    with SFTPServer(root, home="/home/user") as server, logged_in(server.port) as client:
        assert client.normalize(".") == "/home/user"
        assert read(client, "größer 100%.bin") == b"at home"
        assert server.operations[0].path == "/home/user/größer 100%.bin"
        expected = f"sftp://user:password@127.0.0.1:{server.port}/~/gr%C3%B6%C3%9Fer%20100%25.bin"
        assert server.url("/~/größer 100%.bin") == expected
        assert server.url("/a", userinfo="") == f"sftp://127.0.0.1:{server.port}/a"


def test_what_is_not_there(server: SFTPServer) -> None:
    with logged_in(server.port) as client:
        for path in ("/b", "/a/b", "/\0"):
            with pytest.raises(FileNotFoundError):
                client.stat(path)
            with pytest.raises(FileNotFoundError):
                client.open(path)
        with pytest.raises(PermissionError):
            client.open("/b", "w")
        with client.open("/home") as folder, pytest.raises(OSError, match="Failure"):
            ask(folder, 0, 10)


def test_logs_in_with_a_key(root: Path) -> None:
    key = new_key()
    with SFTPServer(root, users={}, keys={"user": [key]}) as server:
        with logged_in(server.port, pkey=key) as client:
            assert read(client) == BYTES
        for wrong in ({"pkey": new_key()}, {"pkey": key, "username": "other"}, {}):
            with (
                pytest.raises(paramiko.AuthenticationException),
                connected(server.port, **wrong),
            ):
                pass


def test_refuses_a_wrong_password(server: SFTPServer) -> None:
    wrong = [{"password": "passwort"}, {"username": "other"}, {"password": ""}]
    for options in wrong:
        with pytest.raises(paramiko.AuthenticationException), connected(server.port, **options):
            pass
    server.behaviour.refuse_auth = True
    with pytest.raises(paramiko.AuthenticationException), connected(server.port):
        pass


def test_shows_its_keys(root: Path, tmp_path: Path) -> None:
    keys = [new_key(), paramiko.ECDSAKey.generate()]
    with SFTPServer(root, host_key=keys) as server:
        for key in keys:
            known = server.known_hosts(tmp_path / "known", keys=[key])
            with ssh_client(server.port, known, username="user", password="password") as client:
                assert client.get_transport().get_remote_server_key() == key
        both = server.known_hosts(tmp_path / "known").read_text("ascii").splitlines()
        assert [line.split()[1] for line in both] == ["ssh-ed25519", "ecdsa-sha2-nistp256"]


# --- What a bad one does -----------------------------------------------------------------------


def test_answers_short(server: SFTPServer) -> None:
    server.behaviour.max_read = 1000
    with logged_in(server.port) as client:
        assert read(client) == BYTES
        assert len(server.operations) == 2 + SIZE // 1000


def test_says_what_it_is_told_to(server: SFTPServer) -> None:
    server.behaviour.sizes["/a"] = 5 << 40
    server.behaviour.times["/a"] = 1_700_000_000
    with logged_in(server.port) as client, client.open("/a") as file:
        for said in (client.stat("/a"), client.lstat("/a"), file.stat()):
            assert (said.st_size, said.st_mtime) == (5 << 40, 1_700_000_000)
        server.behaviour.sizes["/a"] = None
        assert client.stat("/a").st_size is None


def test_forbids(server: SFTPServer) -> None:
    server.behaviour.forbidden.add("/a")
    with logged_in(server.port) as client:
        assert client.stat("/a").st_size == SIZE
        with pytest.raises(PermissionError):
            client.open("/a")


@pytest.mark.parametrize("count", [0, 1, 100_000, SIZE])
def test_faults_come_when_they_should_and_wear_off(server: SFTPServer, count: int) -> None:
    server.behaviour.faults["/a"] = [
        None,
        After(count, "fail"),
        After(count, "end"),
        After(count, "cut"),
    ]
    with logged_in(server.port) as client:
        assert read(client) == BYTES
        with client.open("/a") as file:
            received = b""
            while len(received) < count:
                received += ask(file, len(received), 32 << 10)
            for _ in range(2):
                with pytest.raises(OSError, match="Failure"):
                    ask(file, 0, 10)
        assert received == BYTES[:count]
        assert read(client) == BYTES[:count]
        assert client.stat("/a").st_size == SIZE
        assert read(client) == BYTES[:count]
        with pytest.raises((OSError, EOFError, paramiko.SSHException)):
            client.stat("/a")
    with logged_in(server.port) as client:
        assert read(client) == BYTES
    assert server.sent() == 2 * SIZE + 3 * count


def test_stalls(server: SFTPServer) -> None:
    server.behaviour.faults["/a"] = [After(1000, "stall")]
    with logged_in(server.port) as client:
        file = client.open("/a")
        assert ask(file, 0, 2000) == BYTES[:1000]
        client.get_channel().settimeout(0.1)
        with pytest.raises(TimeoutError):
            ask(file, 1000, 10)
    wait_for(lambda: server.open_files() == 0)


def test_holds_what_has_given_so_much(server: SFTPServer) -> None:
    gate = server.behaviour.gates["/a"] = Gate(after=50_000)
    received: list[bytes] = []

    def fetch(client: Any) -> None:
        received.append(read(client))

    with logged_in(server.port) as one, logged_in(server.port) as other:
        threads = [in_thread(fetch, client) for client in (one, other)]
        gate.wait_until_held(2)
        assert server.sent("/a") == 2 * 50_000
        assert server.peak("/a") == 2
        gate.open()
        for thread in threads:
            thread.join()
    assert received == [BYTES, BYTES]
    assert server.peak_connections == 2


def test_holds_what_reaches_an_offset(server: SFTPServer) -> None:
    gate = server.behaviour.gates["/a"] = OffsetGate(50_000)
    with logged_in(server.port) as one, logged_in(server.port) as other:
        thread = in_thread(read, one)
        gate.wait_until_held()
        with other.open("/a") as file:
            assert ask(file, 60_000, 100) == BYTES[60_000:60_100]
        gate.open()
        thread.join()


@pytest.mark.parametrize("stalled", [False, True])
def test_stops_while_a_read_waits(root: Path, stalled: bool) -> None:
    with SFTPServer(root) as server:
        gate = server.behaviour.gates["/a"] = Gate()
        if stalled:
            server.behaviour.faults["/a"] = [After(0, "stall")]
        with logged_in(server.port) as client:
            received: list[bytes] = []
            thread = in_thread(lambda: received.append(read(client)))
            if not stalled:
                gate.wait_until_held()
            wait_for(lambda: server.operations[-1:] == [(0, "read", "/a", 0, 32 << 10)])
            started = time.monotonic()
            server.stop()
            assert time.monotonic() - started < 5
            thread.join()
            assert received == [b""]


def test_a_pipe_answers_nothing(server: SFTPServer, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with logged_in(server.port) as client:
        client.get_channel().settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.open("/pipe")


def banner(port: int, timeout: float = 10) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout) as sock:
        return sock.recv(4)


def test_keeps_surplus_connections_out(server: SFTPServer) -> None:
    server.behaviour.max_connections = 1
    with connected(server.port):
        assert banner(server.port) == b""
        assert server.open_connections == 1
    assert banner(server.port) == b"SSH-"
    assert (server.connections, server.refused, server.peak_connections) == (2, 1, 1)


def test_keeps_silent(server: SFTPServer) -> None:
    server.behaviour.banner_delay = 0.1
    started = time.monotonic()
    assert banner(server.port) == b"SSH-"
    assert time.monotonic() - started >= 0.1
    server.behaviour.silent = True
    with pytest.raises(TimeoutError):
        banner(server.port, 0.1)
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        wait_for(lambda: server.connections == 3)
        server.stop()
        assert sock.recv(4) == b""


@pytest.mark.parametrize("fault", ["close", "silent", "auth", "channel", "subsystem"])
def test_a_connection_fails_and_the_next_does_not(
    server: SFTPServer, fault: ConnectionFault
) -> None:
    server.behaviour.connection_faults = [fault]
    if fault == "close":
        assert banner(server.port) == b""
    elif fault == "silent":
        with pytest.raises(TimeoutError):
            banner(server.port, 0.1)
    else:
        error: type[Exception] = {
            "auth": paramiko.AuthenticationException,
            "channel": paramiko.ChannelException,
            "subsystem": paramiko.SSHException,
        }[fault]
        with pytest.raises(error), logged_in(server.port):
            pass
    with logged_in(server.port) as client:
        assert read(client) == BYTES


# --- OpenSSH -----------------------------------------------------------------------------------


@pytest.fixture
def openssh(tmp_path: Path) -> OpenSSH:
    state = tmp_path / "state"
    state.mkdir()
    try:
        return OpenSSH(state, {"MaxStartups": "1"})
    except FileNotFoundError as error:
        not_here(str(error))


def openssh_client(openssh: OpenSSH, known: Path) -> AbstractContextManager[Any]:
    key = str(openssh.client_key)
    return ssh_client(openssh.port, known, username=openssh.user, key_filename=key)


def test_openssh(openssh: OpenSSH, root: Path, tmp_path: Path) -> None:
    known = tmp_path / "known"
    with openssh:
        assert openssh.url("/a b") == f"sftp://{openssh.user}@127.0.0.1:{openssh.port}/a%20b"
        assert openssh.log == ""
        for types in (["ed25519"], ["ecdsa"], ["rsa"], None):
            with openssh_client(openssh, openssh.known_hosts(known, types=types)) as client:
                assert read(client.open_sftp(), str(root / "a")) == BYTES
        assert "Accepted publickey" in openssh.log
        with socket.create_connection(("127.0.0.1", openssh.port), 10) as sock:
            assert sock.recv(4) == b"SSH-"
            assert banner(openssh.port) != b"SSH-"  # As MaxStartups says.
        wait_for(lambda: openssh.connections == 0)


def test_openssh_with_new_keys(openssh: OpenSSH, tmp_path: Path) -> None:
    with openssh:
        old = openssh.known_hosts(tmp_path / "old")
        with openssh_client(openssh, old) as client:
            client.open_sftp()
            assert openssh.connections == 1
            openssh.new_host_keys()
            assert openssh.connections == 0
        with pytest.raises(paramiko.BadHostKeyException), openssh_client(openssh, old):
            pass
        wait_for(lambda: openssh.connections == 0)
        with openssh_client(openssh, openssh.known_hosts(tmp_path / "new")):
            pass
    with pytest.raises(ConnectionRefusedError):
        banner(openssh.port)
