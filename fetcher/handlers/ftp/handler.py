"""ftp:// and ftps:// as a Scrapy download handler."""

from __future__ import annotations

import ssl
from functools import cached_property

from fetcher.handlers.blocking import BlockingDownloadHandler, Login
from fetcher.handlers.ftp.session import FTPSession, TLSMode

IMPLICIT_PORT = 990


class FTPDownloadHandler(BlockingDownloadHandler):
    """Each session is a control connection, with a data connection for the file it reads."""

    scheme = "ftp"

    def session(self, login: Login) -> FTPSession:
        """See :class:`BlockingDownloadHandler`."""
        mode = self._mode(login)
        context = None if mode is TLSMode.NONE else self._context
        return FTPSession(login, mode, context, self.config.connect_timeout, self.read_size)

    def _mode(self, login: Login) -> TLSMode:
        if login.scheme == "ftps":
            implicit = login.port in (None, IMPLICIT_PORT)
            return TLSMode.IMPLICIT if implicit else TLSMode.EXPLICIT
        return TLSMode.EXPLICIT if self.config.ftp_tls == "require" else TLSMode.NONE

    @cached_property
    def _context(self) -> ssl.SSLContext:
        # The system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR.
        context = ssl.create_default_context()
        # Some builds of Python are told by default to take a cut for an end.
        context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        if not self.config.verify_certificates:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class FTPSDownloadHandler(FTPDownloadHandler):
    """The same for ftps."""

    scheme = "ftps"
