"""What pages and docstrings name can be imported as it is written there."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "man").iterdir(),
]
NAME = re.compile(r"(?<![\w/.-])kamexfrm(?:\.[A-Za-z_]\w*)+(?![\w/-]|\.\w)")
IMPORT = re.compile(r"^ *((?:from kamexfrm[\w.]* )?import .+)$", re.MULTILINE)


def texts() -> Iterator[tuple[str, str]]:
    """Return the pages, and the docstrings that the API pages are made of."""
    for page in PAGES:
        yield page.name, page.read_text()
    for path in sorted((ROOT / "kamexfrm").rglob("*.py")):
        tree = ast.parse(path.read_text())
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        for node in ast.walk(tree):
            if isinstance(node, kinds) and (text := ast.get_docstring(node)):
                yield str(path.relative_to(ROOT)), text


def named() -> dict[str, str]:
    """Return each dotted name with a page that has it."""
    return {
        name: where
        for where, text in texts()
        for name in NAME.findall(text)
        if not name.endswith((".py", ".service"))
    }


def imports() -> dict[str, str]:
    """Return the lines of code in pages that import something of kamexfrm."""
    return {
        line.strip(): page.name
        for page in PAGES
        for line in IMPORT.findall(page.read_text())
        if "kamexfrm" in line and "(" not in line
    }


def python(code: str) -> str:
    """Run code in an interpreter of its own; return the last line of its error."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition("\n")[2]


def test_there_are_names_and_imports_to_try() -> None:
    assert {"kamexfrm.PfKeySocket", "kamexfrm.set_policy", "kamexfrm.model"} <= set(named())
    assert "import kamexfrm" in imports()


@pytest.mark.parametrize("name", sorted(named()))
def test_a_name_is_found_after_importing_the_package_alone(name: str) -> None:
    as_attribute = python(f"import kamexfrm; {name}")
    as_module = as_attribute and python(f"import {name}")
    assert not as_module, f"{named()[name]}: {as_attribute}"


@pytest.mark.parametrize("line", sorted(imports()))
def test_an_import_of_a_page_works(line: str) -> None:
    assert not python(line), imports()[line]


def test_the_packages_of_the_api_pages_can_be_loaded() -> None:
    folder = ROOT / "docs"
    assert not python(
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "import build_api\nfor package in build_api.PACKAGES: build_api.load(package)"
    )
