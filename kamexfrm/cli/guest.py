"""``kamexfrm guest``: a command in a User-Mode-Linux guest."""

import sys
from pathlib import Path

import click


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
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def guest(
    kernel: str | None,
    memory: str,
    timeout: float | None,
    console: Path | None,
    share: Path | None,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND as root of a User-Mode-Linux guest that has ESP, AH, IPComp and AF_KEY.

    The guest sees this machine's files; what COMMAND writes is gone when it ends, but for what is
    in the shared folder. Its standard input is empty. The status is COMMAND's; 124 after
    --timeout, 125 when there is no guest.
    """
    from kamexfrm.rig import guest as guests

    try:
        status = guests.run_in_guest(
            command,
            share=share,
            memory=memory,
            timeout=timeout,
            stdout=sys.stdout.buffer,
            stderr=sys.stderr.buffer,
            console=console,
            program=kernel,
        )
    except guests.GuestTimeoutError as error:
        click.echo(f"kamexfrm guest: {error}", err=True)
        status = guests.STATUS_TIMEOUT
    except guests.GuestError as error:
        click.echo(f"kamexfrm guest: {error}", err=True)
        status = guests.STATUS_NO_GUEST
    sys.exit(status)
