"""The README's table of what goes wrong is that of the tests."""

from tests.matrix.table import README, with_table


def test_readme_has_the_table_of_the_cases() -> None:
    readme = README.read_text("utf-8")
    assert with_table(readme) == readme, "run python -m tests.matrix.table"
