"""A process that tidies up after its parent when the parent is killed and cannot do it itself.

The warden is a small ``sh`` that reads a pipe held open by this process alone. The end of the
pipe without a word of dismissal means that this process is gone, kill -9 included.
"""

import contextlib
import os
import subprocess


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
