"""A network namespace whose commands are timed from within, by a process too small to matter.

What a command's peak memory is would else be that of the process that starts it, if that is larger.
"""

import json
import subprocess
import sys
from typing import NamedTuple

#: Reads commands, one a line, and answers each with what it took; a name alone starts it and goes
#: on. Nothing but built-in modules, so that it stays small.
_HOLDER = """
import marshal, os, posix, sys, time
started = {}
def child(words, output):
    actions = [(os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
               (os.POSIX_SPAWN_OPEN, 2, output + ".err", os.O_WRONLY | os.O_CREAT, 0o600)]
    return os.posix_spawnp(words[0], words, os.environ, file_actions=actions)
for line in sys.stdin:
    kind, output, *words = eval(line)
    if kind == "run":
        began = time.perf_counter()
        pid = child(words, output)
        _, status, usage = os.wait4(pid, 0)
        answer = [time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss,
                  os.waitstatus_to_exitcode(status)]
    elif kind == "start":
        answer = [child(words, output)]
    else:
        os.kill(int(words[0]), 15)
        answer = [os.waitstatus_to_exitcode(os.waitpid(int(words[0]), 0)[1])]
    print(*answer, flush=True)
"""


class Cost(NamedTuple):
    """What a command took: seconds of the clock and of a processor, and KiB of memory at most."""

    seconds: float
    processor: float
    memory: int


class Namespace:
    """A network namespace with nothing in it, until it is left."""

    def __enter__(self) -> "Namespace":
        self._holder = subprocess.Popen(
            ["unshare", "-n", sys.executable, "-S", "-c", _HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()

    def _ask(self, kind: str, output: str, *words: str) -> list[str]:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.write(json.dumps([kind, output, *words]) + "\n")
        self._holder.stdin.flush()
        return self._holder.stdout.readline().split()

    def run(self, *command: str) -> Cost:
        """Run a command to its end, its output dropped; raises SystemExit where it fails."""
        seconds, processor, memory, status = self._ask("run", "/dev/null", *command)
        if int(status):
            raise SystemExit(f"{' '.join(command)}: status {status}")
        return Cost(float(seconds), float(processor), int(memory))

    def start(self, *command: str, output: str) -> int:
        """Start a command and return its process id."""
        return int(self._ask("start", output, *command)[0])

    def stop(self, pid: int) -> None:
        """End a command that was started, by SIGTERM."""
        self._ask("stop", "", str(pid))
