"""``kamexfrm boot``: what the service runs at boot, on reload and when it stops."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from kamexfrm.cli.options import netns
from kamexfrm.command_line import say
from kamexfrm.errors import KamexfrmError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def boot() -> None:
    """Put into force what the files below /etc say, as the service does at boot."""


_etc = click.option(
    "--etc",
    type=click.Path(file_okay=False, path_type=Path),
    default="/etc",
    show_default=True,
    help="The folder that has kamexfrm/ and ipsec-tools.conf.",
)


@boot.command()
@_etc
@netns
def load(etc: Path) -> None:
    """Load all files as one, and the variables; what comes again is replaced in place."""
    from kamexfrm.operator import boot as files

    _end(lambda: files.load(etc))


@boot.command()
@_etc
@click.option("--open", "is_open", is_flag=True, help="End a lockdown: set def_policy to 1.")
@netns
def unload(etc: Path, is_open: bool) -> None:
    """Delete all SAs and policies; a lockdown stays closed."""
    from kamexfrm.operator import boot as files

    _end(lambda: files.unload(etc, is_open=is_open))


@boot.command()
@_etc
def check(etc: Path) -> None:
    """Read all files and change nothing."""
    from kamexfrm.operator import boot as files

    _end(lambda: files.check(etc))


def _end(action: Callable[[], int]) -> None:
    try:
        status = action()
    except KamexfrmError as error:
        say(f"kamexfrm boot: {error}\n")
        status = 1
    sys.exit(status)
