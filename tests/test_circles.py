"""No two files of the package import each other, be it over others, for types or in functions."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import kamexfrm

ROOT = Path(kamexfrm.__file__).parent


def module_of(path: Path) -> str:
    """Return the dotted name of a file's module."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield all that a file imports, wherever in it: modules, and names that may be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return for each module the modules of the same lot that it imports."""
    graph = {}
    for module, source in sources.items():
        found = set()
        for name in imported(ast.parse(source)):
            found.add(name if name in sources else name.rpartition(".")[0])
        graph[module] = (found & sources.keys()) - {module}
    return graph


def circle(sources: dict[str, str]) -> list[str]:
    """Return the modules of one circle, the first one again at its end; nothing if none is."""
    try:
        TopologicalSorter(imports(sources)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_files_do_not_import_each_other_in_a_circle() -> None:
    sources = {module_of(path): path.read_text() for path in ROOT.rglob("*.py")}
    assert circle(sources) == []


def test_a_circle_is_found_through_types_and_functions() -> None:
    sources = {
        "a": "",
        "a.b": "if TYPE_CHECKING:\n    from a.c import C",
        "a.c": "def f():\n    from a import d",
        "a.d": "import a.b",
    }
    assert set(circle(sources)) == {"a.b", "a.c", "a.d"}
    assert circle(sources | {"a.d": "import a"}) == []
