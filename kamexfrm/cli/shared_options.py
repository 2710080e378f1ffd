"""The options that each command of kamexfrm has: -V, --version and --color."""

import os
import sys

import click

import kamexfrm
from kamexfrm.command_line import wants_colour

#: What the words of --color put into the environment, which processes that are started read, too.
_VARIABLES = {"auto": "", "always": "FORCE_COLOR", "never": "NO_COLOR"}


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"kamexfrm, version {kamexfrm.__version__}")
        context.exit()


def _choose_colours(context: click.Context, _: click.Parameter, when: str | None) -> None:
    if when is None or context.resilient_parsing:
        return
    if variable := _VARIABLES[when]:
        for name in filter(None, _VARIABLES.values()):
            os.environ.pop(name, None)
        os.environ[variable] = "1"
    context.color = wants_colour(sys.stdout)


SHARED = (
    click.Option(
        ["--color"],
        type=click.Choice(tuple(_VARIABLES)),
        callback=_choose_colours,
        is_eager=True,
        expose_value=False,
        help="When to print in colour; auto is on a terminal, unless NO_COLOR or FORCE_COLOR says.",
    ),
    click.Option(
        ["-V", "--version"],
        is_flag=True,
        callback=_show_version,
        is_eager=True,
        expose_value=False,
        help="Show the version and exit.",
    ),
)


def share(command: click.Command) -> click.Command:
    """Give a command, and those below it, the options that all have; return it."""
    if not command.add_help_option or SHARED[0] in command.params:
        return command  # it reads its options itself, or has them
    command.params += SHARED
    if isinstance(command, click.Group):
        for each in command.commands.values():
            share(each)
    return command
