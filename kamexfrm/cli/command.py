"""The command ``kamexfrm``: its groups, and the subcommands short enough to stand here."""

import sys
from pathlib import Path

import click

import kamexfrm
from kamexfrm.cli.rig import rig


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kamexfrm.__version__, prog_name="kamexfrm")
def main() -> None:
    """KAME's IPsec interface for Linux: look at it, explain it, try it out."""


main.add_command(rig)


@main.command(context_settings={"allow_interspersed_args": False})
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
        )
    except guests.GuestTimeoutError as error:
        click.echo(f"kamexfrm guest: {error}", err=True)
        status = guests.STATUS_TIMEOUT
    except guests.GuestError as error:
        click.echo(f"kamexfrm guest: {error}", err=True)
        status = guests.STATUS_NO_GUEST
    sys.exit(status)


@main.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def execute(arguments: tuple[str, ...]) -> None:
    """Run an unmodified program that needs PF_KEY on a kernel without AF_KEY."""
    from kamexfrm.exec.command import main as run

    sys.exit(run(list(arguments)))


@main.command()
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
    click.echo("This runs in a User-Mode-Linux guest, whose kernel has ESP; it boots in seconds.")
    command = python.module("kamexfrm.cli.demo", unbuffered=True)
    try:
        status = guests.run_in_guest(
            command, stdout=sys.stdout.buffer, stderr=sys.stderr.buffer, timeout=300
        )
    except guests.GuestError as error:
        click.echo(f"kamexfrm demo: {error}", err=True)
        status = guests.STATUS_NO_GUEST
    sys.exit(status)
