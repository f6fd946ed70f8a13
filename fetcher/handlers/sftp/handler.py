"""sftp:// as a Scrapy download handler."""

from __future__ import annotations

from pathlib import Path

from scrapy.crawler import Crawler

from fetcher.handlers.blocking import BlockingDownloadHandler, Login
from fetcher.handlers.sftp.known_hosts import KnownHosts
from fetcher.handlers.sftp.session import SFTPSession


class SFTPDownloadHandler(BlockingDownloadHandler):
    """Each session is an SSH connection with one SFTP channel."""

    scheme = "sftp"

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._known_hosts = KnownHosts(
            Path(self.config.ssh_known_hosts).expanduser(),
            accept_new=self.config.ssh_host_key_policy == "accept-new",
        )

    def session(self, login: Login) -> SFTPSession:
        """See :class:`BlockingDownloadHandler`."""
        return SFTPSession(login, self._known_hosts, self.config, self.read_size)
