"""Terminals for the guest: our terminal or standard input, relayed to one of its consoles.

The guest's kernel has the other end of a pty: that of its first console as an open file, those of
the others by names that exist while they are in use. Data is copied between the pty and our own
terminal, which is in raw mode meanwhile. The pty follows the size of our terminal; of the open
file the guest's kernel notices that itself. Without a terminal the standard input is copied as it
comes.
"""

import contextlib
import fcntl
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

#: Consoles that a guest has beside the one its kernel talks to.
NUMBERS = range(1, 10)

_END_OF_INPUT = b"\x04"  # ^D, as stty's eof


def kernel_words(folder: Path, first: "Console | None") -> list[str]:
    """Return the words of the guest kernel's command line that give it consoles in a folder.

    ``first`` is in use from the start: the kernel inherits its file.
    """
    words = [f"con{number}=tty:{path_of(folder, number)}" for number in NUMBERS]
    return [f"con1=fd:{first.slave}", *words[1:]] if first else words


def path_of(folder: Path, number: int) -> Path:
    """Return the name that console ``/dev/ttyN`` of the guest is opened by."""
    return folder / f"tty{number}"


class Console:
    """A console in use; a context manager that restores the modes of our own terminal.

    ``slave`` is the file number of the guest's end of the pty; ``size`` is that of our
    terminal, a ``struct winsize``.

    Raises FileExistsError when that number is in use.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._path = path_of(folder, number)
        self._master, self.slave = os.openpty()
        self._before: list[object] | None = None
        self._listening = self._started = False
        self._out = next((number for number in (1, 2) if os.isatty(number)), -1)
        tty.setraw(self.slave)
        self.size = b""
        self._fit()
        try:
            self._path.symlink_to(os.ttyname(self.slave))
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        if os.isatty(0):
            sys.stdout.flush()
            self._before = termios.tcgetattr(0)
            tty.setraw(0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while kind is None and select.select([self._master], [], [], 0)[0]:
            self.relay(0)  # the rest of the output
        if self._before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]  # as tcgetattr returned it
        self._path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        os.close(self._master)
        os.close(self.slave)

    def _fit(self) -> None:
        """Give the pty the size of our terminal, if that has changed."""
        if self._out < 0:
            return
        size = fcntl.ioctl(self._out, termios.TIOCGWINSZ, bytes(8))
        if size != self.size:
            self.size = size
            fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)

    def listen(self, opened: Path) -> None:
        """Begin with the input once the file ``opened`` shows that a program has the console.

        Input before that would be lost.
        """
        if not self._started and opened.exists():
            self._listening = self._started = True

    def relay(self, patience: float) -> None:
        """Copy what there is in both directions; wait for it at most ``patience`` seconds."""
        self._fit()
        files = [self._master, *([0] if self._listening else [])]
        ready = select.select(files, [], [], patience)[0]
        if self._master in ready:
            data = os.read(self._master, 1 << 16)
            if self._out >= 0:
                os.write(self._out, data)
        if 0 in ready:
            data = os.read(0, 1 << 10)
            self._listening = bool(data)
            os.write(self._master, data or _END_OF_INPUT)


def claim(folder: Path) -> Console | None:
    """Return a console that is free, None when all are in use."""
    for number in NUMBERS:
        with contextlib.suppress(FileExistsError):
            return Console(folder, number)
    return None


@contextlib.contextmanager
def ending_orderly() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that the terminal's modes are restored."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {each: signal.signal(each, leave) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
