"""A process in a user namespace, with what a guest has: ``poll``, ``output`` and ``stop``."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kamexfrm.rig.guest_error import GuestError
from kamexfrm.rig.pytest_place import UNSHARE


class Unshared:
    """A command as root of a user namespace; its output is kept in ``folder``.

    ``timeout`` in seconds: after it ``poll`` raises TimeoutError.
    Raises GuestError from the constructor when the command cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        timeout: float,
        environment: Mapping[str, str],
        directory: Path,
    ) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        self._folder = folder
        self._seen = {"stdout": 0, "stderr": 0}
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context((folder / name).open("wb")) for name in self._seen]
            try:
                self._process = subprocess.Popen(
                    [*UNSHARE, *command],
                    env=dict(environment),
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=files[0],
                    stderr=files[1],
                    process_group=0,
                )
            except OSError as error:
                raise GuestError(f"{UNSHARE[0]}: {error.strerror}") from None

    def poll(self) -> int | None:
        """Return the command's exit status, or None while it runs; raises TimeoutError."""
        status = self._process.poll()
        if status is None and time.monotonic() > self._end:
            self.stop()
            raise TimeoutError(f"not done within {self._timeout:g} s")
        return status

    def output(self, name: str = "stdout") -> bytes:
        """Return what has come on ``stdout`` or ``stderr`` since the last call."""
        with (self._folder / name).open("rb") as file:
            file.seek(self._seen[name])
            data = file.read()
        self._seen[name] += len(data)
        return data

    def stop(self) -> None:
        """Kill the command and what it started; a second call does nothing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
