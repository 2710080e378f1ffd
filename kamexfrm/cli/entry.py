"""Entry point of ``kamexfrm``: scripts start ``kamexfrm exec`` often, and it needs no click."""

import os
import sys

from kamexfrm.command_line import INTERRUPTED, guarded, wants_colour


def main() -> None:
    """Run the command and leave with its status."""
    if sys.argv[1:2] == ["exec"]:
        from kamexfrm.exec.command import main as execute

        sys.exit(execute(sys.argv[2:]))
    sys.exit(guarded("kamexfrm", _main))


def _main() -> int:
    import click

    from kamexfrm.cli.command import main as command

    if "_KAMEXFRM_COMPLETE" in os.environ:  # a shell asks for its script, or what may come next
        command.main(prog_name="kamexfrm")
    try:
        # Not command.main(), which makes a status of its own of readers that leave and of SIGINT.
        colour = wants_colour(sys.stdout)
        with command.make_context("kamexfrm", sys.argv[1:], color=colour) as context:
            command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show(sys.stderr)  # click's own would fall back on the standard output
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
