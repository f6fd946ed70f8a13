"""Names that servers give, and addresses: nothing unsafe comes out, and no secret."""

from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.errors import InvalidURLError
from fetcher.rules.names import CONTROL, MAX_BYTES, check_name, disposition_name, part_name
from fetcher.rules.urls import check_url, last_segment, origin, redact, split_credentials
from tests.fuzz.mutations import fuzz, mutated

HOSTILE = [
    *("", "/", "\\", "..", "../", "..\\", "~", ".", " ", "%", "%2f", "%2e%2e", "%00", "%0d%0a"),
    *('"', '\\"', "'", "''", ";", "=", "*", ":", "\0", "\r\n", "\x1b[2J", "\u202e", "\ud800"),
    *("\xe9", "\xc3\xa9", "CON", "c:", ".part", ".part.json", ".fetcher/", "report.jsonl"),
    *("a" * 300, "\u20ac" * 100, "UTF-8''", "utf-7''+AC8-", "rot13''"),
]

tokens = mutated(st.sampled_from(["name.tar", "a b.tar.gz", "\xe9t\xe9.zip", ".x", "a"]), HOSTILE)
charsets = st.sampled_from(["UTF-8", "iso-8859-1", "utf-16", "idna", "hex", "undefined", "no", ""])
parameters = st.one_of(
    st.builds('filename="{}"'.format, tokens),
    st.builds("filename={}".format, tokens),
    st.builds(
        "filename*={}'{}'{}".format,
        charsets,
        st.sampled_from(["", "en", "'"]),
        tokens.map(lambda text: quote(text, errors="replace")),
    ),
    st.builds('name="{}"'.format, tokens),
)
dispositions = mutated(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["attachment", "inline", "form-data", ""]),
        st.sampled_from([";", "; ", ";;", ""]),
        st.lists(parameters, max_size=3).map("; ".join),
    ),
    HOSTILE,
)


@fuzz
@given(dispositions)
def test_content_disposition(header: str) -> None:
    name = disposition_name(header)
    if not name:
        return
    assert check_name(name) == name
    assert "/" not in name
    assert not CONTROL.search(name)
    assert len(name.encode()) <= MAX_BYTES
    assert len(part_name(name).encode()) <= MAX_BYTES


SECRET = "Hunter2"

hosts = st.sampled_from(["h.example", "127.0.0.1", "[::1]", "[::1%25eth0]", "", "\xe9.example"])
ports = st.sampled_from(["", ":", ":80", ":0", ":99999", ":x", ":\u0663"])
passwords = mutated(
    st.just(SECRET), ["", "@", ":", "%", "%40", "[", "]", "!", "$", "&", "\xe9", " ", "\t", "\\"]
).filter(lambda text: SECRET in text)
userinfos = st.just("") | st.builds("user:{}@".format, passwords) | passwords.map("{}@".format)
queries = st.just("") | st.builds(
    "?{}={}{}".format,
    st.sampled_from(["sig", "X-Amz-Signature", "a=b&sig", "a;sig", ""]),
    passwords.filter(lambda text: "&" not in text),
    st.sampled_from(["", "&a=b", "#fragment", "?x=1", "/../x"]),
)
schemes = st.sampled_from(["http", "HTTPS", "ftp", "ftps", "sftp", "file", "data", "h\xedp"])
paths = mutated(
    st.sampled_from(["/a.tar", "/a/b.tar;type=i", "/%2Fetc/passwd", "/~/a", "", "/"]), HOSTILE
)
addresses = st.builds("{}://{}{}{}{}{}".format, schemes, userinfos, hosts, ports, paths, queries)


@fuzz
@given(addresses)
def test_addresses(url: str) -> None:
    assert SECRET not in redact(url)
    try:
        checked = check_url(url)
    except InvalidURLError as error:
        assert SECRET not in error.message
        assert error.message.isprintable()
        return
    assert check_url(checked) == checked
    assert checked.isprintable() or not checked.isascii()
    bare, authorization = split_credentials(checked)
    assert (authorization is None) == (bare == checked)
    assert origin(bare) == origin(checked)
    assert "@" not in bare.partition("://")[2].partition("/")[0].partition("?")[0]
    assert "/" not in last_segment(checked) or "%2f" in checked.lower()


@fuzz
@given(mutated(addresses, [*HOSTILE, "@", "://", "?", "#", "&"], most=5))
@example("ftp://h.example/\udcff.tar")  # A command line that is not in UTF-8.
def test_damaged_addresses(url: str) -> None:
    redact(url)
    try:
        checked = check_url(url)
    except InvalidURLError as error:
        assert error.message.isprintable()
        return
    assert check_url(checked) == checked
