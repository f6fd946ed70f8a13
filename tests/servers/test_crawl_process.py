"""The tests' own hold on a process, with small programs in place of a crawl."""

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.crawl import Crawl, clean_environment, read_report, wait_for, write_list

MIB = 1 << 20


def python(code: str, out: Path, stdin: str = "") -> Crawl:
    return Crawl([sys.executable, "-c", code], out, clean_environment(), stdin)


def test_output_status_and_report(tmp_path: Path) -> None:
    (tmp_path / "report.jsonl").write_text('{"name": "a", "size": 1}\n{"name": "b"}\n')
    code = "import sys; print(sys.stdin.read()); print('wrong', file=sys.stderr); sys.exit(3)"
    with python(code, tmp_path, "given") as crawl:
        result = crawl.wait()
    assert (result.returncode, result.stdout, result.stderr) == (3, "given\n", "wrong\n")
    assert [row["name"] for row in result.report] == ["a", "b"]
    assert result.by_name["a"] == {"name": "a", "size": 1}
    assert read_report(tmp_path / "none") == []


def test_the_memory_is_the_processes_own(tmp_path: Path) -> None:
    ballast = bytearray(300 * MIB)
    with python("import time; time.sleep(0.1)", tmp_path) as crawl:
        small = crawl.wait().peak_rss
    with python("a = bytearray(200 << 20); del a; input()", tmp_path) as crawl:
        large = crawl.wait().peak_rss
    assert 0 < small < 100 * MIB
    assert 200 * MIB < large < 300 * MIB
    del ballast


def test_signals_and_output_while_it_runs(tmp_path: Path) -> None:
    code = "import time; print('up', flush=True); time.sleep(60)"
    with python(code, tmp_path) as crawl:
        wait_for(lambda: crawl.stdout == "up\n")
        assert crawl.running
        crawl.send_signal(signal.SIGINT)
        result = crawl.wait(10)
    assert result.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in result.stderr
    crawl.send_signal(signal.SIGINT)


def test_nothing_outlives_the_block(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(60)']); print(child.pid, flush=True); child.wait()"
    )
    with python(code, tmp_path) as crawl:
        wait_for(lambda: crawl.stdout)
        child = Path("/proc", crawl.stdout.strip(), "cmdline")
        assert child.read_bytes()
    assert crawl.process.returncode == -signal.SIGKILL
    wait_for(lambda: not child.exists() or not child.read_bytes(), 5, "the end of the child")


def test_a_timeout_shows_the_log(tmp_path: Path) -> None:
    code = "import sys, time; print('here', file=sys.stderr, flush=True); time.sleep(60)"
    started = time.monotonic()
    with python(code, tmp_path) as crawl:
        wait_for(lambda: crawl.stderr)
        with pytest.raises(TimeoutError, match=r"end of the process; standard error:\nhere"):
            crawl.wait(0.2)
    assert time.monotonic() - started < 10


def test_lists(tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.tsv", [("a.bin", "http://a/1"), ("b", "http://a/2")])
    assert path.read_text() == "file_name\tcdn_link\na.bin\thttp://a/1\nb\thttp://a/2\n"
