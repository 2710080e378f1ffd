"""kamexfrm(8): its commands and options are the command's."""

import re
from collections.abc import Iterable

import click

from kamexfrm.cli.command import main
from kamexfrm.cli.demo_command import demo
from kamexfrm.cli.guest import guest
from kamexfrm.cli.shared_options import SHARED
from tests.man.manual_source import page, section

PAGE = page("kamexfrm.8")


def words(parameters: Iterable[click.Parameter]) -> set[str]:
    return {word for parameter in parameters for word in parameter.opts if word[0] == "-"}


def options(command: click.Command) -> set[str]:
    return words(command.params) - words(SHARED)


def test_all_commands_are_there() -> None:
    listed = re.findall(r"^\.It Cm (\S+)$", section(PAGE, "DESCRIPTION"), re.MULTILINE)
    assert sorted(listed) == sorted(main.list_commands(click.Context(main)))


def test_the_options_are_the_commands() -> None:
    described = re.findall(r"^\.It Fl (\S+)", section(PAGE, "DESCRIPTION"), re.MULTILINE)
    assert {f"-{word}" for word in described} == options(guest) | {"--color", "-V", "-h"}
    synopsis = {f"-{word}" for word in re.findall(r" (-\w+)", section(PAGE, "SYNOPSIS"))}
    assert synopsis == options(guest) | options(demo) | {"--help", "--version"}
