"""``kamexfrm help``: what ``--help`` prints, by a word that is easier to guess."""

import click

from kamexfrm.cli.trouble import Command


@click.command("help", cls=Command)
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...]) -> None:
    """Print the help of kamexfrm, or of one of its commands."""
    root = context.find_root()
    current, found = root, root.command
    for word in words:
        if not isinstance(found, click.Group):
            raise click.UsageError(f"{current.command_path} has no commands")
        _, below, _ = found.resolve_command(current, [word])
        if below is None:  # resolve_command() has said so
            raise click.UsageError(f"no command {word!r}")
        current = click.Context(below, info_name=word, parent=current)
        found = below
    click.echo(found.get_help(current))
