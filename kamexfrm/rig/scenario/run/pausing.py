"""Stopping a case for inspection: before each step, in a shell, at the end."""

import subprocess
import sys
import threading
from pathlib import Path

from kamexfrm.rig import guest_channel, shell
from kamexfrm.rig.scenario.plan import Step
from kamexfrm.rig.scenario.report.label import label
from kamexfrm.rig.scenario.result import Failure
from kamexfrm.rig.scenario.run import holder
from kamexfrm.rig.scenario.stage.scene import Scene


class Pausing:
    """The pauses of ``--step``, ``--enter`` and ``--keep``; called by the Runner.

    ``shared`` is the folder shared with the machine when this runs in a guest; the process that
    holds the guest has announced the rig already.
    """

    def __init__(self, *, step: bool, enter: str, keep: bool, shared: Path | None) -> None:
        self._step = step
        self._enter = enter
        self._keep = keep
        self._shared = shared

    def __call__(self, scene: Scene, following: Step | None, failure: Failure | None) -> None:
        """Pause before a step, or at the end when none is following."""
        if following is not None:
            if self._step:
                _wait_for_enter(f"-- Enter for step {following.number}: {label(following)}")
            return
        if self._enter and self._enter in scene.hosts:
            _print(f"-- a shell on {self._enter}; the case goes on when it ends")
            _run_shell(scene, self._enter)
        if self._keep:
            self._stay(scene)

    def _stay(self, scene: Scene) -> None:
        names = ", ".join(scene.hosts)
        text = (
            f"-- {names} stay until Enter; elsewhere: kamexfrm rig enter {next(iter(scene.hosts))}"
        )
        if self._shared is None:
            hosts = {name: host.namespace.fileno() for name, host in scene.hosts.items()}
            name = holder.free_name(holder.name_of(scene.case.file))
            with holder.announced(holder.mine(name, scene.case, hosts)):
                _wait_for_enter(text)
            return
        over = threading.Event()
        arguments = (self._shared, scene.hosts, over.is_set)
        server = threading.Thread(target=guest_channel.serve, args=arguments)
        server.start()
        try:
            _wait_for_enter(text)
        finally:
            over.set()
            server.join()


def _run_shell(scene: Scene, name: str) -> None:
    """Run the user's shell on a host."""
    with scene.hosts[name].enter():
        subprocess.run([shell.program()], check=False, env=shell.environment(name))


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _wait_for_enter(text: str) -> None:
    """Wait for a line of the standard input, or for its end."""
    print(text, end=" ", file=sys.stderr, flush=True)
    if not sys.stdin.readline():
        _print("")
