"""The handler for ftps://, by AUTH TLS and with TLS from the first byte."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from scrapy import Request
from scrapy.exceptions import NotSupported

from fetcher.handlers.ftp import FTPSDownloadHandler
from fetcher.handlers.ftp import handler as ftp_handler
from tests.conftest import CertificateAuthority
from tests.contracts.client import Client
from tests.contracts.handler import HandlerContract
from tests.contracts.server import PASSWORD, USER
from tests.contracts.sessions import SessionHandlerContract
from tests.contracts.test_ftp import FTPFileServer
from tests.servers.ftp import FTPServer


@pytest.fixture(autouse=True)
def trust(certificate_authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in certificate_authority.env.items():
        monkeypatch.setenv(name, value)


class TestExplicit(SessionHandlerContract):
    handler = FTPSDownloadHandler

    @pytest.fixture
    def server(self, tmp_path: Path, certificate: Path) -> Iterator[FTPFileServer]:
        root = tmp_path / "root"
        root.mkdir()
        server = FTPServer(
            root, {USER: PASSWORD}, anonymous=False, certificate=certificate, require_tls=True
        )
        with FTPFileServer(server, root, "ftps") as files:
            yield files

    async def test_request_without_a_sink(self, server: FTPFileServer, client: Client) -> None:
        with pytest.raises(NotSupported, match="can only be fetched as a file"):
            await client.handler.download_request(Request(server.url()))


class TestImplicit(HandlerContract):
    """What concerns sessions is the same once they are secured."""

    handler = FTPSDownloadHandler

    @pytest.fixture
    def server(
        self, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[FTPFileServer]:
        root = tmp_path / "root"
        root.mkdir()
        server = FTPServer(root, {USER: PASSWORD}, certificate=certificate, implicit=True)
        with FTPFileServer(server, root, "ftps") as files:
            # What is port 990 elsewhere.
            monkeypatch.setattr(ftp_handler, "IMPLICIT_PORT", files.relay.port)
            yield files
