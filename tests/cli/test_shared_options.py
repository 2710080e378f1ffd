"""Each command explains its options, tells its version, and prints in colour as it is asked to."""

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from kamexfrm.cli.command import main


def commands(command: click.Command = main, *words: str) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, *words, name)


EACH = [words for words in commands() if words != ("exec",)]


def run(*words: str) -> str:
    done = CliRunner().invoke(main, words, prog_name="kamexfrm")
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_each_option_of_each_command_is_explained(words: tuple[str, ...]) -> None:
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert [one.opts for one in options if not one.help] == []
    text = run(*words, "-h")
    assert text == run(*words, "--help")
    shown = ["-V, --version", "--color", "-h, --help"]
    assert [one for one in shown if f"\n  {one}" not in text] == []


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_each_command_tells_the_version(words: tuple[str, ...]) -> None:
    assert run(*words, "-V") == run(*words, "--version") == run("--version")


@pytest.mark.parametrize(
    ("words", "environment", "coloured"),
    [
        ((), {}, False),
        ((), {"FORCE_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        ((), {"FORCE_COLOR": ""}, False),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
        (("--color=never",), {"FORCE_COLOR": "1"}, False),
        (("--color", "auto"), {"FORCE_COLOR": "1"}, True),
        (("--color", "auto"), {}, False),
    ],
)
def test_colours_are_as_asked_for(
    words: tuple[str, ...], environment: dict[str, str], coloured: bool
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_COLOR")}
    command = [sys.executable, "-m", "kamexfrm.cli", "check", "-", *words]
    done = subprocess.run(
        command,
        input="spdadd nonsense;",
        capture_output=True,
        text=True,
        check=False,
        env={**clean, "TERM": "xterm", **environment},
    )
    assert done.returncode == 1, done.stderr
    assert ("\x1b[" in done.stdout) == coloured
