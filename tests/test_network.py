"""Folders of other machines, and the ledger in them."""

from pathlib import Path
from threading import Event

import pytest

from fetcher.disk import database
from fetcher.disk.ledger import Ledger
from fetcher.disk.network import is_on_network
from fetcher.rules.existing import Completed

MOUNTS = r"""
/dev/vda1 / ext4 rw,relatime 0 0
server:/export /srv/data nfs4 rw,vers=4.2 0 0
/dev/vdb1 /srv/data/local xfs rw 0 0
//box/share /mnt/two\040words cifs rw 0 0
anna@host:/ /mnt/ssh fuse.sshfs rw 0 0
tmpfs /over tmpfs rw 0 0
server:/over /over nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/anna/out", False),
        ("/srv/data/out", True),
        ("/srv/database", False),
        ("/srv/data/local/out", False),
        ("/mnt/two words/out", True),
        ("/mnt/ssh", True),
        ("/over/out", True),
    ],
)
def test_which_folders_lie_elsewhere(tmp_path: Path, path: str, expected: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.strip())
    assert is_on_network(Path(path), mounts) is expected


def test_where_it_cannot_be_told(tmp_path: Path) -> None:
    assert is_on_network(tmp_path, tmp_path / "missing") is False


def test_this_folder(tmp_path: Path) -> None:
    assert is_on_network(tmp_path) is False


def completed(name: str) -> Completed:
    return Completed(name=name, size=1, mtime_ns=2)


def test_a_ledger_for_several_machines_shares_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(tmp_path).close()
    monkeypatch.setattr(database, "is_on_network", lambda _: True)
    one, two = Ledger(tmp_path, Event()), Ledger(tmp_path, Event())
    try:
        one.record(completed("a"))
        two.record(completed("b"))
        assert one.find("b") == completed("b")
        assert two.find("a") == completed("a")
        kept = [path.name for path in (tmp_path / ".fetcher").iterdir()]
        assert not any(name.endswith(("-wal", "-shm")) for name in kept), kept
    finally:
        one.close()
        two.close()
