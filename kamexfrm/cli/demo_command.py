"""``kamexfrm demo``: the options; what is shown is in demo.py."""

import sys

import click

from kamexfrm.cli.waiting import booting
from kamexfrm.command_line import wants_colour


@click.command()
@click.option(
    "--kernel",
    type=click.Choice(["auto", "host", "guest"]),
    default="auto",
    show_default=True,
    help="Where: auto is the running kernel if it has ESP, else the guest.",
)
def demo(kernel: str) -> None:
    """Show the main job on two hosts: setkey, ESP on the wire, and what the knobs change."""
    from kamexfrm.rig import guest as guests
    from kamexfrm.rig import probe, python

    if kernel == "host" or (kernel == "auto" and probe.kernel_has_esp()):
        from kamexfrm.cli import demo as transcript

        try:
            sys.exit(transcript.run())
        except PermissionError:
            click.echo(
                "kamexfrm demo: making network namespaces needs root (CAP_SYS_ADMIN); "
                "--kernel guest needs no rights",
                err=True,
            )
            sys.exit(1)
    variable = "FORCE_COLOR" if wants_colour(sys.stdout) else "NO_COLOR"
    command = ["env", f"{variable}=1", *python.module("kamexfrm.cli.demo", unbuffered=True)]
    try:
        with booting("kamexfrm demo") as begun:
            status = guests.run_in_guest(
                command,
                stdout=sys.stdout.buffer,
                stderr=sys.stderr.buffer,
                timeout=300,
                begun=begun,
            )
    except guests.GuestError as error:
        click.echo(f"kamexfrm demo: {error}", err=True)
        status = guests.STATUS_NO_GUEST
    sys.exit(status)
