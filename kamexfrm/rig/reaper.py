"""A process that tidies up after its parent when the parent is killed and cannot do it itself.

The warden is a small ``sh`` that reads a pipe held open by this process alone. The end of the
pipe without a word of dismissal means that this process is gone, kill -9 included.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self


class Warden:
    """Runs ``script`` (sh) once this process has died; ``$1``... are ``arguments``.

    Lines sent with ``tell`` are in ``$told``, one after the other with a space between them.
    """

    _LOOP = """
trap '' INT TERM HUP
told=
while read -r word; do
    [ "$word" = dismissed ] && exit 0
    told="$told$word "
done
"""

    def __init__(self, script: str, *arguments: str) -> None:
        reading, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", self._LOOP + script, "warden", *arguments],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(reading)

    def tell(self, word: str) -> None:
        """Hand one more word without spaces to the script; a dead warden is not an error."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, word.encode() + b"\n")

    def dismiss(self) -> None:
        """End the warden: everything is tidy already; a second call does nothing."""
        if self._process.returncode is None:
            self.tell("dismissed")
            os.close(self._pipe)
            self._process.wait()


class WatchedFolder:
    """A temporary folder, removed at the end of the ``with``, or when this process is killed.

    A guest may still write to it then, until its own warden has ended it.
    """

    _TIDY = """
sleep 1
rm -rf -- "$1"
"""

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.gettempdir()) / f"{prefix}{secrets.token_hex(4)}"
        self._warden = Warden(self._TIDY, str(self.path))
        try:
            self.path.mkdir(mode=0o700)
        except BaseException:
            self._warden.dismiss()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder; a second call does nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._warden.dismiss()
