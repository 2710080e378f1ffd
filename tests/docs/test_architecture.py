"""docs/architecture.md names floors, files and functions that are there."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.test_floors import FLOORS, SCENARIO_FLOORS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()

SPAN = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"(?:kamexfrm|tests|man|docs|examples)/[\w./-]*\w/?|[A-Z]+\.md|Makefile")


def spans() -> list[list[str]]:
    """Return the code spans of each line."""
    return [SPAN.findall(line) for line in TEXT.splitlines()]


@cache
def source(path: Path) -> str:
    return path.read_text()


def defines(path: Path, name: str) -> bool:
    """Whether a file defines ``name()``, or a class or a type ``Name``."""
    kinds = "def" if name.endswith("()") else "class"
    word = name.removesuffix("()")
    pattern = rf"^ *{kinds} {word}\b|^{word}(?:: \w+)? = "
    return bool(re.search(pattern, source(path), re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "floors"), [("part", FLOORS), ("part of scenario", SCENARIO_FLOORS)]
)
def test_the_floors_of_the_page_are_those_of_the_test(heading: str, floors: dict[str, int]) -> None:
    table = TEXT.partition(f"| floor | {heading} | what it has |\n|---|---|---|\n")[2]
    rows = re.findall(r"^\| (-?\d) \| `(\w+)` \| \S", table.partition("\n\n")[0], re.MULTILINE)
    assert {part: int(floor) for floor, part in rows} == floors
    assert [int(floor) for floor, _ in rows] == sorted(floors.values(), reverse=True)


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_each_file_that_a_page_names_exists(page: str) -> None:
    named = {span for span in SPAN.findall((ROOT / page).read_text()) if FILE.fullmatch(span)}
    named = {name for name in named if "/" in name or name[0].isupper()}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_each_function_that_the_page_names_is_in_the_file_before_it() -> None:
    missing = []
    count = 0
    for line in spans():
        path = None
        for span in line:
            if span.endswith(".py"):
                path = ROOT / span
            elif path and re.fullmatch(r"\w+\(\)|[A-Z][a-zA-Z]+", span):
                count += 1
                if not defines(path, span):
                    missing.append(f"{path.name}: {span}")
    assert count > 30
    assert missing == []
