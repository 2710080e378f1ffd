"""``kamexfrm mirror``."""

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command
from kamexfrm.operator.mirror import mirrored


@click.command("mirror", cls=Command)
@click.argument("file", default="-")
@options.netns
def command(file: str) -> None:
    """Print the setkey file of the peer: in and out exchanged, comments and layout kept.

    FILE is the standard input if it is left out. The keys are in what is printed.
    """
    text = mirrored(file)
    click.echo(text.encode("utf-8", "surrogateescape"), nl=False)
