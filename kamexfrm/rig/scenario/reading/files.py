"""The scenario files that a command's arguments name: files, folders, the standard input."""

import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.reading import document
from kamexfrm.rig.scenario.reading.table import ScenarioError

_ENDING = ".rig.toml"


def read_files(arguments: Sequence[Path], given: str | None = None) -> list[Case]:
    """Return all cases of what arguments name; ``given`` is the text of the standard input.

    Raises ScenarioError for the first mistake, and for a folder without scenarios.
    """
    cases: list[Case] = []
    for argument in arguments:
        if given is not None and str(argument) == "-":
            cases += document.read_text(given, str(argument))
        elif argument.is_dir():
            for path in _scenarios(argument):
                cases += document.read_file(path)
        else:
            cases += document.read_file(argument)
    return cases


def _scenarios(folder: Path) -> list[Path]:
    """Return the scenarios in a folder and below: ``*.rig.toml``, and other TOML with links."""
    found = sorted(path for path in _toml_files(folder) if _is_scenario(path))
    if not found:
        raise ScenarioError(f"{folder}: no scenarios (*{_ENDING}) in this folder")
    return found


def _toml_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if name.endswith(".toml"))


def _is_scenario(path: Path) -> bool:
    """Whether a file is called as a scenario or has the keys that only a scenario has."""
    if path.name.endswith(_ENDING):
        return True
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return "links" in data or "hosts" in data
