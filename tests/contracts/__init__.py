"""What every download handler has to do, whatever its protocol: one suite, run against each."""

import pytest

pytest.register_assert_rewrite(
    "tests.contracts.client", "tests.contracts.handler", "tests.contracts.sessions"
)
