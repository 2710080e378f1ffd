"""Taking a step: packets are sent, commands run, and the results kept for the checks."""

import contextlib
import errno
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from typing import assert_never

from kamexfrm.rig import shell, traffic
from kamexfrm.rig.condition import until
from kamexfrm.rig.host import Completed
from kamexfrm.rig.scenario.diagnosis import explaining
from kamexfrm.rig.scenario.plan import (
    Explain,
    Kill,
    Probe,
    Run,
    Say,
    Setkey,
    Step,
    Stream,
    Sysctl,
    Wait,
)
from kamexfrm.rig.scenario.result import StepFailed
from kamexfrm.rig.scenario.stage import wire
from kamexfrm.rig.scenario.stage.scene import Background, Counted, Scene, give_policies
from kamexfrm.rig.scenario.stage.stream import Streaming

#: Names of kame-sysctl; all others are the kernel's own.
_KNOB = re.compile(r"net\.(inet|inet6|key)\.|net/(inet|inet6|key)/")


class Taken:
    """A step while it is taken: its output, its outcome, and the counters before it."""

    def __init__(self, scene: Scene, step: Step) -> None:
        self.scene = scene
        self.step = step
        self.outcome = ""
        self.reason = ""
        self.output: list[str] = []
        self.status = 0
        self.seen: list[str] = []
        self.probe = step.action if isinstance(step.action, Probe) else None
        scene.forget_packets()
        self.before: Counted = scene.count()

    def take(self) -> None:
        """Take the step; raises StepFailed, TimeoutError, OSError."""
        match self.step.action:
            case Probe() as probe:
                self._probe(probe)
            case Explain() as explain:
                self._explain(explain)
            case Stream() as stream:
                self._stream(stream)
            case Setkey(hosts, script, real):
                for host in hosts:
                    self._command(self.scene.setkey(host, script, real=real))
            case Sysctl() as sysctl:
                self._sysctl(sysctl)
            case Run() as run:
                self._run(run)
            case Wait() as wait:
                self._wait(wait)
            case Kill(name):
                self._kill(name)
            case Say():
                pass
            case _:
                assert_never(self.step.action)

    # Actions

    def _probe(self, probe: Probe) -> None:
        data = wire.payload(probe.size)
        host = self.scene.hosts[probe.host]

        def prepare(sock: socket.socket) -> None:
            give_policies(sock, probe.policies)

        try:
            with self._server(probe):
                if probe.protocol == "ping":
                    target, source = probe.destination, probe.source or None
                    host.call(
                        traffic.ask_echo, target, probe.count, probe.timeout, data, source, prepare
                    )
                else:
                    ask = traffic.udp_exchange if probe.protocol == "udp" else traffic.tcp_exchange
                    target, start = probe.destination, (probe.source, probe.source_port)
                    for _ in range(probe.count):
                        host.call(ask, target, probe.port, data, probe.timeout, start, prepare)
            self.outcome = "ok"
        except TimeoutError:
            self.outcome = "lost"
        except OSError as error:
            self.outcome, self.reason = "refused", error.strerror or str(error)
            if error.errno in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
                raise StepFailed(f"{probe.host} cannot send so: {self.reason}") from None
        self.seen.append(self.outcome + (f" ({self.reason})" if self.reason else ""))
        if self.link and self.scene.captures:
            self.seen.append(f"on the wire: {wire.spell(self.kinds(self.link))}")

    @contextlib.contextmanager
    def _server(self, probe: Probe) -> Iterator[None]:
        """Answer at the probe's destination, if a host of the case has it."""
        owner = self.scene.case.owner(probe.destination)
        if owner is None or probe.protocol == "ping":
            yield
            return
        server = self.scene.hosts[owner]
        echo: traffic.UdpEcho | traffic.TcpEcho
        try:
            if probe.protocol == "udp":
                echo = server.call(traffic.UdpEcho, probe.destination, probe.port)
            else:
                echo = server.call(traffic.TcpEcho, probe.destination, probe.port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            yield  # a program of the scenario answers there
            return
        try:
            yield
        finally:
            echo.close()

    def _explain(self, action: Explain) -> None:
        probe = action.probe
        source = probe.source or self.scene.source_of(probe.host, probe.destination)
        if not source:
            raise StepFailed(f"{probe.host} has no route to {probe.destination}")
        reason, lines = explaining.explain(self.scene, action.at, source, probe)
        self.output += lines
        self.seen.append(reason)

    def _stream(self, stream: Stream) -> None:
        owner = self.scene.case.owner(stream.probe.destination)
        server = self.scene.hosts[owner] if owner else None
        host = self.scene.hosts[stream.probe.host]
        self.scene.streams[stream.name] = Streaming(stream, host, server)

    def _command(self, done: Completed) -> None:
        for text in (done.stdout, done.stderr):
            self.output += text.splitlines()
        self.status = self.status or done.status
        if not done.status:
            self.seen += [line.strip() for line in done.stderr.splitlines()]

    def _sysctl(self, sysctl: Sysctl) -> None:
        for host in sysctl.hosts:
            for word in sysctl.assignments:
                if _KNOB.match(word):
                    self._command(self.scene.sysctl(host, word, real=sysctl.real))
                    continue
                name, _, value = word.partition("=")
                try:
                    now = self.scene.hosts[host].sysctl(name.strip(), value.strip() or None)
                except OSError as error:
                    raise StepFailed(f"{host}: {name}: {error.strerror}") from None
                self.output.append(f"{name.strip()} = {now}")

    def _run(self, run: Run) -> None:
        command = ["/bin/sh", "-c", run.command]
        environment = {**os.environ, "PATH": shell.path()}
        for name in run.hosts:
            host = self.scene.hosts[name]
            if run.name:
                process = host.start(command, environment=environment, stderr=subprocess.STDOUT)
                self.scene.background[run.name] = Background(process)
            else:
                done = host.run(command, timeout=run.timeout, environment=environment)
                self._command(done)

    def _wait(self, wait: Wait) -> None:
        if wait.name:
            process = self.scene.background[wait.name]
            until(lambda: wait.text in process.text, wait.timeout, f"{wait.name}: {wait.text!r}")
            return
        host = self.scene.hosts[wait.host]
        command = ["/bin/sh", "-c", wait.command]
        environment = {**os.environ, "PATH": shell.path()}

        def works() -> bool:
            done = host.run(command, timeout=wait.timeout, environment=environment)
            return done.status == 0

        until(works, wait.timeout, wait.command)

    def _kill(self, name: str) -> None:
        if name in self.scene.background:
            background = self.scene.background.pop(name)
            background.end()
            self.output += background.text.splitlines()
            return
        if name not in self.scene.streams:
            raise StepFailed(f"{name} is not running")
        stream = self.scene.streams.pop(name)
        self.probe = stream.probe
        stream.end()
        self.seen.append(f"{stream.answered} of {stream.sent} answered")
        self.output += stream.trouble
        self.outcome = "ok" if stream.answered == stream.sent else "lost"

    # Observations

    @property
    def link(self) -> str:
        """The link that the step is about; empty if neither the step nor the scenario names one."""
        return self.step.expectation.link or self.scene.case.watch

    def kinds(self, link: str) -> tuple[str, ...]:
        """Return the kinds of packets that were on a link, as ``wire`` names them."""
        return wire.kinds(self.scene.captures[link].packets)

    def moved(self) -> list[tuple[str, str, int]]:
        """Return (host, counter, by how much) of each Xfrm counter that rose."""
        return [
            (name, counter, value - self.before.counters[name].get(counter, 0))
            for name, host in self.scene.hosts.items()
            for counter, value in host.counters().items()
            if value > self.before.counters[name].get(counter, 0)
        ]
