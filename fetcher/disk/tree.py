"""Writes the members of an archive beneath one folder, and nowhere else.

Each folder on the way to a member is opened from the one above it, never through a link, and each
name is made anew, never replaced: so not even a wrong rule could write anything outside.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from fetcher.disk.allowance import Allowance
from fetcher.disk.syncing import sync_file_system
from fetcher.errors import UnpackError
from fetcher.rules.members import Kind, Member, MemberPath, link_target, member_path, refused, shown

SYNC_BYTES = 64 << 20
"""After so many bytes they are put on the disk: at the end, or when all has to stop, little is
left to wait for."""

Content = Iterable[tuple[int, bytes | memoryview]]
"""Blocks of a file, each with its offset, in their order."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """An empty folder that is being filled.

    :param root: the folder.
    :param allowance: says how much may be put there.
    :param check: called often; what it raises ends this.
    """

    def __init__(self, root: Path, allowance: Allowance, check: Callable[[], None]) -> None:
        self._allowance = allowance
        self._check = check
        self._unsynced = 0
        # The folders down to the one of the last member, where the next one is likely to be, too.
        self._path: MemberPath = ()
        self._fds = [os.open(root, _FOLDER)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def add(self, member: Member, content: Content) -> None:
        """Make a member.

        :param content: of a file.
        :raises UnpackError: it is not to be made, or there is no room for it.
        :raises OSError: it cannot be made.
        """
        self._check()
        if member.kind is Kind.FOLDER:
            self._enter(member.path)
            return
        if not member.path:
            raise UnpackError("a member that is no folder has no name: unpack it by hand")
        folder = self._enter(member.path[:-1])
        self._allowance.one_more()
        try:
            if member.kind is Kind.FILE:
                self._add_file(folder, member, content)
            elif member.kind is Kind.SYMLINK:
                self._add_symlink(folder, member.path, member.target)
            else:
                self._add_hard_link(folder, member)
        except FileExistsError as error:
            raise refused("/".join(member.path), "is there twice, or as a folder, too") from error

    def sync(self) -> None:
        """Put everything on the disk."""
        sync_file_system(self._fds[0])
        self._unsynced = 0

    # --- folders --------------------------------------------------------------------------------

    def _enter(self, path: MemberPath) -> int:
        """The folder of this path, made where it is missing."""
        common = 0
        for ours, theirs in zip(self._path, path, strict=False):
            if ours != theirs:
                break
            common += 1
        self._path = path[:common]
        while len(self._fds) > common + 1:
            os.close(self._fds.pop())
        for segment in path[common:]:
            self._fds.append(self._open_or_make(segment, path))
            self._path += (segment,)
        return self._fds[-1]

    def _open_or_make(self, name: str, path: MemberPath) -> int:
        above = self._fds[-1]
        try:
            return _open_folder(name, above, path)
        except FileNotFoundError:
            self._allowance.one_more()
            os.mkdir(name, dir_fd=above)
            return _open_folder(name, above, path)

    # --- members --------------------------------------------------------------------------------

    def _add_file(self, folder: int, member: Member, content: Content) -> None:
        fd = os.open(member.path[-1], _NEW_FILE, member.file_mode, dir_fd=folder)
        try:
            end = 0
            for offset, block in content:
                self._check()
                self._allowance.hole(offset - end)
                self._allowance.write(len(block))
                end = offset + len(block)
                _write(fd, block, offset)
                self._unsynced += len(block)
                if self._unsynced >= SYNC_BYTES:
                    self.sync()
            if end < member.size:
                self._allowance.hole(member.size - end)
                os.ftruncate(fd, member.size)
            if member.mtime_ns is not None:
                os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(fd)

    def _add_symlink(self, folder: int, path: MemberPath, target: str) -> None:
        os.symlink(link_target(path, target), path[-1], dir_fd=folder)

    def _add_hard_link(self, folder: int, member: Member) -> None:
        source = member_path(member.target)
        try:
            above = self._open_existing(source[:-1])
        except FileNotFoundError:
            raise _without_target(member) from None
        try:
            found = os.stat(source[-1], dir_fd=above, follow_symlinks=False) if source else None
            if found is not None and stat.S_ISLNK(found.st_mode):
                # Its text means something else here.
                self._add_symlink(folder, member.path, os.readlink(source[-1], dir_fd=above))
            elif found is not None and stat.S_ISREG(found.st_mode):
                os.link(
                    source[-1],
                    member.path[-1],
                    src_dir_fd=above,
                    dst_dir_fd=folder,
                    follow_symlinks=False,
                )
            else:
                raise _without_target(member)
        except FileNotFoundError:
            raise _without_target(member) from None
        finally:
            os.close(above)

    def _open_existing(self, path: MemberPath) -> int:
        """A folder that is there; apart from the way to the current one."""
        fd = os.dup(self._fds[0])
        for segment in path:
            above = fd
            try:
                fd = _open_folder(segment, above, path)
            finally:
                os.close(above)
        return fd


def _open_folder(name: str, above: int, path: MemberPath) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=above)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        # A file, or a link.
        raise refused(
            "/".join(path), f"needs {shown(name)} to be a folder, and it is not"
        ) from error


def _without_target(member: Member) -> UnpackError:
    return refused(
        "/".join(member.path), f"is a link to {shown(member.target)}, which is no file before it"
    )


def _write(fd: int, block: bytes | memoryview, offset: int) -> None:
    written = os.pwrite(fd, block, offset)
    while written < len(block):
        block = block[written:]
        offset += written
        written = os.pwrite(fd, block, offset)
