"""docs/coming-from.md: what is translated there is, and the commands that it names exist."""

import re
from pathlib import Path

import click
from click.testing import CliRunner

from kamexfrm.cli.command import main

TEXT = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text()


def test_the_commands_of_ip_become_the_file_that_the_page_shows() -> None:
    [commands] = re.findall(r"^```ip\n(.*?)^```", TEXT, re.M | re.S)
    [script] = re.findall(r"^```setkey\n(.*?)^```", TEXT, re.M | re.S)
    words = ["translate", "--from", "ip", "--to", "setkey"]
    done = CliRunner().invoke(main, words, input=commands)
    assert done.stdout == script


def test_each_command_that_it_names_exists() -> None:
    names = set(re.findall(r"`kamexfrm (\w+)", TEXT))
    assert {"status", "watch", "apply", "adopt"} <= names
    assert names <= set(main.list_commands(click.Context(main)))
