"""The servers for FTP, pyftpdlib with its lies and vsftpd, as a client sees them."""

import ftplib
import gc
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CertificateAuthority, not_here
from tests.crawl import wait_for
from tests.servers.content import Content
from tests.servers.ftp import FTPServer
from tests.servers.ftp_faults import (
    BROKEN,
    COMPLETE,
    Behaviour,
    Cut,
    Data,
    DataGate,
    ExtraBytes,
    Fault,
    HangUp,
    IgnoreRest,
    Normal,
    Reply,
    Short,
    Stall,
)
from tests.servers.vsftpd import Vsftpd

CONTENT = Content((1 << 20) + 33, seed=4)
WHOLE = CONTENT.read(0, CONTENT.size)
SIZE = CONTENT.size
NAME = "ü b.bin"


class TLSClient(ftplib.FTP_TLS):
    """Resumes the control connection's session on data connections, unless it is told not to."""

    def __init__(self, context: ssl.SSLContext, *, implicit: bool = False, reuse: bool = True):
        super().__init__(context=context, timeout=10)
        # Some builds of Python are told by default to take a cut for an end.
        context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        self.implicit = implicit
        self.reuse = reuse

    def connect(self, host: str = "", port: int = 0, *_: object, **__: object) -> str:
        if not self.implicit:
            return super().connect(host, port)
        plain = socket.create_connection((host, port), 10)
        self.sock = self.context.wrap_socket(plain, server_hostname=host)
        self.host = host
        self.af = self.sock.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        plain, size = super(ftplib.FTP_TLS, self).ntransfercmd(cmd, rest)
        assert isinstance(self.sock, ssl.SSLSocket)
        session = self.sock.session if self.reuse else None
        context = self.context
        return context.wrap_socket(
            plain, server_hostname=self.host, session=session, suppress_ragged_eofs=False
        ), size


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    for name in ("a.bin", NAME, "secret"):
        CONTENT.write_to(root / name)
        os.utime(root / name, (1_700_000_000, 1_700_000_000))
    (root / "empty").touch()
    return root


@pytest.fixture
def server(folder: Path) -> Iterator[FTPServer]:
    with FTPServer(folder, {"user": "password"}) as server:
        yield server


@pytest.fixture
def certificate(certificate_authority: CertificateAuthority, tmp_path: Path) -> Path:
    path = tmp_path / "server.pem"
    issued = certificate_authority.authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def connect(
    port: int, user: str = "anonymous", password: str = "", client: ftplib.FTP | None = None
) -> closing[ftplib.FTP]:
    """A client that has logged in, for binary data."""
    client = client or ftplib.FTP(timeout=10, encoding="utf-8")  # noqa: S321
    with ExitStack() as stack:
        stack.callback(client.close)
        client.connect("127.0.0.1", port)
        client.login(user, password)
        if isinstance(client, TLSClient):
            client.prot_p()
        client.voidcmd("TYPE I")
        stack.pop_all()
    return closing(client)


def get(client: ftplib.FTP, path: str, rest: int | None = None) -> tuple[bytes, str, str]:
    """The data, how their connection ended, and the reply that followed; "" for its end."""
    received = bytearray()
    with client.transfercmd(f"RETR {path}", rest) as data:
        try:
            while block := data.recv(1 << 16):
                received += block
            end = "FIN"
        except ssl.SSLError:
            end = "no close_notify"
        except ConnectionResetError:
            end = "RST"
    try:
        return bytes(received), end, client.voidresp()
    except ftplib.Error as error:
        return bytes(received), end, str(error)
    except (EOFError, OSError):
        return bytes(received), end, ""


def rest_of(data: socket.socket) -> bytes:
    return b"".join(iter(lambda: data.recv(1 << 16), b""))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_offsets_and_what_is_said_of_them(server: FTPServer) -> None:
    with connect(server.port) as client:
        assert client.size("a.bin") == SIZE
        assert client.sendcmd("MDTM /a.bin") == "213 20231114221320"
        assert get(client, "/a.bin") == (WHOLE, "FIN", COMPLETE)
        assert get(client, NAME, SIZE - 5) == (WHOLE[-5:], "FIN", COMPLETE)
        assert get(client, "empty") == (b"", "FIN", COMPLETE)
        for line in ("RETR folder", "RETR nothing", "SIZE nothing", "MDTM nothing"):
            with pytest.raises(ftplib.error_perm, match="550"):
                client.sendcmd(line)
        assert " AUTH" not in client.sendcmd("FEAT")
        assert "a.bin" in client.nlst()
    assert server.asked("RETR")[:3] == ["/a.bin", NAME, "empty"]
    assert server.asked("REST") == [str(SIZE - 5)]
    assert server.commands[:3] == [(0, "USER anonymous"), (0, "PASS anonymous@"), (0, "TYPE I")]
    assert (server.connections, server.active, server.peak) == (1, 0, 1)
    assert server.sent > SIZE + 5


def test_addresses_and_passwords(server: FTPServer, folder: Path) -> None:
    assert server.url(f"/{NAME}") == f"ftp://127.0.0.1:{server.port}/%C3%BC%20b.bin"
    assert server.url("a", userinfo="u:p", host="localhost").startswith("ftp://u:p@localhost:")
    with connect(server.port, "user", "password") as client:
        assert get(client, "a.bin")[0] == WHOLE
    with pytest.raises(ftplib.error_perm, match="530"):
        connect(server.port, "user", "wrong")
    with (
        FTPServer(folder, anonymous=False) as other,
        pytest.raises(ftplib.error_perm, match="530"),
    ):
        connect(other.port)
    assert server.asked("PASS") == ["password", "wrong"]


def test_what_a_server_may_lack_and_lie_about(server: FTPServer) -> None:
    behaviour = server.behaviour
    with connect(server.port) as client:
        behaviour.without |= {"SIZE", "EPSV"}
        behaviour.times["/a.bin"] = "20200101000000.123"
        behaviour.pasv_host = "192.0.2.1"
        behaviour.forbidden.add("/secret")
        behaviour.replies |= {"NOOP": "502 Not implemented."}
        for line in ("SIZE a.bin", "EPSV"):
            with pytest.raises(ftplib.error_perm, match="500"):
                client.sendcmd(line)
        features = client.sendcmd("FEAT").split()
        assert "MDTM" in features
        assert not {"SIZE", "EPSV"} & set(features)
        assert client.sendcmd("MDTM a.bin") == "213 20200101000000.123"
        assert "(192,0,2,1," in client.sendcmd("PASV")
        with pytest.raises(ftplib.error_perm, match="502"):
            client.sendcmd("NOOP")
        behaviour.without.clear()
        behaviour.sizes["/a.bin"] = 7
        assert (client.size("/a.bin"), client.size(NAME)) == (7, SIZE)
        assert client.size("secret") == SIZE
        with pytest.raises(ftplib.error_perm, match="550 Permission denied"):
            client.sendcmd("RETR secret")
        assert get(client, "a.bin")[0] == WHOLE


@pytest.mark.parametrize(
    ("fault", "data", "end", "reply"),
    [
        (Cut(300_000), WHOLE[:300_000], "FIN", BROKEN),
        (Cut(300_000, reset=True), WHOLE[:300_000], "RST", BROKEN),
        (Cut(0, reply="425 No."), b"", "FIN", "425 No."),
        (Short(300_000), WHOLE[:300_000], "FIN", COMPLETE),
        (ExtraBytes(3), WHOLE + bytes(3), "FIN", COMPLETE),
        (HangUp(300_000), WHOLE[:300_000], "FIN", ""),
        (HangUp(1, reset=True), WHOLE[:1], "RST", ""),
        (HangUp(None), WHOLE, "FIN", ""),
    ],
)
def test_faults(server: FTPServer, fault: Fault, data: bytes, end: str, reply: str) -> None:
    server.fail("/a.bin", Normal(), fault)
    with connect(server.port) as client:
        assert get(client, "a.bin")[0] == WHOLE
        assert get(client, "a.bin") == (data, end, reply)
    with connect(server.port) as client:
        assert get(client, "a.bin")[0] == WHOLE
    assert server.active == 0


def test_faults_count_from_where_a_transfer_begins(server: FTPServer) -> None:
    server.fail("/a.bin", Cut(5), IgnoreRest())
    with connect(server.port) as client:
        assert get(client, "a.bin", 100)[0] == WHOLE[100:105]
        assert get(client, "a.bin", 100)[0] == WHOLE
        assert get(client, "a.bin", 100)[0] == WHOLE[100:]


def test_retr_is_refused(server: FTPServer) -> None:
    server.fail("/a.bin", Reply("450 Busy."), Reply("421 Going down."))
    with connect(server.port) as client:
        with pytest.raises(ftplib.error_temp, match="450 Busy"):
            client.transfercmd("RETR a.bin", 5)
        with pytest.raises(ftplib.error_temp, match="421 Going down"):
            client.transfercmd("RETR a.bin", 5)
        with pytest.raises(EOFError):
            client.voidresp()


@pytest.mark.parametrize("tls", [False, True])
def test_stalled_transfers_end_with_the_client_or_the_server(
    folder: Path, certificate: Path, certificate_authority: CertificateAuthority, tls: bool
) -> None:
    context = certificate_authority.client_context()
    gc.collect()  # What other tests have left to it.
    before = open_descriptors()
    with ExitStack() as stack:
        with FTPServer(folder, certificate=certificate if tls else None) as server:
            server.fail("/a.bin", Stall(5), Stall(600_000), Cut(None, reply=None), Stall(None))
            clients = [
                stack.enter_context(
                    connect(server.port, client=TLSClient(context) if tls else None)
                )
                for _ in range(4)
            ]
            with clients[0].transfercmd("RETR a.bin") as data:
                assert data.recv(100) == WHOLE[:5]
            with pytest.raises(ftplib.error_temp, match="426"):
                clients[0].voidresp()
            unread = stack.enter_context(clients[1].transfercmd("RETR a.bin"))
            with clients[2].transfercmd("RETR a.bin") as data:
                assert rest_of(data) == WHOLE
            clients[3].putcmd("RETR a.bin")
            wait_for(lambda: len(server.asked("RETR")) == 4)
            assert server.active == 1
            started = time.monotonic()
        assert time.monotonic() - started < 1
        unread.close()
        for client in clients[1:]:
            with pytest.raises((EOFError, OSError)):
                client.voidresp()
    assert open_descriptors() == before


def test_a_gate_holds_transfers_until_it_is_opened(server: FTPServer) -> None:
    gate = server.behaviour.gates["/a.bin"] = DataGate(after=1000)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server.port)) for _ in range(3)]
        streams = [stack.enter_context(client.transfercmd("RETR a.bin")) for client in clients]
        gate.wait_until_held(3)
        assert (server.active, server.sent) == (3, 3000)
        gate.open()
        for client, stream in zip(clients, streams, strict=True):
            assert rest_of(stream) == WHOLE
            assert client.voidresp() == COMPLETE
    assert (server.active, server.peak) == (0, 3)


def test_no_more_sessions_than_allowed(folder: Path) -> None:
    behaviour = Behaviour(max_connections=1)
    with FTPServer(folder, behaviour=behaviour) as server, connect(server.port) as first:
        with pytest.raises(ftplib.error_temp, match="421 Too many"):
            connect(server.port)
        behaviour.too_many = "530 Too many users."
        with pytest.raises(ftplib.error_perm, match="530 Too many users"):
            connect(server.port)
        assert get(first, "a.bin")[0] == WHOLE
        first.quit()
        with connect(server.port) as other:
            assert get(other, "a.bin")[0] == WHOLE
        assert server.connections == 4


def test_a_rate_is_kept_to(server: FTPServer) -> None:
    server.behaviour.rate = 5 * SIZE
    with connect(server.port) as client:
        started = time.monotonic()
        assert get(client, "a.bin")[0] == WHOLE
        assert time.monotonic() - started > 0.15


@pytest.mark.parametrize("implicit", [False, True])
def test_tls(
    folder: Path, certificate: Path, certificate_authority: CertificateAuthority, implicit: bool
) -> None:
    context = certificate_authority.client_context()
    with FTPServer(folder, certificate=certificate, implicit=implicit, require_tls=True) as server:
        assert server.url("/a").startswith("ftps://127.0.0.1:")
        server.fail("/a.bin", Normal(), Cut(300_000), HangUp(300_000))
        with connect(server.port, client=TLSClient(context, implicit=implicit)) as client:
            assert "AUTH TLS" in client.sendcmd("FEAT")
            assert get(client, "a.bin") == (WHOLE, "FIN", COMPLETE)
            assert get(client, "a.bin") == (WHOLE[:300_000], "no close_notify", BROKEN)
            assert get(client, "a.bin") == (WHOLE[:300_000], "no close_notify", "")
        if not implicit:
            with pytest.raises(ftplib.error_perm, match="550"):
                connect(server.port)


def test_a_bug_in_a_fault_reaches_the_test(folder: Path) -> None:
    class Wrong(Fault):
        def end(self, data: Data) -> None:
            raise KeyError("wrong")

    with pytest.raises(KeyError), FTPServer(folder) as server:
        server.fail("/a.bin", Wrong())
        with connect(server.port) as client, client.transfercmd("RETR a.bin") as data:
            assert rest_of(data) == WHOLE


def test_servers_leave_no_thread(folder: Path) -> None:
    before = threading.active_count()
    with FTPServer(folder) as one, FTPServer(folder) as other:
        with connect(one.port) as client, connect(other.port) as another:
            assert get(client, "a.bin") == get(another, "a.bin")
        assert threading.active_count() == before + 2
    assert threading.active_count() == before


# --- vsftpd --------------------------------------------------------------------------------


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start_vsftpd(stack: ExitStack, root: Path, **options: Any) -> Vsftpd:
    state = root.parent / "vsftpd"
    state.mkdir()
    try:
        return stack.enter_context(Vsftpd(root, state, **options))
    except (FileNotFoundError, RuntimeError) as error:
        not_here(str(error))


def test_vsftpd(stack: ExitStack, folder: Path) -> None:
    (folder / "secret").chmod(0)
    server = start_vsftpd(stack, folder, password="right")
    assert server.url(f"/{NAME}") == f"ftp://127.0.0.1:{server.port}/%C3%BC%20b.bin"
    with connect(server.port, password="right") as client:
        assert client.size("a.bin") == client.size("secret") == SIZE
        assert client.sendcmd("MDTM a.bin") == "213 20231114221320"
        assert get(client, "a.bin", 100) == (WHOLE[100:], "FIN", COMPLETE)
        assert get(client, NAME) == (WHOLE, "FIN", COMPLETE)
        for path in ("secret", "nothing", "folder"):
            with pytest.raises(ftplib.error_perm, match="550 Failed to open file"):
                client.transfercmd(f"RETR {path}")
    with pytest.raises(ftplib.error_perm, match="530 Login incorrect"):
        connect(server.port, password="wrong")
    assert server.connections == 2
    assert server.asked("REST") == ["100"]
    assert (server.transfers("/a.bin"), server.transfers(NAME), server.transfers("b")) == (1, 1, 0)
    assert '"226 Transfer complete."' in server.log


@pytest.mark.parametrize("implicit", [False, True])
def test_vsftpd_resumes_sessions_of_tls(
    stack: ExitStack,
    folder: Path,
    certificate: Path,
    certificate_authority: CertificateAuthority,
    implicit: bool,
) -> None:
    context = certificate_authority.client_context()
    server = start_vsftpd(
        stack, folder, certificate=certificate, implicit=implicit, require_tls=True
    )
    with connect(server.port, client=TLSClient(context, implicit=implicit)) as client:
        assert get(client, "a.bin") == (WHOLE, "FIN", COMPLETE)
    fresh = TLSClient(context, implicit=implicit, reuse=False)
    with connect(server.port, client=fresh) as client:
        assert "session reuse required" in get(client, "a.bin")[2]
    if not implicit:
        with pytest.raises(ftplib.error_perm, match="530"):
            connect(server.port)


def test_vsftpd_ends_with_all_its_sessions(stack: ExitStack, folder: Path) -> None:
    limits = {"max_per_ip": "1", "anon_max_rate": "1000"}
    server = start_vsftpd(stack, folder, settings=limits)
    with connect(server.port) as client, client.transfercmd("RETR a.bin") as data:
        assert data.recv(100)
        with pytest.raises(ftplib.error_temp, match="421 There are too many connections"):
            connect(server.port)
        stack.close()
        with pytest.raises((EOFError, OSError)):
            client.voidresp()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_vsftpd_that_does_not_start(stack: ExitStack, folder: Path, tmp_path: Path) -> None:
    start_vsftpd(stack, folder)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(RuntimeError, match="nonsense"):
        Vsftpd(folder, other, settings={"nonsense": "YES"}).start()
