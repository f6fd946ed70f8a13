"""Everything that can go wrong, as one tree.

::

    FetchError
    ├── InvalidSettingError       a setting has a value that means nothing (exit status 2)
    ├── InvalidListError          the list itself cannot be used (exit status 2)
    ├── InvalidRowError           one row of the list cannot be used
    │   ├── InvalidNameError
    │   ├── InvalidURLError
    │   └── SetAsideError             a shared queue's row that has ended its worker thrice
    ├── ServerError               what a server did
    │   ├── ConnectionFailedError     not reached, refused, reset, cut        (retried)
    │   ├── ConnectTimeoutError       no connection or no answer in time      (retried)
    │   ├── StalledError              too few bytes for too long              (retried)
    │   ├── CertificateError          the server's certificate is not trusted
    │   ├── HostKeyError              the SSH server's key is unknown, or has changed
    │   ├── LoginError                nothing to log in with
    │   ├── StatusError               an answer with a status that is no file
    │   ├── RedirectError             too many redirects, or one to another kind of address
    │   ├── FilteredError             a middleware of the project lets no request through
    │   ├── ProtocolError             an answer that contradicts itself or the request
    │   │   └── DecodeError               compressed bytes that are damaged or end early
    │   ├── RangesRefusedError        ranges do not work here                 (one stream instead)
    │   ├── ChangedError              another version of the file             (begun anew)
    │   ├── TooLargeError             more than DOWNLOAD_MAXSIZE
    │   ├── SizeMismatchError
    │   ├── ChecksumMismatchError
    │   └── NoChecksumError           FETCHER_CHECKSUM=require, and there is none
    ├── DiskError                 what the disk or another process on it did
    │   ├── DiskFullError
    │   ├── LockedError
    │   └── ForeignFileError          another file stands under this name
    ├── QueueError                the shared queue is out of reach, or is not what it was
    ├── NodeError                 a Scrapyd that is to run jobs is out of reach, or refuses
    ├── UnpackError               a whole archive, the content of which cannot be unpacked
    └── Stopped                   the run was interrupted

Each message is one sentence for a person: what happened, to what, and what to do.
Leaves inherit the Scrapy exception of the same meaning where there is one, so that other
people's middlewares recognise them.
"""

from __future__ import annotations

from scrapy.exceptions import (
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    IgnoreRequest,
)


class FetchError(Exception):
    """Root of all errors of this project.

    ``retryable`` says whether asking the same server again, later, makes sense.
    """

    retryable = False

    @property
    def message(self) -> str:
        """The sentence for the report and the terminal."""
        return str(self)


class InvalidSettingError(FetchError):
    """A setting has a value that means nothing."""


class InvalidListError(FetchError):
    """The URL list is missing, unreadable, empty or not a list."""


class InvalidRowError(FetchError):
    """A row of the list cannot be used; the others go on."""


class InvalidNameError(InvalidRowError):
    """The list gives a name that may not be used as a file name."""


class InvalidURLError(InvalidRowError):
    """The list gives an address that is none, or of an unknown scheme."""


class SetAsideError(InvalidRowError):
    """A row of a shared queue over which one worker after the other has died."""


class ServerError(FetchError):
    """What a server, or the way to it, did."""


class ConnectionFailedError(ServerError, DownloadFailedError, DownloadConnectionRefusedError):
    """The server was not reached, or the connection broke."""

    retryable = True


class ConnectTimeoutError(ServerError, DownloadTimeoutError):
    """No connection, or no answer on it, within ``FETCHER_CONNECT_TIMEOUT``."""

    retryable = True


class StalledError(ServerError, DownloadTimeoutError):
    """Fewer bytes than ``FETCHER_STALL_SPEED`` over ``FETCHER_STALL_TIMEOUT``."""

    retryable = True


class CertificateError(ServerError, DownloadFailedError):
    """The server's TLS certificate is not trusted."""


class HostKeyError(ServerError):
    """The SSH server's host key is unknown, has changed or is revoked."""


class LoginError(ServerError):
    """The means to log in with cannot be used: a key that is missing, unreadable or encrypted."""


class StatusError(ServerError):
    """The server answered with a status that carries no file.

    :param status: the HTTP status code.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class RedirectError(ServerError):
    """Too many redirects, or a redirect to something else than http or https."""


class FilteredError(ServerError, IgnoreRequest):
    """A middleware of the project lets the request not through: robots.txt, an offsite host."""


class ProtocolError(ServerError):
    """An answer that contradicts the request or itself."""


class DecodeError(ProtocolError):
    """The bytes are not what their ``Content-Encoding`` says, or not all of it."""


class RangesRefusedError(ServerError):
    """The server does not give the range that was asked for; it may give the whole file."""


class ChangedError(ServerError):
    """The resource is not the version that was begun.

    :param same_facts: size and date are still those of the first version, only the ETag differs.
    """

    def __init__(self, message: str, *, same_facts: bool = False) -> None:
        super().__init__(message)
        self.same_facts = same_facts


class MirrorError(ServerError):
    """One of a file's addresses is given up for the others."""


class TooLargeError(ServerError, DownloadCancelledError):
    """The file is larger than ``DOWNLOAD_MAXSIZE``."""


class SizeMismatchError(ServerError):
    """The size is not the one that the list or the server stated."""


class ChecksumMismatchError(ServerError):
    """The bytes do not have the stated checksum."""


class NoChecksumError(ServerError):
    """``FETCHER_CHECKSUM=require`` and neither list nor server state a checksum."""


class DiskError(FetchError):
    """The output folder cannot be written to, or not as needed."""


class DiskFullError(DiskError):
    """There is no room for the rest of the file."""


class LockedError(DiskError):
    """Another process is at the same file."""


class ForeignFileError(DiskError):
    """A file that this project did not make stands under the name."""


class QueueError(FetchError):
    """The shared queue is out of reach, or is not what it was."""


class NodeError(FetchError):
    """A Scrapyd does not answer, is none, or does not take a job."""


class UnpackError(FetchError):
    """An archive is whole and in its place, but what it holds cannot be unpacked."""


class Stopped(FetchError, DownloadCancelledError):  # noqa: N818 - the report's documented type
    """The run was interrupted; the same command goes on."""
