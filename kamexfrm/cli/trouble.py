"""How the operator's commands meet trouble: one line on stderr with its cure, and status 1."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from kamexfrm.command_line import NEEDS_NET_ADMIN, printable, say
from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.netlink import NetlinkKernel


class Trouble(click.ClickException):
    """What went wrong, printed as ``kamexfrm COMMAND: text`` and more lines; the status is 1."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(printable(line, "") for line in lines))
        self.command = click.get_current_context().command_path

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line on standard error."""
        say(f"{self.command}: {self.message}\n")


class Command(click.Command):
    """A command whose KamexfrmError is one line on stderr and status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; raises Trouble for a KamexfrmError."""
        try:
            return super().invoke(ctx)
        except KamexfrmError as error:
            denied = isinstance(error, KernelError) and error.errno == errno.EPERM
            text = f"{error}: {NEEDS_NET_ADMIN}" if denied else str(error)
            raise Trouble(text) from None


@contextmanager
def kernel() -> Iterator[NetlinkKernel]:
    """Give the kernel of the namespace that this process is in."""
    opened = NetlinkKernel()
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def engine() -> Iterator[Engine]:
    """Give the engine of the namespace that this process is in."""
    with kernel() as opened:
        yield Engine(opened)
