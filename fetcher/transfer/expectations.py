"""What list, server and settings say a file has to be."""

from __future__ import annotations

from fetcher.config import Config
from fetcher.contract import Answer, FileMeta, listed_checksums
from fetcher.errors import NoChecksumError, ProtocolError, SizeMismatchError, TooLargeError
from fetcher.rules.answers import Version
from fetcher.rules.checksums import stated_checksums
from fetcher.rules.pages import HEAD, looks_like_page, says_page
from fetcher.rules.urls import redact


class Expectations:
    """Compares a first answer with the row, and knows what the bytes will be compared with.

    :param meta: the row.
    :param config: the settings.
    """

    def __init__(self, meta: FileMeta, config: Config) -> None:
        self._meta = meta
        self._config = config
        self.stated = listed_checksums(meta) if config.checksum != "off" else {}
        """Who states a checksum, to ``algorithm:hex``."""
        self._listed = bool(self.stated)
        self._pieced = meta.get("pieces") is not None
        self._coded = False
        self._kept: tuple[str, Version] | None = None
        self._page: str | None = None
        self._head = b""

    @property
    def listed_size(self) -> int | None:
        """Bytes, if the list says; it does not speak of a compressed form."""
        return None if self._coded else self._meta["size"]

    @property
    def listed(self) -> bool:
        """Whether the list itself has something to compare all bytes with."""
        return self._pieced or self._listed

    @property
    def told(self) -> bool:
        """Whether the list says something by which another file shows."""
        return self.listed or self._meta["size"] is not None

    @property
    def verifiable(self) -> bool:
        """Whether all bytes will be compared with something in the end."""
        return self._pieced or bool(self.stated)

    @property
    def algorithms(self) -> set[str]:
        """What has to be computed of the bytes."""
        compared = {value.partition(":")[0] for value in self.stated.values()}
        return compared | ({self._config.record_checksum} - {""})

    def meet(self, name: str, answer: Answer, version: Version) -> None:
        """Take up a first answer.

        :param name: the file's, for the errors.
        :raises SizeMismatchError: the list says another size.
        :raises TooLargeError: it is larger than ``DOWNLOAD_MAXSIZE``.
        :raises NoChecksumError: a checksum is required, and nobody states one.
        """
        self._coded = bool(version.codings)
        self._page = answer.url if not self.told and says_page(answer, name) else None
        self._head = b""
        if version.size is not None:
            self.check_size(name, version.size)
        if self._config.checksum != "off" and not self.listed:
            self.stated = stated_checksums(answer.status, answer.headers)
        if self._config.checksum == "require" and not self.verifiable:
            raise NoChecksumError(
                f"neither the list nor the server states a checksum of {name}: add one to the "
                "list, or set FETCHER_CHECKSUM=auto"
            )

    def check_page(self, data: bytes | memoryview | None = None) -> None:
        """Look at the next bytes of the body's beginning, before they are written.

        :param data: None where a file is at stake that is there already: then it is enough that the
            answer calls itself a page.
        :raises ProtocolError: an error page came instead of the file, with status 200.
        """
        if self._page is None:
            return
        if data is not None:
            self._head += data[:HEAD]
            if not looks_like_page(self._head):
                self._page = self._page if len(self._head) < HEAD else None
                return
        raise ProtocolError(
            f"{redact(self._page)} answered with a web page instead of the file: look at it in a "
            "browser, it may want a login"
        )

    def keep(self, address: str, version: Version) -> None:
        """Bytes of this version are there, and no more are to be had from ``address``."""
        self._kept = address, version

    def check_kept(self, name: str, address: str, version: Version) -> None:
        """Judge what is to take the place of what is there.

        :raises SizeMismatchError: it comes from another address and has another size, and nothing
            in the list tells who is right.
        """
        if self._kept is None or self.told:
            return
        first, known = self._kept
        if first != address and known.codings == version.codings and known.size != version.size:
            size = "an unknown number of" if version.size is None else version.size
            raise SizeMismatchError(
                f"{redact(first)} has {known.size} bytes for {name}, but {redact(address)} has "
                f"{size} bytes: give the right size or a checksum in the list"
            )

    def check_size(self, name: str, size: int, *, more: bool = False) -> None:
        """Compare a size with the list's and with the limit.

        :param more: the file has at least these bytes; fewer than the list says are no error yet.
        :raises SizeMismatchError: the list says another size.
        :raises TooLargeError: it is larger than ``DOWNLOAD_MAXSIZE``.
        """
        listed, limit = self.listed_size, self._config.max_size
        if listed is not None and (size > listed or (size != listed and not more)):
            raise SizeMismatchError(
                f"the list says that {name} has {listed} bytes, the server says {size}: correct "
                "the list"
            )
        if limit and size > limit:
            raise TooLargeError(
                f"{name} has {size} bytes, more than DOWNLOAD_MAXSIZE allows ({limit})"
            )
