"""ftp:// and ftps://, on ftplib."""

from fetcher.handlers.ftp.handler import FTPDownloadHandler

__all__ = ["FTPDownloadHandler"]
