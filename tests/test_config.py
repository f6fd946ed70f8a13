"""The settings, read once."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher import settings as defaults
from fetcher.config import Config, parse_size
from fetcher.contract import plain_row
from fetcher.errors import InvalidSettingError

OURS = sorted(name for name in vars(defaults) if name.startswith("FETCHER_"))


class Asked(dict[str, Any]):
    """Settings that note which were asked for."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def default_settings() -> Asked:
    return Asked({name: value for name, value in vars(defaults).items() if name.isupper()})


# --- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        (1024, 1024),
        ("1K", 1024),
        ("8M", 8 << 20),
        ("8m", 8 << 20),
        (" 8 M ", 8 << 20),
        ("1.5G", 3 << 29),
        ("2T", 2 << 40),
        ("8MB", 8 << 20),
        ("8MiB", 8 << 20),
        ("8 mib", 8 << 20),
        ("512B", 512),
        ("0.5K", 512),
        (10.0, 10),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "M",
        "-1",
        "+1",
        "1e3",
        "8X",
        "8 M M",
        "8,5M",
        ".5M",
        "5.",
        "\u0663",
        "0x10",
        "inf",
        "nan",
    ],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)


@pytest.mark.parametrize("value", [None, True, [8], float("inf"), float("nan"), -1])
def test_values_that_are_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="no size"):
        parse_size(value)


@given(st.integers(0, 1 << 63), st.sampled_from(["", "K", "M", "G", "T"]))
@example((1 << 53) + 1, "")
def test_whole_sizes_are_exact(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * 1024 ** " KMGT".index(unit or " ")


@given(
    st.text()
    | st.builds("{}.{}{}".format, st.integers(0), st.integers(0), st.sampled_from("KMGTX"))
)
@example("9" * 400)
@example("9" * 5000)
def test_whatever_the_text(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ValueError as error:
        assert str(error)


# --- all settings -------------------------------------------------------------------------------


def test_the_defaults_of_the_settings_are_those_of_the_config() -> None:
    assert Config.from_settings(default_settings()) == Config()


def test_without_any_setting_the_defaults_hold() -> None:
    assert Config.from_settings({}) == Config()


def test_every_setting_is_read_and_every_one_read_is_documented() -> None:
    settings = default_settings()
    Config.from_settings(settings)
    assert sorted(name for name in settings.names if name.startswith("FETCHER_")) == OURS
    assert settings.names <= settings.keys()


def test_every_setting_has_an_effect() -> None:
    others: dict[str, Any] = {
        "FETCHER_OUTPUT_DIR": "elsewhere",
        "FETCHER_MIN_SPLIT_SIZE": "1M",
        "FETCHER_IF_EXISTS": "rename",
        "FETCHER_CHECKSUM": "off",
        "FETCHER_RECORD_CHECKSUM": "md5",
        "FETCHER_PROGRESS": "none",
        "FETCHER_SSH_HOST_KEY_POLICY": "accept-new",
        "FETCHER_FTP_TLS": "require",
        "FETCHER_UNPACK": "True",
        "DOWNLOAD_MAXSIZE": "1G",
        "DOWNLOAD_VERIFY_CERTIFICATES": "False",
    }
    for name in [*OURS, "DOWNLOAD_MAXSIZE", "DOWNLOAD_VERIFY_CERTIFICATES"]:
        assert Config.from_settings({name: others.get(name, "7")}) != Config(), name


def test_scrapys_own_limit_leaves_room_for_every_connection() -> None:
    assert Config().least_concurrent_requests() <= defaults.CONCURRENT_REQUESTS
    assert Config(max_parallel=3, max_splits=4).least_concurrent_requests() == 16


def test_settings_come_as_text_from_the_command_line() -> None:
    config = Config.from_settings(
        {
            "FETCHER_MAX_PARALLEL": "7",
            "FETCHER_MIN_SPLIT_SIZE": "64K",
            "FETCHER_RETRY_BACKOFF": "0.25",
            "FETCHER_IF_EXISTS": " Update ",
            "FETCHER_RECORD_CHECKSUM": "",
            "FETCHER_OUTPUT_DIR": "",
        }
    )
    assert config == Config(
        max_parallel=7,
        min_split_size=64 << 10,
        retry_backoff=0.25,
        if_exists="update",
        record_checksum="",
    )


COUNTS = ("FETCHER_MAX_PARALLEL", "FETCHER_MAX_SPLITS", "FETCHER_MAX_TRIES")
SIZES = (
    "FETCHER_MIN_SPLIT_SIZE",
    "FETCHER_STALL_SPEED",
    "FETCHER_RATE_LIMIT",
    "DOWNLOAD_MAXSIZE",
)
SECONDS = (
    "FETCHER_RETRY_BACKOFF",
    "FETCHER_MAX_RETRY_AFTER",
    "FETCHER_STALL_TIMEOUT",
    "FETCHER_CONNECT_TIMEOUT",
    "FETCHER_QUEUE_LEASE",
)
CHOICES = (
    "FETCHER_IF_EXISTS",
    "FETCHER_CHECKSUM",
    "FETCHER_RECORD_CHECKSUM",
    "FETCHER_PROGRESS",
    "FETCHER_SSH_HOST_KEY_POLICY",
    "FETCHER_FTP_TLS",
)
FLAGS = ("FETCHER_UNPACK", "DOWNLOAD_VERIFY_CERTIFICATES")
PORTS = ("FETCHER_METRICS_PORT",)
TEXTS = (
    "FETCHER_OUTPUT_DIR",
    "FETCHER_SSH_KNOWN_HOSTS",
    "FETCHER_SSH_KEY",
    "FETCHER_COOKIES",
    "FETCHER_QUEUE",
    "FETCHER_QUEUE_NAME",
)


def test_the_settings_of_these_tests_are_all_there_are() -> None:
    tested = {*COUNTS, *SIZES, *SECONDS, *CHOICES, *FLAGS, *PORTS, *TEXTS}
    assert tested - {"DOWNLOAD_MAXSIZE", "DOWNLOAD_VERIFY_CERTIFICATES"} == set(OURS)


def each(names: tuple[str, ...], *values: object) -> list[tuple[str, object]]:
    return [(name, value) for name in names for value in values]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *each(COUNTS, 0, -1, "0", "five", "", "1.5", [1]),
        ("FETCHER_MAX_TRIES", float("inf")),
        *each(SIZES, "", "-1", "8X", "much", [1]),
        ("FETCHER_MIN_SPLIT_SIZE", 0),
        ("FETCHER_MIN_SPLIT_SIZE", "0M"),
        *each(SECONDS, -1, "-0.1", "", "soon", "nan", "inf", "1e999", [1]),
        pytest.param("FETCHER_STALL_TIMEOUT", 10**400, id="FETCHER_STALL_TIMEOUT-huge"),
        ("FETCHER_STALL_TIMEOUT", 0),
        ("FETCHER_CONNECT_TIMEOUT", "0"),
        *each(CHOICES, "maybe", "skip,update", 0, []),
        *each(FLAGS, "", "yes", 2, []),
        *each(PORTS, "x", "70000", "9429-9410", "1-2-3", "-1", True),
        ("FETCHER_QUEUE_LEASE", 0),
        ("FETCHER_IF_EXISTS", ""),
        ("FETCHER_CHECKSUM", "sha256"),
        ("FETCHER_RECORD_CHECKSUM", "crc32"),
    ],
)
def test_a_bad_value_is_told_with_its_setting(name: str, value: object) -> None:
    with pytest.raises(InvalidSettingError) as caught:
        Config.from_settings({name: value})
    assert name in caught.value.message
    assert caught.value.message.count("\n") == 0


@given(
    st.sampled_from([*COUNTS, *SIZES, *SECONDS, *CHOICES, *FLAGS, *PORTS]),
    st.one_of(
        st.text(),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.none(),
        st.binary(),
        st.lists(st.integers()),
    ),
)
@example("FETCHER_MIN_SPLIT_SIZE", "9" * 400)
@example("FETCHER_MAX_TRIES", float("inf"))
@example("FETCHER_STALL_TIMEOUT", 10**400)
def test_whatever_the_value(name: str, value: object) -> None:
    try:
        Config.from_settings({name: value})
    except InvalidSettingError as error:
        assert name in error.message


@pytest.mark.parametrize(
    ("host", "own", "mirrors", "expected"),
    [
        (16, None, [], 5),
        (1, None, [], 1),
        (3, None, [], 3),
        (3, 2, [], 2),
        (3, 8, [], 3),
        # Several hosts have as many each.
        (1, None, [("http://other/a", None)], 5),
    ],
)
def test_a_file_has_no_more_ranges_than_its_host_takes_connections(
    host: int, own: int | None, mirrors: list[tuple[str, str | None]], expected: int
) -> None:
    config = Config.from_settings({"CONCURRENT_REQUESTS_PER_DOMAIN": host})
    meta = plain_row("a", "/out")
    meta["splits"], meta["mirrors"] = own, mirrors
    assert config.of_file(meta).max_splits == expected
