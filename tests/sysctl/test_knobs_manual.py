"""kame-sysctl(8) keeps its word: its examples run, and it knows all options."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from kamexfrm.rig import Host
from kamexfrm.sysctl.arguments import DEFAULT_FILE, HELP
from tests.sysctl.kame_sysctl import COMMAND, NAMES

PAGE = Path(__file__).parents[2] / "man" / "kame-sysctl.8"


@pytest.fixture(scope="module")
def source() -> str:
    return PAGE.read_text()


@pytest.fixture(scope="module")
def rendered() -> str:
    result = subprocess.run(
        ["mandoc", "-Tascii", "-Owidth=200", PAGE], capture_output=True, text=True, check=True
    )
    return re.sub(".\b", "", result.stdout)


def test_the_manual_is_clean() -> None:
    result = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", PAGE], capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.returncode) == ("", 0)


def test_the_manuals_examples_print_what_it_shows(
    namespace: Host, source: str, tmp_path: Path
) -> None:
    command = tmp_path / "bin" / "kame-sysctl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    examples = re.findall(r"^\.Bd -literal.*\n((?:[^.].*\n)+)\.Ed", source, re.MULTILINE)
    steps = [step for example in examples for step in re.split(r"^# ", example, flags=re.M)[1:]]
    assert len(steps) >= 10
    for step in steps:
        line, _, expected = step.partition("\n")
        script = f"PATH={shlex.quote(str(command.parent))}:$PATH; {line}"
        result = namespace.run(["sh", "-c", script], directory=tmp_path)
        assert (result.stdout, result.status) == (expected, 0), line


def test_the_manual_and_the_help_know_the_same_options(rendered: str) -> None:
    in_help = set(re.findall(r"(?<![\w-])--?[A-Za-z]+", HELP.partition("\n\n")[2]))
    in_page = set(re.findall(r"(?<![\w-])--?[A-Za-z]+", rendered)) - {"-deNnq", "-eNnqw", "-dNn"}
    in_page.discard("-D")  # setkey's
    assert in_page - {"-eNnq"} == in_help


def test_the_manual_has_all_sysctls_and_the_file(rendered: str) -> None:
    for name in NAMES:
        head, _, last = name.rpartition(".")
        assert head in rendered
        assert last in rendered
    assert DEFAULT_FILE in rendered
