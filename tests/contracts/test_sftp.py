"""The handler for sftp://."""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paramiko import Message, PKey
from paramiko.common import (
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_SUCCESS,
    MSG_KEXINIT,
    MSG_SERVICE_ACCEPT,
    MSG_USERAUTH_SUCCESS,
    cMSG_CHANNEL_DATA,
    cMSG_CHANNEL_EXTENDED_DATA,
)
from paramiko.packet import Packetizer
from paramiko.sftp import CMD_CLOSE
from scrapy import Request
from scrapy.exceptions import NotSupported

from fetcher.errors import ConnectionFailedError, HostKeyError
from fetcher.handlers.sftp import SFTPDownloadHandler
from fetcher.handlers.sftp.ssh import WINDOW
from tests.contracts.client import Client, expects, names, settled, until
from tests.contracts.handler import SMALL
from tests.contracts.server import PASSWORD, PATH, USER
from tests.contracts.sessions import FileServer, SessionHandlerContract
from tests.contracts.sink import RecordingSink
from tests.servers.resource import Gate
from tests.servers.sftp import SFTPServer, new_key
from tests.servers.sftp_session import After, ConnectionFault

MSG_KEXECDH_REPLY = 31  # RFC 5656, section 7.1


class SFTPFileServer(FileServer):
    """paramiko."""

    def __init__(self, server: SFTPServer, root: Path, known_hosts: Path) -> None:
        super().__init__("sftp", server.port, root)
        self.server = server
        self.behaviour = server.behaviour
        self.known_hosts = known_hosts
        self.settings = {"FETCHER_SSH_KNOWN_HOSTS": str(known_hosts)}
        self.know(server.host_key)

    def know(self, key: PKey) -> None:
        """From now on this key, and no other, is known as the server's."""
        line = f"[127.0.0.1]:{self.relay.port} {key.get_name()} {key.get_base64()}\n"
        self.known_hosts.write_text(line, "utf-8")

    def forbid(self, path: str) -> None:
        self.behaviour.forbidden.add(path)

    def overstate(self, path: str, by: int) -> None:
        self.behaviour.sizes[path] = self.place(path).stat().st_size + by

    def understate(self, path: str, by: int) -> None:
        self.overstate(path, -by)

    def hide_size(self, path: str) -> None:
        self.behaviour.sizes[path] = None

    def cut(self, path: str, after: int, *, reset: bool) -> None:
        self.relay.resets = reset
        self.behaviour.faults[path] = [After(after, "cut")]

    def stall(self, path: str, after: int) -> None:
        self.behaviour.faults[path] = [After(after, "stall")]

    def gate(self, path: str, after: int) -> Gate:
        self.behaviour.gates[path] = gate = Gate(after)
        return gate

    def limit(self, connections: int) -> None:
        self.behaviour.max_connections = connections

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.stop()


class TestSFTP(SessionHandlerContract):
    handler = SFTPDownloadHandler

    @pytest.fixture
    def server(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SFTPFileServer]:
        # Whoever runs the tests has keys and a configuration of his own.
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        root = tmp_path / "root"
        root.mkdir()
        server = SFTPServer(root, {USER: PASSWORD}, home="/home")
        with SFTPFileServer(server, root, tmp_path / "known_hosts") as files:
            yield files

    async def test_request_without_a_sink(self, server: SFTPFileServer, client: Client) -> None:
        with pytest.raises(NotSupported, match="can only be fetched as a file"):
            await client.handler.download_request(Request(server.url()))

    # --- how a transfer ends ---------------------------------------------------------------

    async def test_read_that_fails(self, server: SFTPFileServer, client: Client) -> None:
        server.behaviour.faults[PATH] = [After(50_000, "fail")]
        sink = RecordingSink.range(0, SMALL.size)
        error = await client.failure(sink)
        assert isinstance(error, ConnectionFailedError)
        names(error, server)
        assert bytes(sink.data) == SMALL.read(0, 50_000)
        await self._still_works(client)

    async def test_end_before_its_time(self, server: SFTPFileServer, client: Client) -> None:
        server.behaviour.faults[PATH] = [After(50_000, "end")]
        sink = RecordingSink.range(0, SMALL.size)
        error = await client.failure(sink)
        assert isinstance(error, ConnectionFailedError)
        assert bytes(sink.data) == SMALL.read(0, 50_000)
        await self._still_works(client)

    @pytest.mark.parametrize("most", [1, 4000, 32 << 10])
    async def test_server_that_answers_short(
        self, server: SFTPFileServer, client: Client, most: int
    ) -> None:
        server.behaviour.max_read = most
        end = 4096 + (200 if most == 1 else 90_000)
        assert await client.get(4096, end) == SMALL.read(4096, end)

    async def test_range_asks_for_no_more_than_that(
        self, server: SFTPFileServer, client: Client
    ) -> None:
        """But for one byte behind the end, where none should be."""
        await client.get(4096, 70_000)
        assert server.server.sent(PATH) == 70_000 - 4096
        await client.get(70_000, SMALL.size)
        reads = [each for each in server.server.operations if each.kind == "read"]
        assert max(each.offset + each.size for each in reads) == SMALL.size + 1

    @pytest.mark.parametrize("extended", [False, True], ids=["data", "stderr"])
    async def test_flood(self, server: SFTPFileServer, client: Client, extended: bool) -> None:
        """Nobody reads what comes then; it does not fill the memory all the same."""
        channels: list[Any] = []
        server.behaviour.answers[CMD_CLOSE] = lambda channel, _: channels.append(channel)
        await self._still_works(client)
        head = cMSG_CHANNEL_EXTENDED_DATA if extended else cMSG_CHANNEL_DATA
        head += struct.pack(">I", channels[0].remote_chanid)
        head += struct.pack(">I", 1) if extended else b""
        message, sent = Message(head + struct.pack(">I", 32_000) + bytes(32_000)), 0
        with suppress(OSError, EOFError):
            while server.relay.open and sent < 16 * WINDOW:
                channels[0].get_transport()._send_user_message(message)
                sent += 32_000
        await until(lambda: server.relay.open == 0)
        assert sent > WINDOW

    # --- what servers lack -----------------------------------------------------------------

    async def test_no_dates(self, server: SFTPFileServer, client: Client) -> None:
        server.behaviour.times[PATH] = None
        sink = RecordingSink.range(4096, 70_000)
        await client.fetch(sink)
        assert sink.status == 206
        assert "last-modified" not in sink.headers

    @pytest.mark.parametrize("fault", ["channel", "subsystem"])
    async def test_no_sftp(
        self, server: SFTPFileServer, client: Client, fault: ConnectionFault
    ) -> None:
        server.behaviour.connection_faults = [fault]
        sink = RecordingSink.range(0, 1000)
        await client.fetch(sink)
        assert sink.status == 403
        assert sink.answer is not None
        assert "SFTP" in sink.answer.reason
        await until(lambda: server.relay.open == 0)
        await self._still_works(client)

    @pytest.mark.parametrize(
        ("kind", "instead"),
        [
            (MSG_KEXINIT, bytes([MSG_KEXINIT]) + bytes(20)),
            (MSG_KEXINIT, b"\xf5" + bytes(8)),
            (MSG_KEXECDH_REPLY, bytes([MSG_KEXECDH_REPLY]) + b"\0\0\0\x33\0"),
            (MSG_SERVICE_ACCEPT, b"\x39" + bytes(8)),
            (MSG_SERVICE_ACCEPT, b"\xf5" + bytes(8)),
            (MSG_SERVICE_ACCEPT, bytes([MSG_SERVICE_ACCEPT]) + b"\0\0\0\1\xff"),
            (MSG_USERAUTH_SUCCESS, b"\xf5" + bytes(8)),
            (MSG_CHANNEL_OPEN_SUCCESS, b"\xf5" + bytes(8)),
            (MSG_CHANNEL_SUCCESS, bytes([MSG_CHANNEL_SUCCESS]) + b"\0\0\0\x09"),
        ],
    )
    async def test_message_that_makes_no_sense(
        self,
        server: SFTPFileServer,
        client: Client,
        monkeypatch: pytest.MonkeyPatch,
        kind: int,
        instead: bytes,
    ) -> None:
        # A timer of paramiko's outlives connections that end so early.
        monkeypatch.setattr(Packetizer, "start_handshake", lambda *_: None)
        server.behaviour.messages[kind] = instead
        await client.failure(RecordingSink.range(0, 1000))
        await until(lambda: server.relay.open == 0)
        server.behaviour.messages.clear()
        await self._still_works(client)

    # --- who it is -------------------------------------------------------------------------

    async def test_host_key_that_is_not_known(self, server: SFTPFileServer, client: Client) -> None:
        server.known_hosts.unlink()
        await self._is_not_trusted(server, client)

    async def test_host_key_that_has_changed(self, server: SFTPFileServer, client: Client) -> None:
        server.know(new_key())
        await self._is_not_trusted(server, client)

    @settled(FETCHER_SSH_HOST_KEY_POLICY="accept-new")
    async def test_host_key_that_is_accepted(self, server: SFTPFileServer, client: Client) -> None:
        server.known_hosts.unlink()
        await self._still_works(client)
        assert server.server.host_key.get_base64() in server.known_hosts.read_text("utf-8")

    @pytest.mark.parametrize(("times", "status"), [(1, 206), (9, 401)])
    async def test_server_that_hangs_up_on_who_logs_in(
        self, server: SFTPFileServer, client: Client, times: int, status: int
    ) -> None:
        """Without a word of refusal; the password gets no more than a second chance."""
        server.behaviour.connection_faults = ["goodbye"] * times
        sink = RecordingSink.range(0, 1000)
        await client.fetch(sink)
        assert sink.status == status
        assert server.relay.connections == 2

    async def test_server_that_hangs_up_on_keys(
        self, server: SFTPFileServer, client: Client, tmp_path: Path
    ) -> None:
        """Before the password has had its turn."""
        key = tmp_path / "home/.ssh/id_ed25519"
        key.parent.mkdir(parents=True)
        private = Ed25519PrivateKey.generate()
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        server.server.keys = {USER: []}
        server.behaviour.connection_faults = ["goodbye"]
        await self._still_works(client)
        assert server.relay.connections == 2

    async def _is_not_trusted(self, server: SFTPFileServer, client: Client) -> None:
        error = await client.failure(RecordingSink.range(0, 1000))
        assert isinstance(error, HostKeyError)
        assert not error.retryable
        assert f"127.0.0.1]:{server.relay.port}" in error.message
        assert server.server.operations == []
        await until(lambda: server.relay.open == 0)

    # --- addresses -------------------------------------------------------------------------

    async def test_path_at_home(self, server: SFTPFileServer, client: Client) -> None:
        server.put("/home/größer", SMALL)
        sink = RecordingSink.range(5, 1000)
        await client.fetch(sink, url=server.url("/~/größer"))
        expects(sink, SMALL, 5, 1000)

    async def test_link(self, server: SFTPFileServer, client: Client) -> None:
        server.place("/link").symlink_to("a.bin")
        assert await client.get(5, 1000, "/link") == SMALL.read(5, 1000)

    async def test_what_is_no_regular_file(self, server: SFTPFileServer, client: Client) -> None:
        """It might never end."""
        os.mkfifo(server.place("/pipe"))
        sink = RecordingSink.range(0, 1000)
        await client.fetch(sink, "/pipe")
        assert sink.status == 403
