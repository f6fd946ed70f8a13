"""ftp:// and ftps://, on ftplib."""

from fetcher.handlers.ftp.handler import FTPDownloadHandler, FTPSDownloadHandler

__all__ = ["FTPDownloadHandler", "FTPSDownloadHandler"]
