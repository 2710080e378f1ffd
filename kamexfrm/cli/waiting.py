"""Waiting is shown: a line when a guest boots, and on a terminal a spinner until it has."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kamexfrm.command_line import say


@contextmanager
def booting(command: str, guests: int = 1, *, spinner: bool = True) -> Iterator[Callable[[], None]]:
    """Say on standard error that guests boot; give the function that ends the spinner.

    ``spinner`` is false where the guest gets the terminal, which it shows itself.
    """
    say(f"{command}: booting {'a guest' if guests == 1 else f'{guests} guests'}\n")
    if not (spinner and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console

    with Console(stderr=True).status("booting") as status:
        yield status.stop
