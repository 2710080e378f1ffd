"""docs/needs.md: each command is typed as it stands there, and says what is printed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "needs.md").read_text()

NEEDS = re.findall(r"^## (\d+)\. .*?\n\n```console\n\$ (.*?)\n(.*?)```", TEXT, re.M | re.S)


def same(printed: list[str], said: list[str]) -> bool:
    """Whether all lines are the same; ``...`` is any number of them, or the rest of one."""
    if not said:
        return not printed
    if said[0] == "...":
        return any(same(printed[at:], said[1:]) for at in range(len(printed) + 1))
    if said[0].endswith("..."):
        return bool(printed) and printed[0].startswith(said[0][:-3])
    return bool(printed) and printed[0].rstrip() == said[0] and same(printed[1:], said[1:])


def test_each_of_eighteen_needs_has_a_command() -> None:
    assert [int(number) for number, _, _ in NEEDS] == list(range(1, 19))


@pytest.mark.usefixtures("real_kernel")
def test_each_command_prints_what_the_page_says(tmp_path: Path) -> None:
    for name in ("ipsec.conf", "policies.conf"):
        [text] = re.findall(rf"^```{re.escape(name)}\n(.*?)^```", TEXT, re.M | re.S)
        (tmp_path / name).write_text(text)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for number, command, said in NEEDS:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        printed = done.stdout.splitlines()
        assert same(printed, said.splitlines()), f"{number}. {command}:\n{done.stdout}"
