"""What was completed is remembered, by several processes at a time."""

import gc
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fetcher.disk.database import Busy
from fetcher.disk.ledger import Ledger
from fetcher.errors import DiskError, Stopped
from fetcher.rules.existing import Completed
from fetcher.rules.names import STATE_FOLDER
from tests.crawl import PROJECT

FILE = Completed(
    "a/b.tar",
    10 << 30,
    1445412480_123456789,
    '"e"',
    "yesterday",
    "md5:" + "0" * 32,
    ("sha1:" + "1" * 40, "sha256:" + "2" * 64),
    "http://h:80/",
)

WRITER = """
import sys
from pathlib import Path
from fetcher.disk.ledger import Ledger
from fetcher.rules.existing import Completed

out, me, rows = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
ledger = Ledger(out)
for number in range(rows):
    ledger.record(Completed(f"{me}-{number}", number, number))
    print(ledger.claim_server_name(f"{me}-{number}", "index.html"))
print("recorded", flush=True)
sys.stdin.readline()
"""


def database(out: Path) -> Path:
    """The one file in the state folder that is not SQLite's own."""
    (path,) = (out / STATE_FOLDER).glob("*.sqlite3")
    return path


@contextmanager
def writer(out: Path, me: str, rows: int) -> Iterator[subprocess.Popen[str]]:
    """A process that records rows once it is told to, and then waits."""
    command = [sys.executable, "-c", WRITER, str(out), me, str(rows)]
    with subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path)) as opened:
        yield opened


# --- what is remembered -------------------------------------------------------------------------


def test_what_is_recorded_is_found(ledger: Ledger) -> None:
    assert ledger.find(FILE.name) is None
    ledger.record(FILE)
    assert ledger.find(FILE.name) == FILE
    assert ledger.find(FILE.name.upper()) is None
    plain = Completed("plain", 0, 0)
    ledger.record(plain)
    assert ledger.find("plain") == plain


def test_the_last_record_of_a_name_counts(ledger: Ledger) -> None:
    ledger.record(FILE)
    newer = replace(FILE, size=5, etag=None)
    ledger.record(newer)
    assert ledger.find(FILE.name) == newer


def test_names_are_data(ledger: Ledger) -> None:
    for name in ("'; DROP TABLE completed; --", "%", "été", "\u20ac" * 80, "a" * 4000):
        ledger.record(replace(FILE, name=name))
        found = ledger.find(name)
        assert found is not None
        assert found.name == name
    assert ledger.find("_") is None


def test_it_outlasts_a_run(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path)) as ledger:
        ledger.record(FILE)
    with closing(Ledger(tmp_path)) as ledger:
        assert ledger.find(FILE.name) == FILE


def test_its_folder_is_private(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with closing(Ledger(out)):
        assert (out / STATE_FOLDER).stat().st_mode & 0o077 == 0


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.close()
    ledger.close()
    assert ledger.find(FILE.name) is None
    with pytest.raises(DiskError, match="cannot be written"):
        ledger.record(FILE)


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    database(tmp_path).write_bytes(b"no database" * 1000)
    gc.collect()  # What other tests have left to it.
    before = sorted(Path("/proc/self/fd").iterdir())
    Ledger(tmp_path).close()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_several_threads_share_one(ledger: Ledger) -> None:
    def record(me: int) -> None:
        for number in range(50):
            ledger.record(Completed(f"{me}-{number}", me, number))

    threads = [threading.Thread(target=record, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ledger.find(f"{me}-{number}") for me in range(4) for number in range(50))


# --- names of servers ---------------------------------------------------------------------------


def test_rows_with_one_name_of_a_server_are_numbered(ledger: Ledger) -> None:
    assert ledger.claim_server_name("first", "a.tar") == "a.tar"
    assert ledger.claim_server_name("second", "a.tar") == "a.1.tar"
    assert ledger.claim_server_name("third", "a.tar") == "a.2.tar"
    assert ledger.claim_server_name("fourth", "b.tar") == "b.tar"


def test_numbers_are_the_same_in_every_run(tmp_path: Path) -> None:
    keys = ["c", "a", "b"]
    with closing(Ledger(tmp_path)) as ledger:
        given = {key: ledger.claim_server_name(key, "a.tar") for key in keys}
    for order in (keys, sorted(keys), keys[::-1]):
        with closing(Ledger(tmp_path)) as ledger:
            assert {key: ledger.claim_server_name(key, "a.tar") for key in order} == given
            assert {key: ledger.server_name(key, "")[0] for key in order} == given
    assert sorted(given.values()) == ["a.1.tar", "a.2.tar", "a.tar"]


def test_one_name_for_all_rows_is_soon_found_a_number(ledger: Ledger) -> None:
    count = 500
    queries: list[str] = []
    ledger._database._db.set_trace_callback(queries.append)
    given = [ledger.claim_server_name(f"{key}", "a.tar") for key in range(count)]
    assert given == ["a.tar", *(f"a.{number}.tar" for number in range(1, count))]
    assert [ledger.claim_server_name(f"{key}", "a.tar") for key in range(count)] == given
    assert len(queries) < count * 40


def test_a_name_that_the_list_gave_is_not_given_again(ledger: Ledger) -> None:
    ledger.record(replace(FILE, name="a.tar"))
    assert ledger.claim_server_name("key", "a.tar") == "a.1.tar"


def test_a_row_keeps_its_name_once_it_is_completed(ledger: Ledger) -> None:
    name = ledger.claim_server_name("key", "a.tar")
    ledger.record(replace(FILE, name=name))
    assert ledger.claim_server_name("key", "a.tar") == name


def test_who_only_looks_something_up_waits_for_no_writer(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(FILE)
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert ledger.find(FILE.name) == FILE
        Ledger(tmp_path).close()


def test_who_may_not_wait_is_told_that_somebody_is_writing(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(FILE)
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert ledger.find(FILE.name, wait=False) == FILE
        began = time.monotonic()
        with pytest.raises(Busy):
            ledger.may_take("key", FILE.name, wait=False)
        assert time.monotonic() - began < 0.1
    assert ledger.may_take("key", FILE.name, wait=False)


def test_once_the_run_is_being_stopped_nobody_is_waited_for(tmp_path: Path) -> None:
    stopping = threading.Event()
    ledger = Ledger(tmp_path, stopping)
    stopping.set()
    try:
        ledger.record(FILE)
        with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Stopped):
                ledger.record(replace(FILE, size=1))
        assert ledger.find(FILE.name) == FILE
    finally:
        ledger.close()


def test_a_claim_under_way_is_waited_for(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    looking = threading.Event()
    answers: list[bool] = []

    def occupied(name: str) -> bool:
        asker.start()
        looking.wait()
        return False

    def ask() -> None:
        looking.set()
        answers.append(other.may_take("other", "a.tar"))

    asker = threading.Thread(target=ask)
    try:
        assert one.may_take("other", "a.tar")
        assert one.claim_server_name("key", "a.tar", occupied) == "a.tar"
        asker.join()
        assert answers == [False]
        assert other.may_take("key", "a.tar")
        assert other.may_take("other", "b.tar")
    finally:
        one.close()
        other.close()


def test_a_server_that_changes_its_mind(ledger: Ledger) -> None:
    ledger.claim_server_name("key", "a.tar")
    assert ledger.claim_server_name("key", "b.tar") == "b.tar"
    assert ledger.server_name("key", "")[0] == "b.tar"
    assert ledger.claim_server_name("other", "a.tar") == "a.tar"


def test_a_row_without_a_name_of_a_server(ledger: Ledger) -> None:
    assert ledger.server_name("key", "")[0] is None


# --- several processes --------------------------------------------------------------------------


def test_two_processes_at_once(tmp_path: Path) -> None:
    rows = 200
    with writer(tmp_path, "one", rows) as one, writer(tmp_path, "two", rows) as two:
        both = (one, two)
        assert [line(process) for process in both] == ["ready", "ready"]
        for process in both:
            go_on(process)
        names = [[line(process) for _ in range(rows)] for process in both]
        assert [line(process) for process in both] == ["recorded", "recorded"]
    assert len({*names[0], *names[1]}) == 2 * rows
    with closing(Ledger(tmp_path)) as ledger:
        for number in range(rows):
            for me, given in zip(("one", "two"), names, strict=True):
                key = f"{me}-{number}"
                assert ledger.find(key) == Completed(key, number, number)
                assert ledger.server_name(key, "")[0] == given[number]


def test_what_was_recorded_outlasts_kill_9(tmp_path: Path) -> None:
    with writer(tmp_path, "one", 3) as process:
        assert line(process) == "ready"
        go_on(process)
        names = [line(process) for _ in range(3)]
        assert line(process) == "recorded"
        process.kill()
        assert process.wait() == -9
    with closing(Ledger(tmp_path)) as ledger:
        for number in range(3):
            key = f"one-{number}"
            assert ledger.find(key) == Completed(key, number, number)
            assert ledger.claim_server_name(key, "index.html") == names[number]


def test_a_database_that_another_process_is_making_is_left_alone(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    path = database(tmp_path)
    path.unlink()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE theirs (name)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO theirs VALUES ('safe')")
        opened: list[Ledger] = []
        opening = threading.Thread(target=lambda: opened.append(Ledger(tmp_path)))
        opening.start()
        # It may wait for the other process as long as it likes; what it may not do shows at once.
        opening.join(0.5)
        other.execute("COMMIT")
        opening.join()
    with closing(opened[0]) as ledger:
        ledger.record(FILE)
        assert ledger.find(FILE.name) == FILE
    with closing(sqlite3.connect(path)) as again:
        assert again.execute("SELECT name FROM theirs").fetchall() == [("safe",)]


# --- what breaks --------------------------------------------------------------------------------


def zeroed(content: bytes, start: int, end: int) -> bytes:
    return content[:start] + bytes(end - start) + content[end:]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda content: b"", id="emptied"),
        pytest.param(lambda content: b"x" * len(content), id="overwritten"),
        pytest.param(lambda content: content[:50], id="cut in its head"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut in the middle"),
        pytest.param(lambda content: zeroed(content, 0, 100), id="its head zeroed"),
        pytest.param(lambda content: zeroed(content, 0, len(content)), id="all zeroed"),
        pytest.param(lambda content: zeroed(content, 4096, 8192), id="its second page zeroed"),
        pytest.param(
            lambda content: content[:8192] + b"x" * (len(content) - 8192), id="its rows overwritten"
        ),
    ],
)
def test_a_broken_database_is_made_anew(tmp_path: Path, broken: Callable[[bytes], bytes]) -> None:
    with closing(Ledger(tmp_path)) as ledger:
        for number in range(300):
            ledger.record(replace(FILE, name=f"{number}" * 10))
    path = database(tmp_path)
    content = path.read_bytes()
    assert len(content) > 3 * 4096
    path.write_bytes(broken(content))
    for _ in range(2):
        with closing(Ledger(tmp_path)) as ledger:
            for number in (0, 150, 299):
                known = ledger.find(f"{number}" * 10)
                assert known in (None, replace(FILE, name=f"{number}" * 10))
            ledger.record(FILE)
            assert ledger.find(FILE.name) == FILE
            name = ledger.claim_server_name("key", "a.tar")
            assert ledger.server_name("key", "")[0] == name


def test_a_log_of_another_database_does_no_harm(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    path = database(tmp_path)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).write_bytes(b"x" * 40_000)
    with closing(Ledger(tmp_path)) as ledger:
        ledger.record(FILE)
        assert ledger.find(FILE.name) == FILE


def test_where_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / STATE_FOLDER).write_text("a file")
    with pytest.raises(DiskError, match=STATE_FOLDER):
        Ledger(tmp_path)


def test_where_a_folder_stands_in_its_place(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    path = database(tmp_path)
    path.unlink()
    (path / "something").mkdir(parents=True)
    with pytest.raises(DiskError, match="no regular file: remove it"):
        Ledger(tmp_path)
    assert (path / "something").is_dir()
