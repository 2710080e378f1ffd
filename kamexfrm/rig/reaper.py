"""A process that cleans up when its parent is killed and cannot do it itself.

The reaper is a small ``sh`` that reads a pipe held open by this process alone. End of file without
the line ``dismissed`` means that this process has ended, kill -9 included.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self


class Reaper:
    """Runs ``script`` (sh) once this process has died; ``$1``... are ``arguments``.

    Words given to ``add`` are in ``$words``, separated by spaces.
    """

    _LOOP = """
trap '' INT TERM HUP
words=
while read -r word; do
    [ "$word" = dismissed ] && exit 0
    words="$words$word "
done
"""

    def __init__(self, script: str, *arguments: str) -> None:
        reading, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", self._LOOP + script, "reaper", *arguments],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(reading)

    def add(self, word: str) -> None:
        """Add a word without spaces to ``$words``; a reaper that has ended is not an error."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, word.encode() + b"\n")

    def dismiss(self) -> None:
        """End the reaper without running the script; a second call does nothing."""
        if self._process.returncode is None:
            self.add("dismissed")
            os.close(self._pipe)
            self._process.wait()


class WatchedFolder:
    """A temporary folder, removed at the end of the ``with``, or when this process is killed.

    A guest may still write to it at that moment, until its own reaper has killed it.
    """

    _TIDY = """
sleep 1
rm -rf -- "$1"
"""

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.gettempdir()) / f"{prefix}{secrets.token_hex(4)}"
        self._reaper = Reaper(self._TIDY, str(self.path))
        try:
            self.path.mkdir(mode=0o700)
        except BaseException:
            self._reaper.dismiss()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder; a second call does nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._reaper.dismiss()
