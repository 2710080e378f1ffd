"""``kamexfrm guest``: a command or a shell in a User-Mode-Linux guest."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from kamexfrm.cli.waiting import booting

#: The outputs that a command with the terminal has there.
_OUTPUTS = ("stdout", "stderr")


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--kernel",
    metavar="debian:SUITE|PATH",
    help="The guest's kernel: the installed user-mode-linux unless given.",
)
@click.option("--memory", default="2G", show_default=True, help="The guest's memory.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="End the guest after so many seconds, boot included; status 124.",
)
@click.option(
    "--console",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what the guest's kernel says to a file.",
)
@click.option(
    "--share",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder that the command may write to.",
)
@click.option("--tty", is_flag=True, help="Give COMMAND the terminal, as a shell has it.")
@click.argument("command", nargs=-1, metavar="[COMMAND]...", type=click.UNPROCESSED)
def guest(
    kernel: str | None,
    memory: str,
    timeout: float | None,
    console: Path | None,
    share: Path | None,
    tty: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND as root of a User-Mode-Linux guest that has ESP, AH, IPComp and AF_KEY.

    Without COMMAND, at a terminal, it is a shell.

    The guest sees this machine's files; what COMMAND writes is gone when it ends, but for what is
    in the shared folder. Its standard input is empty. The status is COMMAND's; 124 after
    --timeout, 125 when there is no guest.
    """
    from kamexfrm.rig import guest as guests
    from kamexfrm.rig import shell

    tty = tty or not command
    if tty and not (os.isatty(0) and os.isatty(1)):
        raise click.UsageError(
            "a shell and --tty take a terminal; without one, name the command: "
            "kamexfrm guest setkey -D"
        )
    try:
        with (
            # The standard error of a script is the command's alone.
            booting("kamexfrm guest", spinner=not tty) if os.isatty(2) else nullcontext() as begun
        ):
            status = guests.run_in_guest(
                command or [shell.program()],
                share=share,
                memory=memory,
                timeout=timeout,
                stdout=sys.stdout.buffer,
                stderr=sys.stderr.buffer,
                console=console,
                program=kernel,
                on_console=_OUTPUTS if tty else None,
                environment=shell.environment("guest") if tty else None,
                begun=begun,
            )
    except guests.GuestTimeoutError as error:
        click.echo(f"kamexfrm guest: {error}", err=True)
        status = guests.STATUS_TIMEOUT
    except guests.GuestError as error:
        click.echo(f"kamexfrm guest: {error}", err=True)
        status = guests.STATUS_NO_GUEST
    sys.exit(status)
