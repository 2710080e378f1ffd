"""docs/tutorial.md: each command is typed as it stands there, and says what is printed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kamexfrm.rig.scenario.reading import gallery

TEXT = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()

#: What differs from run to run: times, processes, times since; and where the hosts are.
CHANCE = re.compile(r"\d+\.\d+(?= s\b)|^ *\d+\.\d{3}(?= )|(?<=by process )\d+| in a guest")


def dialogues() -> list[tuple[str, list[str]]]:
    """Return each command with what it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> "):
                command, printed = found.pop()
                found.append((f"{command}\n{line[2:]}", printed))
            else:
                found[-1][1].append(line)
    return found


def shape(line: str) -> str:
    return " ".join(CHANCE.sub("N", line).split())


def same(printed: list[str], said: list[str]) -> bool:
    """Whether all lines are the same; ``...`` is any number of them."""
    if not said:
        return not printed
    if said[0] == "...":
        return any(same(printed[at:], said[1:]) for at in range(len(printed) + 1))
    return bool(printed) and shape(printed[0]) == shape(said[0]) and same(printed[1:], said[1:])


def test_each_command_of_the_tutorial_says_what_is_printed_there(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    typed = dialogues()
    assert len(typed) > 10
    for command, said in typed:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "XDG_RUNTIME_DIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert same(done.stdout.splitlines(), said), f"{command}\n{done.stdout}"


@pytest.mark.parametrize("kind", gallery.kinds())
def test_the_tutorial_shows_the_whole_gallery(kind: str) -> None:
    assert f"| `{kind}` |" in TEXT
