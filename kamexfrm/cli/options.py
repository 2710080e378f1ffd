"""Options that the operator's commands share.

Each is a decorator for a click command. ``netns`` hands nothing to the function: the command is in
the namespace when it starts.
"""

import errno
import sys
from collections.abc import Callable
from typing import TypeVar

import click

from kamexfrm.command_line import wants_colour
from kamexfrm.errors import KernelError

_NAMESPACES = "`ip netns` lists those with a name; the path of one serves, and a process id"

_Function = TypeVar("_Function", bound=Callable[..., object])


def _enter(context: click.Context, option: click.Parameter, name: str | None) -> None:
    if name is None or context.resilient_parsing:
        return
    from kamexfrm.cli.trouble import Trouble
    from kamexfrm.kernel.namespace import enter

    try:
        enter(name)
    except KernelError as error:
        denied = error.errno in (errno.EPERM, errno.EACCES)
        cure = "this needs CAP_SYS_ADMIN: be root" if denied else _NAMESPACES
        raise Trouble(f"--netns: {error}: {cure}") from None


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from kamexfrm.cli.completion import namespaces

    return [name for name in namespaces() if name.startswith(incomplete)]


def netns(function: _Function) -> _Function:
    """Add ``--netns NAME|PATH|PID``: the command runs in that network namespace."""
    return click.option(
        "--netns",
        metavar="NAME|PATH|PID",
        callback=_enter,
        is_eager=True,
        expose_value=False,
        shell_complete=_complete,
        help="Act in this network namespace.",
    )(function)


def as_json(function: _Function) -> _Function:
    """Add ``--json``, as the argument ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON; see kamexfrm-json(7)."
    )(function)


def show_keys(function: _Function) -> _Function:
    """Add ``--show-keys``, as the argument ``show_keys``."""
    return click.option("--show-keys", is_flag=True, help="Print keys, too.")(function)


def colours() -> bool:
    """Whether the standard output is to have colours."""
    return wants_colour(sys.stdout)
