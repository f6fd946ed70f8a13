"""The unfinished file on disk: ``name.part``, its journal ``name.part.json`` and its lock.

Order of a checkpoint: data synced, then the journal written aside, synced and renamed. So the
journal never says more than the disk holds. All but :meth:`Part.write` may take long and belong
in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fetcher.disk.allocation import allocate
from fetcher.disk.journal import Journal
from fetcher.disk.journal_file import JournalFile
from fetcher.disk.room import Growth, usable_bytes
from fetcher.errors import DiskError, DiskFullError, ForeignFileError, LockedError
from fetcher.rules.names import DECODED_SUFFIX, PART_SUFFIX, part_name

_SPARE = 1 << 20
"""Bytes that a file may occupy beyond its size, in blocks and their index."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Part:
    """The unfinished file of one final name, opened and locked.

    :param out: the output folder.
    :param name: the final name, relative to it.
    :raises LockedError: another process is at this file.
    :raises DiskError: the folder cannot be made, or the file not be opened.
    """

    def __init__(self, out: Path, name: str) -> None:
        self.name = name
        self.final = out / name
        self.folder = self.final.parent
        self.path = self.folder / part_name(self.final.name)
        self._journal = JournalFile(self.path)
        self.resumable: Journal | None = None
        self.size: int | None = None
        """Bytes that the whole file will have, once known; for the error when there is no room."""
        self._decoded_fd = -1
        self._growth = Growth(self.path)
        with self.told("opened"):
            check_inside(out, self.folder)
            self._folder = _made(self.folder)
            self._fd, there = self._open_locked()
        try:
            with self.told("read"):
                self.resumable = self._journal.read(name, there)
        except BaseException:
            self.close()
            raise

    @property
    def fd(self) -> int:
        """The open file, for reading it back; -1 once closed."""
        return self._fd

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put a block at its offset.

        :raises DiskFullError: there is no room for it.
        :raises DiskError: it cannot be written for another reason.
        """
        if self.size is None:
            self._growth.grow(len(data))
        try:
            written = os.pwrite(self._fd, data, offset)
            while written < len(data):
                data = data[written:]
                offset += written
                written = os.pwrite(self._fd, data, offset)
        except OSError as error:
            raise self._translated(error, "written") from error

    def checkpoint(self, journal: Journal) -> None:
        """Make what the journal says true on disk, then say it.

        :raises DiskError: when either cannot be done; the journal before stays valid.
        """
        with self.told("synced"):
            self._check_folder()
            os.fdatasync(self._fd)
            self._journal.write(journal)

    def allocate(self, offset: int, length: int) -> bool:
        """Reserve disk space for a range, in a thread; whether the file system can do that.

        :raises DiskFullError: there is no room, but for that of the journals.
        """
        with self.told("given its room"):
            # Whoever promised the room (see Promises) cannot know what other processes have taken.
            missing = length if self.size is None else min(length, self.size - self.allocated())
            if missing > usable_bytes(self.folder):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return allocate(self._fd, offset, length)

    def release_spare(self) -> None:
        """Give back what was reserved behind the last byte; while nobody writes."""
        with suppress(OSError):
            os.ftruncate(self._fd, os.fstat(self._fd).st_size)

    def allocated(self) -> int:
        """Bytes of the disk that the part occupies."""
        return os.fstat(self._fd).st_blocks * 512

    def reset(self) -> None:
        """Forget everything that is there: the journal first, then the bytes."""
        with self.told("emptied"):
            if self._journal.begun or os.fstat(self._fd).st_size:
                self._drop_journal()
                os.ftruncate(self._fd, 0)
        self.resumable = None

    def forget(self) -> None:
        """Drop the journal: what the part holds is not to be gone on with."""
        with self.told("begun anew"):
            self._drop_journal()
        self.resumable = None

    @property
    def has_journal(self) -> bool:
        """Whether a later run could go on with what is there."""
        return self._journal.path.exists()

    def cut(self, size: int) -> None:
        """Give the file exactly this size (drops what a longer, earlier try left)."""
        with self.told("cut"):
            found = os.fstat(self._fd)
            if found.st_size != size or found.st_blocks * 512 > size + _SPARE:
                os.ftruncate(self._fd, size)

    def open_decoded(self) -> int:
        """An empty file beside the part for its decoded bytes, which then is what is committed."""
        self._close_decoded()
        with self.told("decoded"):
            self._check_folder()
            self._decoded_path.unlink(missing_ok=True)
            self._decoded_fd = os.open(self._decoded_path, _OPEN | os.O_EXCL, 0o666)
        return self._decoded_fd

    def make_final(self, mtime: float | None, replaces: os.stat_result | None) -> os.stat_result:
        """Ready for its final name: times set, and all of it on the disk.

        :param mtime: the server's modification time in seconds since 1970, None for now.
        :param replaces: the file that may be replaced, as it was when that was decided.
        :return: what the final file will look like.
        :raises ForeignFileError: another file has come to stand under the name meanwhile.
        """
        with self.told("finished"):
            self._check_folder()
            self._check_final(replaces)
            fd = self._decoded_fd if self._is_decoded else self._fd
            if mtime is not None:
                os.utime(fd, (mtime, mtime))
            os.fsync(fd)
            return os.fstat(fd)

    def take_name(self, replaces: os.stat_result | None) -> None:
        """One rename; safe once the folder is synced (:func:`fetcher.disk.syncing.sync_folder`).

        :param replaces: see :meth:`make_final`; to sync has taken its time.
        :raises ForeignFileError: another file has come to stand under the name meanwhile.
        """
        with self.told("finished"):
            self._check_folder()
            self._check_final(replaces)
            (self._decoded_path if self._is_decoded else self.path).rename(self.final)

    def clean_up(self) -> None:
        """The file has its name: what is left of the way there has no use."""
        with self.told("cleaned up"):
            self._journal.clean_up()
            if self._is_decoded:
                self.path.unlink(missing_ok=True)

    @property
    def _is_decoded(self) -> bool:
        return self._decoded_fd >= 0

    def _check_final(self, replaces: os.stat_result | None) -> None:
        try:
            found = self.final.lstat()
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode):
            raise ForeignFileError(
                f"a folder stands where {self.final} belongs: remove or rename it"
            )
        if replaces is None or _identity(found) != _identity(replaces):
            raise ForeignFileError(
                f"another file has come to stand under the name {self.final} meanwhile: overwrite "
                "or rename it (FETCHER_IF_EXISTS=overwrite or rename), or move it away"
            )

    def discard(self) -> None:
        """Remove part and journal."""
        with self.told("removed"):
            self._drop_journal()
            self._decoded_path.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock; what is on disk stays, but for what can be decoded again."""
        if self._decoded_fd >= 0:
            self._close_decoded()
            with suppress(OSError, ForeignFileError):
                self._check_folder()
                self._decoded_path.unlink(missing_ok=True)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _close_decoded(self) -> None:
        if self._decoded_fd >= 0:
            os.close(self._decoded_fd)
            self._decoded_fd = -1

    @property
    def _decoded_path(self) -> Path:
        return self.path.with_name(self.path.name.removesuffix(PART_SUFFIX) + DECODED_SUFFIX)

    def _check_folder(self) -> None:
        """What is done by name is done in the folder in which the part was opened.

        :raises ForeignFileError: another one has come to stand in its place.
        """
        if not os.path.samestat(self.folder.stat(), self._folder):
            raise ForeignFileError(
                f"{self.folder} is another folder than when {self.name} was begun: put the "
                "first one back, or run again"
            )

    def _drop_journal(self) -> None:
        self._check_folder()
        self._journal.drop()

    def _open_locked(self) -> tuple[int, int]:
        """The open file, and how many bytes are there."""
        while True:
            fd = os.open(self.path, _OPEN, 0o666)
            try:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise LockedError(
                        f"another process is fetching {self.name} into this folder: "
                        "wait for it, or stop it"
                    ) from error
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode):
                    raise ForeignFileError(f"{self.path} is no regular file: remove it")
                # The process that held the lock may have renamed or removed the file meanwhile.
                with suppress(FileNotFoundError):
                    if os.path.samestat(found, os.lstat(self.path)):
                        return fd, found.st_size
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Turn an ``OSError`` into a :class:`DiskError` that names the file."""
        try:
            yield
        except OSError as error:
            raise self._translated(error, what) from error

    def _translated(self, error: OSError, what: str) -> DiskError:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno not in _FULL:
            return DiskError(f"{self.path} cannot be {what}: {reason}")
        if error.errno == errno.EFBIG:
            # Room that is reserved counts for nothing here: what is limited is the size.
            need = "its size" if self.size is None else f"its size of {self.size} bytes"
            return DiskFullError(
                f"{self.path} cannot be {what}: {reason}; {need} is over the limit of this "
                "process or file system: raise it (ulimit -f), or use another file system"
            )
        need = "more room"
        if self.size is not None:
            with suppress(OSError):
                need = f"{self.size - self.allocated()} more bytes"
        return DiskFullError(
            f"{self.path} cannot be {what}: {reason}; it needs {need}: make room and run again"
        )


def _made(folder: Path) -> os.stat_result:
    """A folder, made where it is missing."""
    with suppress(FileNotFoundError):
        found = folder.stat()
        if stat.S_ISDIR(found.st_mode):
            return found
    folder.mkdir(parents=True, exist_ok=True)
    return folder.stat()


def check_inside(out: Path, folder: Path) -> None:
    """A symbolic link inside the output folder must not lead a name out of it."""
    if folder != out and not folder.resolve().is_relative_to(out.resolve()):
        raise ForeignFileError(f"{folder} leads out of {out} by a link: remove the link")


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    """What tells a file from another one, and from itself after a change."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
