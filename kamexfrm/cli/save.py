"""``kamexfrm save``: the running state as a file of setkey."""

import sys

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command
from kamexfrm.command_line import printable, say
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.operator import saving


@click.command(cls=Command)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--no-keys", is_flag=True, help="Leave keys out: SAs are comments then.")
@click.option("--replay", is_flag=True, help="Save sequence numbers and replay windows, too.")
@click.option("--sysctl", metavar="FILE", help="Write the variables into a file, too.")
@options.netns
def save(file: str | None, no_keys: bool, replay: bool, sysctl: str | None) -> None:
    """Write SAs and policies, keys included, as a file that setkey and apply load.

    FILE gets mode 0600 and is never there in part; without it, or as -, it is standard output.
    """
    kernel = NetlinkKernel()
    missing: list[str] = []
    lines = saving.saved(
        kernel, saving.moment(), keys=not no_keys, replay=replay, warn=missing.append
    )
    if file is None or file == "-":
        sys.stdout.writelines(f"{line}\n" for line in lines)
    else:
        saving.write_whole(file, lines, 0o600)
    if sysctl is not None:
        saving.write_whole(sysctl, saving.variables(kernel), 0o644)
    for text in missing:
        say(f"kamexfrm save: not saved: {printable(text)}\n")
    sys.exit(1 if missing else 0)
