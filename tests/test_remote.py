"""FTP, FTPS and SFTP from real servers, end to end: vsftpd and OpenSSH, bytes compared by hash."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_ssh_private_key,
)

from fetcher.disk.journal import decode
from tests.conftest import CertificateAuthority, not_here
from tests.crawl import CrawlResult, run_crawl, start_crawl, wait_for, write_list
from tests.servers.content import Content
from tests.servers.openssh import OpenSSH
from tests.servers.vsftpd import Vsftpd
from tests.test_fetch import MIB, checksum

LARGE = Content(300 * MIB, seed=1)
MEDIUM = Content(20 * MIB, seed=3)
SMALL = Content(100_003, seed=2)
STRANGE = "ordner/größe ☃.bin"
FILES = {"large.bin": LARGE, "empty.bin": Content(0), STRANGE: SMALL}
RATE = 80 * MIB
"""Bytes a second for each of vsftpd's sessions: a run can be ended in its middle."""
IMPLICIT_PORT = 990

# --- what the tests ask of a run ------------------------------------------------------------------


def assert_failed(result: CrawlResult, causes: Mapping[str, tuple[str, str]]) -> None:
    """Each of these rows failed with an error of this type, whose message has these words."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    found = {}
    for name, (kind, words) in causes.items():
        row = result.by_name[name]
        error = row["error"] or {"type": None, "message": ""}
        if (row["status"], error["type"]) != ("failed", kind) or words not in error["message"]:
            found[name] = (row["status"], error["type"], error["message"])
        assert not (result.out / name).exists(), name
    assert not found


def assert_right(result: CrawlResult, contents: Mapping[str, Content]) -> None:
    """Each of these rows is there, and every byte of it is right."""
    found = {}
    for name, content in contents.items():
        row, path = result.by_name[name], result.out / name
        if row["status"] != "ok" or checksum(path) != content.sha256:
            found[name] = row
    assert not found, result.stderr
    assert "Traceback" not in result.stderr


def saved(out: Path, name: str) -> int:
    """Bytes that are safe by what the journal of an unfinished file says."""
    try:
        journal = decode((out / f"{name}.part.json").read_bytes())
    except FileNotFoundError:
        return 0
    return sum(end - start for start, end in journal.ranges)


def forms(user: str, password: str) -> dict[str, bytes]:
    """What a password must not be found as."""
    token = f"{user}:{password}".encode()
    return {
        "raw": password.encode(),
        "encoded": quote(password, safe="").encode(),
        "encoded but for slashes": quote(password).encode(),
        "encoded as in a form": quote_plus(password).encode(),
        "basic": base64.b64encode(token).rstrip(b"="),
        "escaped": password.encode("unicode_escape"),
    }


def leaks(result: CrawlResult, secrets: Iterable[tuple[str, str]]) -> list[str]:
    """Where something of a run holds one of these (user, password), in whatever form."""
    places = {"standard error": result.stderr.encode(), "standard output": result.stdout.encode()}
    for path in result.out.rglob("*"):
        # The list to be given back has the addresses whole, and is for its owner alone.
        if path.is_file() and path.name != "retry.tsv":
            places[str(path)] = path.read_bytes()
        places[f"the name {path}"] = os.fsencode(path)
    return [
        f"{password!r} {form} in {place}"
        for user, password in secrets
        for form, secret in forms(user, password).items()
        for place, text in places.items()
        if secret in text
    ]


def is_connected(port: int) -> bool:
    """Whether a port of this machine has a connection that is established; False where that cannot
    be told."""
    table = Path("/proc/net/tcp")
    lines = table.read_text("ascii").splitlines()[1:] if table.exists() else []
    states = ((line.split()[1].rpartition(":")[2], line.split()[3]) for line in lines)
    return (f"{port:04X}", "01") in states


# --- servers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Remote:
    """A server of the folder `files`, and what a crawl must be told to trust it."""

    url: Callable[[str], str]
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("remote")
    (root / "ordner").mkdir()
    for name, content in FILES.items():
        content.write_to(root / name)
    MEDIUM.write_to(root / "medium.bin")
    SMALL.write_to(root / "secret.bin")
    (root / "secret.bin").chmod(0)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def nobodys_home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without anybody's keys."""
    return {"HOME": str(tmp_path_factory.mktemp("home")), "SSH_AUTH_SOCK": ""}


@pytest.fixture(scope="session")
def certificate(
    certificate_authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return issued(certificate_authority.authority, tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def openssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    try:
        server = OpenSSH(tmp_path_factory.mktemp("openssh"))
    except FileNotFoundError as error:
        not_here(str(error))
    with server:
        yield server


@pytest.fixture(scope="session")
def nameless(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes folders for servers' own files."""
    return lambda: tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session", params=["ftp", "ftps", "ftps implicit", "sftp"])
def remote(
    request: pytest.FixtureRequest,
    files: Path,
    nameless: Callable[[], Path],
    certificate_authority: CertificateAuthority,
    nobodys_home: Mapping[str, str],
) -> Iterator[Remote]:
    """Each of the real servers in turn."""
    if request.param == "sftp":
        openssh: OpenSSH = request.getfixturevalue("openssh")
        settings = trusting(openssh, nameless() / "known_hosts")
        yield Remote(
            lambda path: openssh.url(f"{files}{path}"), openssh.port, settings, nobodys_home
        )
        return
    implicit = request.param == "ftps implicit"
    tls = request.param != "ftp"
    if implicit and not can_listen(IMPLICIT_PORT):
        not_here(f"port {IMPLICIT_PORT} cannot be listened on")
    with start_vsftpd(
        files,
        nameless(),
        certificate=request.getfixturevalue("certificate") if tls else None,
        implicit=implicit,
        require_tls=tls,
        port=IMPLICIT_PORT if implicit else None,
        settings={"anon_max_rate": str(RATE)},
    ) as server:
        env = certificate_authority.env if tls else {}
        # Without a port where there is a default: that has to be right too.
        url = (lambda path: f"ftps://127.0.0.1{quote(path)}") if implicit else server.url
        yield Remote(url, server.port, {}, env)


@contextmanager
def start_vsftpd(root: Path, state: Path, **options: Any) -> Iterator[Vsftpd]:
    try:
        server = Vsftpd(root, state, **options)
    except FileNotFoundError as error:
        not_here(str(error))
    with server:
        yield server


def issued(authority: trustme.CA, folder: Path, *names: str) -> Path:
    """A file with key and certificate for these names; by default those of the loopback."""
    path = folder / "server.pem"
    leaf = authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
    leaf.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def trusting(openssh: OpenSSH, known_hosts: Path) -> dict[str, str]:
    """Settings that trust this server, and that it trusts."""
    return {
        "FETCHER_SSH_KNOWN_HOSTS": str(openssh.known_hosts(known_hosts)),
        "FETCHER_SSH_KEY": str(openssh.client_key),
    }


def can_listen(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """An output folder that does not outlive its test: some hold much."""
    yield tmp_path / "out"
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


# --- the main job ---------------------------------------------------------------------------------


def test_large_empty_and_strangely_named_files(remote: Remote, tmp_path: Path, out: Path) -> None:
    rows = [(name, remote.url(f"/{name}")) for name in FILES]
    urls = write_list(tmp_path / "list.tsv", rows)

    result = run_crawl(out, urls=urls, settings=remote.settings, env=remote.env)

    assert result.returncode == 0, result.stderr
    assert_right(result, FILES)
    for name, row in result.by_name.items():
        assert row["size"] == FILES[name].size
        assert row["checksum"] == f"sha256:{FILES[name].sha256}"
        assert {"size", "last-modified"} <= set(row["verified_by"])
        assert (row["retries"], row["restarts"], row["resumed"]) == (0, 0, 0)
    large = result.by_name["large.bin"]
    assert large["connections"] >= 2
    # What is still on its way when a range is full is lost over FTP.
    assert LARGE.size <= large["received"] <= 1.1 * LARGE.size
    assert result.peak_rss < 150 * MIB
    wait_for(lambda: not is_connected(remote.port), 5, "the end of all connections")


@pytest.mark.parametrize("remote", ["ftp", "ftps", "sftp"], indirect=True)
def test_killed_and_then_interrupted_it_goes_on(remote: Remote, tmp_path: Path, out: Path) -> None:
    urls = write_list(tmp_path / "list.tsv", [("large.bin", remote.url("/large.bin"))])
    given = {"urls": urls, "settings": remote.settings, "env": remote.env}

    def reach(size: int) -> None:
        def is_there() -> bool:
            assert crawl.running, crawl.stderr
            return saved(out, "large.bin") >= size

        wait_for(is_there, 30, f"a journal of {size} bytes")

    with start_crawl(out, **given) as crawl:  # type: ignore[arg-type]
        reach(60 * MIB)
        crawl.kill()
    safe = saved(out, "large.bin")
    assert not (out / "large.bin").exists()

    with start_crawl(out, **given) as crawl:  # type: ignore[arg-type]
        reach(safe + 60 * MIB)
        began = time.monotonic()
        crawl.send_signal(signal.SIGINT)
        stopped = crawl.wait(timeout=10)
        assert time.monotonic() - began < 2
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    row = stopped.report[0]
    assert row["error"]["type"] == "Stopped"
    assert row["resumed"] == safe
    safe = saved(out, "large.bin")

    result = run_crawl(out, **given)  # type: ignore[arg-type]

    assert result.returncode == 0, result.stderr
    assert_right(result, {"large.bin": LARGE})
    row = result.report[0]
    assert row["resumed"] == safe >= 120 * MIB
    assert row["restarts"] == 0
    assert LARGE.size <= row["resumed"] + row["received"] <= 1.1 * LARGE.size
    own = [".fetcher", "SHA256SUMS", "large.bin", "report.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == own


# --- what cannot be fetched says why: FTP ---------------------------------------------------------


def test_what_vsftpd_refuses(
    files: Path, nameless: Callable[[], Path], tmp_path: Path, out: Path
) -> None:
    with start_vsftpd(files, nameless(), password="right") as server:
        rows = [
            ("good", server.url(f"/{STRANGE}", userinfo="anonymous:right")),
            ("login", server.url(f"/{STRANGE}", userinfo="anonymous:wrong")),
            ("nobody", server.url(f"/{STRANGE}", userinfo="nobody:right")),
            ("missing", server.url("/missing.bin", userinfo="anonymous:right")),
            ("secret", server.url("/secret.bin", userinfo="anonymous:right")),
            ("folder", server.url("/ordner", userinfo="anonymous:right")),
        ]
        result = run_crawl(out, urls=write_list(tmp_path / "list.tsv", rows))

    assert_right(result, {"good": SMALL})
    assert_failed(
        result,
        {
            "login": ("StatusError", "check user and password"),
            "nobody": ("StatusError", "check user and password"),
            "missing": ("StatusError", "no such file"),
            "secret": ("StatusError", "access is refused"),
            "folder": ("StatusError", "this is a folder"),
        },
    )


def test_tls_that_is_not_to_be_trusted(
    files: Path,
    nameless: Callable[[], Path],
    certificate: Path,
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
    out: Path,
) -> None:
    unknown = issued(trustme.CA(), nameless())
    another = issued(certificate_authority.authority, nameless(), "other.example")
    with (
        start_vsftpd(files, nameless()) as plain,
        start_vsftpd(files, nameless(), certificate=certificate, require_tls=True) as good,
        start_vsftpd(files, nameless(), certificate=unknown) as untrusted,
        start_vsftpd(files, nameless(), certificate=another) as elsewhere,
    ):
        login = "anonymous:hidden"
        ftp_good = good.url(f"/{STRANGE}", userinfo=login).replace("ftps://", "ftp://")
        ftps_plain = plain.url(f"/{STRANGE}", userinfo=login).replace("ftp://", "ftps://")
        rows = [
            ("plain", plain.url(f"/{STRANGE}", userinfo=login)),
            ("plain as ftps", ftps_plain),
            ("good", good.url(f"/{STRANGE}", userinfo=login)),
            ("good as ftp", ftp_good),
            ("untrusted", untrusted.url(f"/{STRANGE}", userinfo=login)),
            ("elsewhere", elsewhere.url(f"/{STRANGE}", userinfo=login)),
        ]
        result = run_crawl(
            out,
            urls=write_list(tmp_path / "list.tsv", rows),
            settings={"FETCHER_FTP_TLS": "require"},
            env=certificate_authority.env,
        )
        logs = [server.log for server in (plain, untrusted, elsewhere)]

    assert_right(result, {"good": SMALL, "good as ftp": SMALL})
    assert_failed(
        result,
        {
            "plain": ("LoginError", "offers no TLS"),
            "plain as ftps": ("LoginError", "offers no TLS"),
            "untrusted": ("CertificateError", "is not trusted"),
            "elsewhere": ("CertificateError", "certificate of 127.0.0.1"),
        },
    )
    assert all('"USER' not in log and '"PASS' not in log for log in logs)


def test_vsftpd_that_takes_two_connections(
    files: Path, nameless: Callable[[], Path], tmp_path: Path, out: Path
) -> None:
    """Three files of five connections each have to be content with them."""
    contents = {f"{number}.bin": Content(4 * MIB, seed=number) for number in range(3)}
    root = nameless()
    for name, content in contents.items():
        content.write_to(root / name)
    limits = {"max_per_ip": "2", "anon_max_rate": str(10 * MIB)}
    with start_vsftpd(root, nameless(), settings=limits) as server:
        rows = [(name, server.url(f"/{name}")) for name in contents]
        result = run_crawl(
            out,
            urls=write_list(tmp_path / "list.tsv", rows),
            settings={"FETCHER_MIN_SPLIT_SIZE": "1M"},
        )
        turned_away = server.log.count('"421 ')

    assert result.returncode == 0, result.stderr
    assert_right(result, contents)
    assert 0 < turned_away < 40


PASSWORDS = [
    "two words here",
    "with/some/slashes",
    "at@the@end.example",
    "100%sure",
    "one%20blank",
    "colon:and:colon",
    "q?u#e;s=t&i+o\"n'<",
    "päß☃wört",
]


def test_passwords_of_all_kinds_open_vsftpd_and_are_nowhere_to_be_read(
    files: Path, nameless: Callable[[], Path], tmp_path: Path, out: Path
) -> None:
    wrong = [f"{password}no" for password in PASSWORDS]
    with start_vsftpd(
        files,
        nameless(),
        password="\n".join(PASSWORDS),
        settings={"anon_max_rate": str(2 * MIB)},
    ) as server:

        def rows(label: str, path: str, passwords: Iterable[str]) -> list[tuple[str, str]]:
            logins = [f"anonymous:{quote(password, safe='')}" for password in passwords]
            return [
                (f"{label} {number}", server.url(path, userinfo=login))
                for number, login in enumerate(logins)
            ]

        large = rows("large", "/medium.bin", PASSWORDS[:1])
        small = rows("right", f"/{STRANGE}", PASSWORDS) + rows("wrong", f"/{STRANGE}", wrong)
        urls = write_list(tmp_path / "list.tsv", small + large)
        settings = {"FETCHER_MAX_PARALLEL": "20", "LOG_FILE": str(out / "log.txt")}
        out.mkdir()
        with start_crawl(out, urls=urls, settings=settings, args=["-L", "DEBUG"]) as crawl:
            wait_for(lambda: saved(out, "large 0"), 30, "a journal")
            crawl.send_signal(signal.SIGINT)
            result = crawl.wait()

    assert (out / "large 0.part.json").exists()
    assert "DEBUG" in (out / "log.txt").read_text("utf-8")
    assert_right(result, {f"right {number}": SMALL for number in range(len(PASSWORDS))})
    cause = ("StatusError", "check user and password")
    assert_failed(result, {f"wrong {number}": cause for number in range(len(wrong))})
    secrets = [("anonymous", password) for password in (*PASSWORDS, *wrong)]
    assert leaks(result, secrets) == []


# --- what cannot be fetched says why: SFTP --------------------------------------------------------


def test_what_openssh_refuses(
    openssh: OpenSSH,
    files: Path,
    nameless: Callable[[], Path],
    nobodys_home: Mapping[str, str],
    tmp_path: Path,
    out: Path,
) -> None:
    nobody = openssh.url(files / STRANGE).replace(f"//{openssh.user}@", "//nobody:wrong@")
    rows = [
        ("good", openssh.url(files / STRANGE)),
        ("login", nobody),
        ("missing", openssh.url(files / "missing.bin")),
        ("folder", openssh.url(files / "ordner")),
        ("device", openssh.url("/dev/null")),
    ]
    # Who is root may read everything; here nobody may open anything.
    with OpenSSH(nameless(), {"Subsystem": "sftp internal-sftp -P open"}) as strict:
        strict.authorized_keys.write_text(openssh.authorized_keys.read_text())
        rows.append(("secret", strict.url(files / STRANGE)))
        hosts = tmp_path / "known_hosts"
        both = [server.known_hosts(hosts).read_text() for server in (openssh, strict)]
        hosts.write_text("".join(both))
        settings = {
            "FETCHER_SSH_KNOWN_HOSTS": str(hosts),
            "FETCHER_SSH_KEY": str(openssh.client_key),
        }
        urls = write_list(tmp_path / "list.tsv", rows)
        result = run_crawl(out, urls=urls, settings=settings, env=nobodys_home)

    assert_right(result, {"good": SMALL})
    assert_failed(
        result,
        {
            "login": ("StatusError", "check user and password"),
            "missing": ("StatusError", "no such file"),
            "folder": ("StatusError", "this is a folder"),
            "device": ("StatusError", "no regular file"),
            "secret": ("StatusError", "access is refused"),
        },
    )


def test_host_keys_are_learned_once_and_then_held_on_to(
    nameless: Callable[[], Path],
    files: Path,
    nobodys_home: Mapping[str, str],
    tmp_path: Path,
    out: Path,
) -> None:
    try:
        server = OpenSSH(nameless())
    except FileNotFoundError as error:
        not_here(str(error))
    hosts = tmp_path / "new folder/known_hosts"
    path = files / STRANGE
    settings = {"FETCHER_SSH_KNOWN_HOSTS": str(hosts), "FETCHER_SSH_KEY": str(server.client_key)}
    accept = {**settings, "FETCHER_SSH_HOST_KEY_POLICY": "accept-new"}

    def fetch(names: Iterable[str], settings: Mapping[str, str]) -> CrawlResult:
        urls = write_list(tmp_path / "list.tsv", [(name, server.url(path)) for name in names])
        return run_crawl(out, urls=urls, settings=settings, env=nobodys_home)

    with server:
        unknown = fetch("a", settings)
        assert_failed(unknown, {"a": ("HostKeyError", "is not known")})
        message = unknown.report[0]["error"]["message"]
        assert "SHA256:" in message
        assert "FETCHER_SSH_HOST_KEY_POLICY=accept-new" in message
        assert "Accepted" not in server.log
        assert not hosts.exists()

        learned = fetch("abc", accept)
        assert_right(learned, dict.fromkeys("abc", SMALL))
        lines = hosts.read_text().splitlines()
        assert len(lines) == 1, "one key, once"
        assert lines[0] in server.known_hosts(tmp_path / "true").read_text().splitlines()

        assert_right(fetch("d", settings), {"d": SMALL})

        server.new_host_keys()
        changed = fetch("e", accept)
        assert_failed(changed, {"e": ("HostKeyError", "has changed")})
        assert "ssh-keygen -R" in changed.report[0]["error"]["message"]
        assert "Accepted" not in server.log
        assert hosts.read_text().splitlines() == lines


def test_openssh_that_lets_few_log_in_at_a_time(
    nameless: Callable[[], Path],
    files: Path,
    nobodys_home: Mapping[str, str],
    tmp_path: Path,
    out: Path,
) -> None:
    """Connections beyond ``MaxStartups`` are closed before they are greeted."""
    contents = {f"{number}.bin": Content(6 * MIB, seed=number) for number in range(3)}
    root = nameless()
    for name, content in contents.items():
        content.write_to(root / name)
    try:
        server = OpenSSH(nameless(), {"MaxStartups": "1"})
    except FileNotFoundError as error:
        not_here(str(error))
    with server:
        rows = [(name, server.url(root / name)) for name in contents]
        result = run_crawl(
            out,
            urls=write_list(tmp_path / "list.tsv", rows),
            settings={
                "FETCHER_MIN_SPLIT_SIZE": "1M",
                **trusting(server, tmp_path / "known_hosts"),
            },
            env=nobodys_home,
        )
        log = server.log

    assert result.returncode == 0, result.stderr
    assert_right(result, contents)
    assert "MaxStartups" in log, "nothing was refused: this shows nothing"


# --- what stands in ~/.ssh ------------------------------------------------------------------------


@dataclass(frozen=True)
class Home:
    """A user's folder, and the environment that makes it this user's."""

    ssh: Path
    env: dict[str, str]

    def put_key(self, name: str, key: Path, *, passphrase: bytes | None = None) -> Path:
        """A private key file, encrypted or not."""
        path = self.ssh / name
        path.touch(mode=0o600)
        text = key.read_bytes()
        if passphrase is not None:
            private = load_ssh_private_key(text, None)
            text = private.private_bytes(
                Encoding.PEM, PrivateFormat.OpenSSH, BestAvailableEncryption(passphrase)
            )
        path.write_bytes(text)
        return path


@pytest.fixture
def home(openssh: OpenSSH, tmp_path: Path) -> Home:
    """Knows the server's keys, and has none of its own."""
    ssh = tmp_path / "home/.ssh"
    ssh.mkdir(parents=True, mode=0o700)
    openssh.known_hosts(ssh / "known_hosts")
    return Home(ssh, {"HOME": str(ssh.parent), "SSH_AUTH_SOCK": ""})


def test_an_alias_of_the_configuration(
    openssh: OpenSSH, files: Path, home: Home, out: Path
) -> None:
    """The server's key is known by a hash, and is not of the type that is shown by default."""
    home.put_key("special", openssh.client_key)
    hosts = openssh.known_hosts(home.ssh / "known_hosts", types=["rsa"])
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", hosts], check=True, capture_output=True)
    assert "127.0.0.1" not in hosts.read_text()
    (home.ssh / "config").write_text(
        "Host archive\n"
        "    HostName 127.0.0.1\n"
        f"    Port {openssh.port}\n"
        f"    User {openssh.user}\n"
        "    IdentityFile ~/.ssh/special\n"
    )

    result = run_crawl(out, url=f"sftp://archive{quote(str(files / STRANGE))}", env=home.env)

    assert result.returncode == 0, result.stderr
    assert_right(result, {Path(STRANGE).name: SMALL})


def test_a_path_in_the_users_home_and_the_key_that_is_always_tried(
    openssh: OpenSSH, files: Path, home: Home, out: Path
) -> None:
    home.put_key("id_ed25519", openssh.client_key)
    up = os.path.relpath(files / STRANGE, Path(f"~{openssh.user}").expanduser())
    without_user = openssh.url("/~/" + up).replace(f"{openssh.user}@", "")

    result = run_crawl(out, url=without_user, env=home.env)

    assert result.returncode == 0, result.stderr
    assert_right(result, {Path(STRANGE).name: SMALL})


def test_an_encrypted_key_is_asked_for_through_the_agent(
    openssh: OpenSSH, files: Path, home: Home, out: Path
) -> None:
    url = openssh.url(files / STRANGE)
    name = Path(STRANGE).name
    key = home.put_key("id_ed25519", openssh.client_key, passphrase=b"sesame")

    found = run_crawl(out, url=url, env=home.env)
    assert_failed(found, {name: ("LoginError", "ssh-add")})

    given = run_crawl(out, url=url, env=home.env, settings={"FETCHER_SSH_KEY": str(key)})
    assert_failed(given, {name: ("LoginError", f"the key {key} is encrypted")})

    if shutil.which("ssh-agent") is None:
        not_here("ssh-agent is not installed: apt-get install openssh-client")
    sock = home.ssh / "agent"
    env = {**home.env, "SSH_AUTH_SOCK": str(sock)}
    with subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL) as agent:
        try:
            wait_for(sock.is_socket, 10, "the agent")
            add = ["ssh-add", "-q", str(openssh.client_key)]
            subprocess.run(add, check=True, env={**os.environ, **env}, capture_output=True)
            result = run_crawl(out, url=url, env=env)
        finally:
            agent.terminate()

    assert result.returncode == 0, result.stderr
    assert_right(result, {name: SMALL})


def test_a_configuration_that_wants_what_is_not_there(
    openssh: OpenSSH, files: Path, home: Home, out: Path
) -> None:
    (home.ssh / "config").write_text("Host 127.0.0.1\n    ProxyJump gate.example\n")

    result = run_crawl(out, url=openssh.url(files / STRANGE), env=home.env)

    assert_failed(result, {Path(STRANGE).name: ("LoginError", "proxyjump")})
