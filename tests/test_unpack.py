"""`FETCHER_UNPACK`, as users meet it: what a crawl leaves, reports, and does the next time."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.archives import COMPRESSIONS, entry, folder, symlink, tar, tar_of, zip_of
from tests.crawl import CrawlResult, run_crawl, start_crawl, wait_for, write_list
from tests.servers.content import Bytes, Content
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource
from tests.test_sums import check, sums
from tests.test_unpacking import files_in

MIB = 1 << 20
ON = {"FETCHER_UNPACK": "1"}
FILES = {"a": b"one", "d/b": random.Random(1).randbytes(70_000)}
HOSTILE = tar(entry("before"), symlink("l", "/etc/passwd"))

KINDS = {f"x/{ending[1:]}{ending}": ending for ending in [*COMPRESSIONS, ".zip"]}
"""An archive of each kind, and its ending."""


def pack(ending: str, files: dict[str, bytes]) -> bytes:
    return zip_of(files) if ending == ".zip" else COMPRESSIONS[ending](tar_of(files))


def crawl(origin: Origin, out: Path, files: dict[str, bytes], **settings: str) -> CrawlResult:
    """Fetch files of these names, in this order."""
    urls = out.with_suffix(".tsv")
    lines = ["name\turl\tsha256"]
    for number, (name, data) in enumerate(files.items()):
        # Their dates differ, so that a changed one is another version.
        served = Resource(Bytes(data))
        lines.append(f"{name}\t{origin.add(f'/{number}', served)}\t")
    urls.write_text("\n".join(lines) + "\n")
    return run_crawl(out, urls=urls, settings={**ON, **settings})


def failures(result: CrawlResult) -> dict[str, str]:
    return {row["name"]: row["error"]["message"] for row in result.report if row["error"]}


def test_from_run_to_run(origin: Origin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = {name: pack(ending, FILES) for name, ending in KINDS.items()}
    folders = {name: name.removesuffix(ending) for name, ending in KINDS.items()}
    left_alone = {"z.gz": COMPRESSIONS[".tgz"](b"no archive"), "plain": b"x", "v/x": b"theirs"}
    first = crawl(origin, out, files | left_alone | {"bad.tar": HOSTILE})
    asked = len(origin.requests)

    # --- the first run
    assert first.returncode == 1
    assert "Traceback" not in first.stderr
    for name, data in files.items():
        row = first.by_name[name]
        assert (row["status"], row["unpacked"]) == ("ok", folders[name])
        assert (out / name).read_bytes() == data
        assert files_in(out / folders[name]) == FILES
    for name in left_alone:
        row = first.by_name[name]
        assert (row["status"], row["unpacked"]) == ("ok", None)
        assert not (out / name.partition(".")[0]).is_dir() or name == "v/x"
    bad = first.by_name["bad.tar"]
    assert bad["error"] == {
        "type": "UnpackError",
        "message": "bad.tar is whole and in its place, but was not unpacked: its member 'l' is a "
        "link to '/etc/passwd', outside of its folder: look into it, and unpack it by hand if you "
        "trust it",
        "line": len(files) + len(left_alone) + 2,
    }
    assert (bad["status"], bad["size"], bad["path"]) == ("failed", len(HOSTILE), "bad.tar")
    assert bad["checksum"] == f"sha256:{Bytes(HOSTILE).sha256}"
    assert "size" in bad["verified_by"]
    assert bad["unpacked"] is None
    assert (out / "bad.tar").read_bytes() == HOSTILE
    assert not (out / "bad").exists()
    assert f"{len(files) + len(left_alone)} done, 0 unchanged, 1 failed" in first.stderr
    assert set(sums(out)) == {"bad.tar", *files, *left_alone}
    assert check(out).returncode == 0
    assert [line[:7] for line in (out / "retry.tsv").read_text().splitlines()[1:]] == ["bad.tar"]
    assert not list((out / ".fetcher" / "unpacking").iterdir())

    # --- the next one: nothing is fetched or unpacked again, and rows keep out of the folders
    (out / "x/zip/mine").touch()
    before = {path: path.stat() for path in out.rglob("d/b")}
    # As a file system finds it that does not tell case apart.
    (out / "X").symlink_to("x")
    in_the_way = {"x/tar/more": b"1", "X/tar/more": b"1", "x/tgz/d/y.zip": zip_of({})}
    new = {**in_the_way, "x/zip.tar": tar_of({}), "v.zip": b""}
    listed = files | left_alone | {"bad.tar": HOSTILE, "x/TAR/other": b"2"} | new
    second = crawl(origin, out, listed)
    assert {path: path.stat() for path in out.rglob("d/b")} == before
    assert {row["status"] for row in second.report if row["name"] in files} == {"unchanged"}
    assert all(second.by_name[name]["unpacked"] == folders[name] for name in files)
    assert set(failures(second)) == {"bad.tar", *new}
    for name in ("x/tar/more", "X/tar/more"):
        assert "in the folder that x/tar.tar was unpacked to" in failures(second)[name]
    assert "in the folder that x/tgz.tgz was unpacked to" in failures(second)["x/tgz/d/y.zip"]
    for name, theirs in (("x/zip.tar", "x/zip"), ("v.zip", "v")):
        assert f"{out / theirs} stands there and was not unpacked from it" in failures(second)[name]
    # Those that were kept out of a folder were not even asked for.
    assert len(origin.requests) - asked == 3
    assert second.by_name["x/TAR/other"]["status"] == "ok"

    # --- without unpacking, the archive that is refused is as good as any
    third = crawl(origin, out, listed, FETCHER_UNPACK="0")
    assert set(failures(third)) == set(in_the_way)
    assert third.by_name["x/tar.tar"]["unpacked"] is None
    assert "Disabled" not in third.stderr

    # --- new versions: one folder is replaced, the other one is somebody's by now
    again = {"x/tar.tar": tar_of({"new": b"n"}), "x/zip.zip": zip_of({"new": b"n"})}
    fourth = crawl(origin, out, again, FETCHER_IF_EXISTS="overwrite")
    assert files_in(out / "x/tar") == {"new": b"n"}
    assert "not any more as it was unpacked: move or remove it" in failures(fourth)["x/zip.zip"]
    assert files_in(out / "x/zip") == FILES | {"mine": b""}
    assert (out / "x/zip.zip").read_bytes() == again["x/zip.zip"]


def test_files_that_were_there_already(origin: Origin, tmp_path: Path) -> None:
    """Whoever put them there: they are unpacked, or listed all the same."""
    out = tmp_path / "out"
    out.mkdir()
    lines = ["name\turl\tsha256"]
    for name, data in {"bad.tar": HOSTILE, "good.tar": tar_of(FILES)}.items():
        (out / name).write_bytes(data)
        lines.append(f"{name}\t{origin.add(f'/{name}', Bytes(data))}\t{Bytes(data).sha256}")
    (tmp_path / "l.tsv").write_text("\n".join(lines))

    result = run_crawl(out, urls=tmp_path / "l.tsv", settings=ON)

    assert list(failures(result)) == ["bad.tar"]
    assert result.by_name["good.tar"]["status"] == "unchanged"
    assert files_in(out / "good") == FILES
    assert set(sums(out)) == {"bad.tar", "good.tar"}


def test_rows_that_are_in_each_others_way(origin: Origin, tmp_path: Path) -> None:
    """Whichever comes first, the other one fails, and nothing is mixed."""
    out = tmp_path / "out"
    gate = Gate(after=1000)
    held, content = Resource(Content(MIB, seed=1), gate=gate), Content(MIB, seed=1)
    archives = {"a.tar": tar_of(FILES), "b.tar": tar_of(FILES), "c.tar": tar_of(FILES)}
    archives["c.zip"] = zip_of({"x": b"y"})
    rows = [("a/x", origin.add("/held", held)), ("b", origin.url("/held"))]
    rows += [(name, origin.add(f"/{name}", Bytes(data))) for name, data in archives.items()]
    urls = write_list(tmp_path / "l.tsv", rows)

    with start_crawl(out, urls=urls, settings={**ON, "FETCHER_MAX_PARALLEL": "9"}) as running:
        # These are fetched, and the archives unpacked, as far as they can be.
        gate.wait_until_held(2)
        wait_for(lambda: (out / "b" / "d" / "b").exists())
        wait_for(lambda: all((out / name).exists() for name in archives))
        gate.open()
        result = running.wait()

    failed = failures(result)
    lost = ({"c.tar", "c.zip"} & set(failed)).pop()
    assert set(failed) == {"a.tar", "b", lost}
    assert "was not unpacked from it" in failed["a.tar"]
    assert "a folder stands where" in failed["b"]
    assert [path.name for path in (out / "a").iterdir()] == ["x"]
    assert content.first_difference(out / "a" / "x") is None
    assert files_in(out / "b") == FILES
    assert files_in(out / "c") == ({"x": b"y"} if lost == "c.tar" else FILES)


SLOW = 30_000


@pytest.fixture(scope="module")
def slow() -> bytes:
    """An archive that takes a second or more, but no room."""
    return COMPRESSIONS[".tar.gz"](tar(entry("first"), *[folder("d")] * SLOW, entry("last")))


def test_one_signal_and_the_next_run(origin: Origin, tmp_path: Path, slow: bytes) -> None:
    """Files are transferred while archives are unpacked; one signal ends that; and the same command
    goes on, with a job folder, too, which would not come back to a row that is done."""
    out = tmp_path / "out"
    archives = [f"{number}.tar.gz" for number in range(3)]
    others = [f"{number}.bin" for number in range(12)]
    rows = [(name, origin.add(f"/{name}", Bytes(slow))) for name in archives]
    rows += [(name, origin.add(f"/{name}", Content(MIB))) for name in others]
    command: dict[str, Any] = {
        "urls": write_list(tmp_path / "l.tsv", rows),
        "settings": {**ON, "JOBDIR": str(tmp_path / "job"), "FETCHER_MAX_PARALLEL": "2"},
    }
    with start_crawl(out, **command) as running:
        wait_for(lambda: all((out / name).exists() for name in (*archives, *others)))
        at = time.monotonic()
        running.send_signal(signal.SIGINT)
        first = running.wait(10)
        assert time.monotonic() - at < 2

    assert first.returncode == 1
    assert "Traceback" not in first.stderr
    stopped = sorted(failures(first))
    assert stopped
    for name in archives:
        row = first.by_name[name]
        assert (out / name.partition(".")[0]).exists() is (name not in stopped)
        assert row["checksum"] == f"sha256:{Bytes(slow).sha256}"
        if name in stopped:
            assert row["error"]["type"] == "Stopped"
            assert row["error"]["message"] == (
                "stopped before it was unpacked: the same command goes on"
            )
    assert set(archives) <= set(sums(out))

    asked = len(origin.requests)
    with start_crawl(out, **command) as running:
        second = running.wait()

    assert second.returncode == 0, second.stderr
    assert len(origin.requests) == asked
    assert set(stopped) <= set(second.by_name)
    assert {row["status"] for row in second.report} == {"unchanged"}
    for name in archives:
        inside = {path.name for path in (out / name.partition(".")[0]).iterdir()}
        assert inside == {"first", "d", "last"}
    assert not list((out / ".fetcher" / "unpacking").iterdir())
