"""The floors of the package: imports go down only, and the command path stays light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kamexfrm

ROOT = Path(kamexfrm.__file__).parent

#: Floor of each part. What is on one floor does not import its neighbours.
FLOORS = {
    "net": 0,
    "errors": 0,
    "lazy": 0,
    "records": -1,
    "spelling": 0,
    "wirenumber": 0,
    "algorithms": 1,
    "command_line": 1,
    "log_level": 2,
    "pfkey": 2,
    "model": 2,
    "xfrm": 2,
    "translate": 3,
    "kernel": 3,
    "engine": 4,
    "hub": 5,
    "setkey": 6,
    "sysctl": 6,
    "kamexfrmd": 6,
    "exec": 6,
    "operator": 7,
    "rig": 7,
    "library": 8,
    "testing": 8,
    "cli": 9,
}

#: Floor of each part of rig/scenario, by the same rule.
SCENARIO_FLOORS = {
    "plan": 0,
    "covering": 0,
    "result": 1,
    "reading": 2,
    "stage": 2,
    "report": 2,
    "diagnosis": 3,
    "page": 3,
    "run": 4,
}

#: What the quick commands must not load before they know what they are asked.
HEAVY = {"dataclasses", "inspect", "argparse", "ipaddress", "json", "pathlib", "logging"}
HEAVY |= {"click", "rich", "pyroute2"}


def part_of(module: str) -> str | None:
    """Return the part of the package that a module belongs to, None for the package itself."""
    names = module.split(".")
    return names[1] if names[0] == "kamexfrm" and len(names) > 1 else None


def imports_of(path: Path) -> set[str]:
    """Return all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found.add(module)
            if module == "kamexfrm":
                found |= {f"kamexfrm.{alias.name}" for alias in node.names}
    return found


def modules_of(path: Path) -> set[str]:
    """Return what ``imports_of`` does, and the names imported from modules: some are modules."""
    found = imports_of(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    here = path.relative_to(ROOT).with_suffix("").parts[0]
    floor = FLOORS[here]
    for module in imports_of(path):
        part = part_of(module)
        if part is None or part == here or part not in FLOORS:
            continue
        assert FLOORS[part] < floor, f"{here} (floor {floor}) imports {module}"


SCENARIO = ROOT / "rig" / "scenario"
SCENARIO_FILES = [p for p in FILES if SCENARIO in p.parents and p != SCENARIO / "__init__.py"]


@pytest.mark.parametrize("path", SCENARIO_FILES, ids=lambda p: str(p.relative_to(SCENARIO)))
def test_imports_between_the_parts_of_a_scenario_go_down_only(path: Path) -> None:
    here = path.relative_to(SCENARIO).with_suffix("").parts[0]
    for module in modules_of(path):
        names = module.split(".")
        if names[:3] != ["kamexfrm", "rig", "scenario"] or names[3:4] in ([], [here]):
            continue
        floor = SCENARIO_FLOORS[names[3]]
        assert floor < SCENARIO_FLOORS[here], f"scenario/{here} imports {module}"


@pytest.mark.parametrize("wing", ["pfkey", "xfrm"])
def test_a_wing_of_translate_imports_nothing_else_of_translate(wing: str) -> None:
    own = f"kamexfrm.translate.{wing}"
    files = list((ROOT / "translate" / wing).rglob("*.py"))
    assert files
    for path in files:
        others = {m for m in imports_of(path) if m.startswith("kamexfrm.translate")}
        others -= {m for m in others if m == own or m.startswith(f"{own}.")}
        assert not others, f"{path} imports {others}"


@pytest.mark.parametrize("part", ["pfkey", "model", "xfrm", "translate"])
def test_pure_parts_do_no_input_or_output(part: str) -> None:
    forbidden = {"os", "subprocess", "select", "selectors", "fcntl", "threading", "time"}
    for path in (ROOT / part).rglob("*.py"):
        # errno texts come from os.strerror(), which touches nothing
        mine = imports_of(path) - ({"os"} if "strerror" in path.read_text() else set())
        assert not mine & forbidden, f"{path} imports {mine & forbidden}"


@pytest.mark.parametrize("command", ["kamexfrm.setkey.command", "kamexfrm.sysctl.command"])
def test_quick_commands_load_nothing_heavy(command: str) -> None:
    code = f"import sys, {command}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not HEAVY & {name.partition(".")[0] for name in loaded}


def test_every_part_has_a_floor() -> None:
    parts = {p.relative_to(ROOT).with_suffix("").parts[0] for p in FILES}
    assert parts <= FLOORS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_expression_repeats_a_group_possessively(path: Path) -> None:
    """Python 3.11.2, Debian 12's, never ends on some texts then; atomic groups are fine."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"\)[*+?]\+", node.value), f"{path}:{node.lineno}"
