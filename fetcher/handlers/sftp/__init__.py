"""sftp://, on paramiko."""

from fetcher.handlers.sftp.handler import SFTPDownloadHandler

__all__ = ["SFTPDownloadHandler"]
