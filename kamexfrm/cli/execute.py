"""``kamexfrm exec``, when click finds it; as a rule cli/entry.py runs it without click."""

import sys

import click


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def execute(arguments: tuple[str, ...]) -> None:
    """Run an unmodified program that needs PF_KEY on a kernel without AF_KEY."""
    from kamexfrm.exec.command import main as run

    sys.exit(run(list(arguments)))
