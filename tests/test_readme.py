"""The README tells the truth: its table of settings is the one in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from fetcher import settings

README = Path(__file__).parents[1] / "README.md"


def settings_table() -> str:
    """The table as ``fetcher/settings.py`` has it: each setting, its default and its text."""
    tree = ast.parse(Path(settings.__file__).read_text())
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            continue
        name = statement.targets[0].id
        if not name.startswith("FETCHER_"):
            continue
        assert isinstance(following, ast.Expr), f"{name} has no text"
        assert isinstance(following.value, ast.Constant), f"{name} has no text"
        text = " ".join(str(following.value.value).split())
        default = ast.literal_eval(statement.value)
        shown = "none" if default in ("", None) else f"`{default}`"
        lines.append(f"| `{name}` | {shown} | {text} |")
    return "\n".join(lines)


def test_settings_table_is_that_of_the_code() -> None:
    readme = README.read_text()
    match = re.search(r"<!-- settings: .*? -->\n(.*)\n<!-- end of settings -->", readme, re.DOTALL)
    assert match is not None
    assert match[1] == settings_table()


def test_every_setting_has_its_place_in_the_configuration() -> None:
    used = (Path(settings.__file__).parent / "config.py").read_text()
    for name in vars(settings):
        if name.startswith("FETCHER_"):
            assert name in used, name


def test_files_that_the_readme_points_at_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target


def test_example_lists_in_the_readme_exist() -> None:
    for path in re.findall(r"urls=(inputs/\S+)", README.read_text()):
        assert (README.parent / path).is_file(), path
