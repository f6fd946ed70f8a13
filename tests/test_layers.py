"""Imports go one way: from the outside in."""

import ast
from collections.abc import Iterator
from pathlib import Path

import fetcher
from tests.crawl import PROJECT

ROOT = Path(fetcher.__file__).parent

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "contract"),
    ("rules",),
    ("config",),
    ("disk",),
    ("lists", "items", "transfer", "queue"),
    ("handlers", "middlewares", "pipelines", "extensions"),
    ("spiders",),
    ("commands", "demo", "workers", "library", "scrapyd", "addon"),
    ("__init__",),
)
"""From the inside out; a module may import from its own layer and from those before it."""

STRANGERS = ("handlers", "middlewares", "pipelines", "extensions")
"""Components: they meet in ``fetcher.contract``, and do not import each other."""

ALONE = ("settings",)
"""Imports nothing of the project, and nothing of the project imports it."""

PRIVATE = "handlers"
"""The only place for private names of Scrapy and Twisted ..."""

PRIVATE_ELSEWHERE = {
    # ... but for this: nothing public tells that a spider is being closed.
    "extensions/shutdown.py": {"_slot"},
}

FOREIGN = ("scrapy", "twisted")

NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
"""Begin with an underscore only so as not to collide with fields; they are public."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Path below ``fetcher/`` and tree of every module."""
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def part(dotted: str) -> str:
    """``rules`` of ``rules/urls.py`` and of ``fetcher.rules.urls``."""
    if dotted.endswith(".py"):
        return dotted.removesuffix(".py").partition("/")[0]
    return dotted.removeprefix("fetcher").removeprefix(".").partition(".")[0] or "__init__"


def imports(path: str, tree: ast.Module) -> Iterator[str]:
    """Everything that a module imports anywhere in it, names of ``from`` imports included."""
    package = ["fetcher", *path.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def own(path: str, tree: ast.Module) -> set[str]:
    """Which parts of the project a module imports."""
    names = imports(path, tree)
    return {part(name) for name in names if name.partition(".")[0] == "fetcher"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def test_every_module_has_its_layer() -> None:
    known = [*(name for layer in LAYERS for name in layer), *ALONE]
    assert len(set(known)) == len(known)
    found = {part(path) for path, _ in modules()}
    assert found - set(known) == set(), "give it a place in LAYERS"
    assert set(known) - found == set(), "is no longer there"


def test_imports_go_from_the_outside_in() -> None:
    depth = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    wrong = [
        f"{path} imports fetcher.{name}"
        for path, tree in modules()
        if part(path) not in ALONE
        for name in own(path, tree)
        if name in ALONE or depth[name] > depth[part(path)]
    ]
    assert wrong == []


def test_components_stay_strangers() -> None:
    wrong = [
        f"{path} imports fetcher.{name}"
        for path, tree in modules()
        if part(path) in STRANGERS
        for name in own(path, tree) & set(STRANGERS) - {part(path)}
    ]
    assert wrong == []


def test_the_settings_stand_alone() -> None:
    trees = dict(modules())
    for name in ALONE:
        assert own(f"{name}.py", trees[f"{name}.py"]) == set()


def test_rules_are_pure() -> None:
    """No file, no socket, no thread, no Scrapy: what decides can be tested without them."""
    outside = {"asyncio", "pathlib", "socket", "sqlite3", "subprocess", "threading", "time"}
    wrong = [
        f"{path} imports {name}"
        for path, tree in modules()
        if part(path) == "rules"
        for name in imports(path, tree)
        if name.partition(".")[0] in outside | set(FOREIGN)
    ]
    assert wrong == []


def test_private_names_of_others_are_imported_in_one_place() -> None:
    found: dict[str, set[str]] = {}
    for path, tree in modules():
        for name in imports(path, tree):
            if name.partition(".")[0] in FOREIGN and any(map(is_private, name.split("."))):
                found.setdefault(part(path), set()).add(name)
    assert set(found) == {PRIVATE}, found


def private_uses(tree: ast.Module) -> set[str]:
    """Private attributes of something that is not ``self``, ``cls`` or of this module's making."""
    made_here = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    } | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and node.attr not in made_here | NAMED_TUPLES
    }


def test_private_attributes_of_others_are_used_in_one_place() -> None:
    found = {
        path: uses
        for path, tree in modules()
        if part(path) != PRIVATE and (uses := private_uses(tree))
    }
    assert found == PRIVATE_ELSEWHERE


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import fetcher.disk.part
from fetcher import lists
from . import names
from ..config import Config
if TYPE_CHECKING:
    from scrapy.core._x import y
def later():
    from twisted.web._newclient import ParseError
    import fetcher
"""
    tree = ast.parse(source)
    found = set(imports("rules/urls.py", tree))
    assert found == {
        "fetcher.disk.part",
        "fetcher.lists",
        "fetcher.rules.names",
        "fetcher.config.Config",
        "scrapy.core._x.y",
        "twisted.web._newclient.ParseError",
        "fetcher",
    }
    assert own("rules/urls.py", tree) == {"disk", "lists", "rules", "config", "__init__"}


def test_it_is_this_project_that_is_looked_at() -> None:
    assert ROOT == PROJECT / "fetcher"
