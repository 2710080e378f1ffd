"""Taking a step: doing it, and holding what came of it against what was expected."""

import contextlib
import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from kamexfrm.rig import traffic
from kamexfrm.rig.condition import until
from kamexfrm.rig.host import Completed
from kamexfrm.rig.scenario import explaining, wire
from kamexfrm.rig.scenario.plan import (
    Expectation,
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
from kamexfrm.rig.scenario.scene import Background, Counted, Scene, give_policies
from kamexfrm.rig.scenario.stream import Streaming

#: Counters rise as the kernel gets to it: seconds to wait for one that must.
_COUNTER_PATIENCE = 1.0

#: Names of kame-sysctl; all others are the kernel's own.
_KNOB = re.compile(r"net\.(inet|inet6|key)\.|net/(inet|inet6|key)/")

#: Keys in a script; a transcript does not show them.
_KEY = re.compile(r"0x[0-9a-fA-F]{10,}")


def label(step: Step) -> str:
    """Return what a step does, in a line."""
    match step.action:
        case Probe() as probe:
            port = "" if probe.protocol == "ping" else f" port {probe.port}"
            times = f" {probe.count} times" if probe.count > 1 else ""
            own = "".join(f", socket {policy}" for policy in probe.policies)
            return f"{probe.host}: {probe.protocol} {probe.destination}{port}{times}{own}"
        case Explain(at, probe):
            return f"{at}: explain {probe.host} -> {probe.destination} {probe.protocol}"
        case Stream(name, probe, interval):
            return f"{probe.host}: stream {name} to {probe.destination}, one each {interval:g} s"
        case Setkey(hosts, script):
            return f"{', '.join(hosts)}: setkey {script.origin or _first_line(script.text)}"
        case Sysctl(hosts, words):
            return f"{', '.join(hosts)}: sysctl {' '.join(words)}"
        case Run(hosts, command, name):
            return f"{', '.join(hosts)}: {_first_line(command)}" + (f" & ({name})" if name else "")
        case Wait(host, command, name, text):
            return f"wait for {name} to say {text!r}" if name else f"{host}: wait for {command}"
        case Kill(name):
            return f"end {name}"
        case Say(text):
            return text
        case _:
            assert_never(step.action)


def _first_line(text: str) -> str:
    lines = [_KEY.sub("KEY", line).strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "(nothing)"
    more = f" ... ({len(lines)} lines)" if len(lines) > 1 else ""
    return (lines[0] if len(lines[0]) <= 60 else lines[0][:57] + "...") + more


class Taken:
    """A step as it is taken: the output so far, the packets' fate, and how things stood before."""

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
        """Do it and check it; raises StepFailed, TimeoutError, OSError."""
        match self.step.action:
            case Probe() as probe:
                self._probe(probe)
            case Explain() as asked:
                self._explain(asked)
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
                return
            case _:
                assert_never(self.step.action)
        self._check(self.step.expectation)

    # Doing

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
        if (link := self._link()) and self.scene.captures:
            self.seen.append(f"on the wire: {wire.spell(self._kinds(link))}")

    @contextlib.contextmanager
    def _server(self, probe: Probe) -> Iterator[None]:
        """Answer at the probe's destination, if a host of ours has it."""
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
            yield  # somebody answers there already
            return
        try:
            yield
        finally:
            echo.close()

    def _explain(self, asked: Explain) -> None:
        probe = asked.probe
        source = probe.source or self.scene.source_of(probe.host, probe.destination)
        if not source:
            raise StepFailed(f"{probe.host} has no route to {probe.destination}")
        reason, lines = explaining.explain(self.scene, asked.at, source, probe)
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
        environment = {**os.environ, "PATH": path()}
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
        environment = {**os.environ, "PATH": path()}

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

    # Checking

    def _link(self) -> str:
        return self.step.expectation.link or self.scene.case.watch

    def _kinds(self, link: str) -> tuple[str, ...]:
        return wire.kinds(self.scene.captures[link].packets)

    def _check(self, wanted: Expectation) -> None:
        self._check_outcome(wanted)
        if wanted.wire is not None:
            self._check_wire(wanted.wire)
        self._check_sas(wanted)
        for host, name, by in wanted.counters:
            self._check_counter(host, name, by)
        if wanted.outcome == "ok" and isinstance(self.step.action, Probe) and not wanted.errors:
            asked = {(host, name) for host, name, _ in wanted.counters}
            for host, name, by in self.moved():
                if (host, name) not in asked:
                    raise StepFailed(f"answered, but {host}'s {name} rose by {by}")
        text = " ".join(" ".join(self.output).split())
        for word in wanted.output:
            if " ".join(word.split()) not in text:
                raise StepFailed(f"the output has no {word!r}: {text[:300] or '(none)'}")
        for word in wanted.absent:
            if " ".join(word.split()) in text:
                raise StepFailed(f"the output has {word!r}")

    def _check_outcome(self, wanted: Expectation) -> None:
        if isinstance(self.step.action, Probe | Kill):
            answers = {"lost": ("lost", "refused")}.get(wanted.outcome, (wanted.outcome,))
            if wanted.outcome and self.outcome not in answers:
                reason = f" ({self.reason})" if self.reason else ""
                raise StepFailed(f"{self.outcome or 'ended'}{reason}, expected {wanted.outcome}")
        elif isinstance(self.step.action, Setkey | Sysctl | Run):
            if wanted.status is not None:
                if self.status != wanted.status:
                    raise StepFailed(
                        f"status {self.status}, expected {wanted.status}: {self._last_words()}"
                    )
            elif (self.status != 0) != (wanted.outcome == "refused"):
                what = f"status {self.status}" if self.status else "done"
                raise StepFailed(f"{what}, expected {wanted.outcome or 'ok'}: {self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(line.rstrip() for line in self.output[-6:]) or "(no output)"

    def _check_wire(self, wanted: tuple[str, ...]) -> None:
        link = self._link()
        if not link:
            raise StepFailed("wire: on which link? the scenario has no watch, the step no on")
        found = self._kinds(link)
        if set(found) != set(wanted):
            raise StepFailed(f"on {link} was {wire.spell(found)}, expected {wire.spell(wanted)}")

    def _check_sas(self, wanted: Expectation) -> None:
        if not wanted.moves and not wanted.rests:
            return
        now = self.scene.count()
        for moves, sas in ((True, wanted.moves), (False, wanted.rests)):
            for host, protocol, spi in sas:
                old = _packets(self.before, host, protocol, spi)
                new = _packets(now, host, protocol, spi)
                if new is None:
                    raise StepFailed(f"{host} has no SA {protocol} {spi:#x}")
                if (new > (old or 0)) != moves:
                    what = "did not move" if moves else "moved"
                    raise StepFailed(f"{host}'s SA {protocol} {spi:#x} {what}")

    def _check_counter(self, host: str, name: str, by: int) -> None:
        before = self.before.counters[host].get(name)
        if before is None:
            raise StepFailed(f"{host}'s kernel has no counter {name}")
        with contextlib.suppress(TimeoutError):
            until(
                lambda: self.scene.hosts[host].counters()[name] >= before + max(by, 1),
                _COUNTER_PATIENCE,
            )
        rose = self.scene.hosts[host].counters()[name] - before
        if rose < 1 or (by and rose != by):
            wanted = f"by {by}" if by else "at all"
            raise StepFailed(f"{host}'s {name} rose by {rose}, not {wanted}")
        self.seen.append(f"{host}: {name} +{rose}")

    def moved(self) -> list[tuple[str, str, int]]:
        """Return (host, counter, by how much) of each Xfrm counter that rose."""
        return [
            (name, counter, value - self.before.counters[name].get(counter, 0))
            for name, host in self.scene.hosts.items()
            for counter, value in host.counters().items()
            if value > self.before.counters[name].get(counter, 0)
        ]


def _packets(counted: Counted, host: str, protocol: str, spi: int) -> int | None:
    """Return the packets of a host's SAs with that SPI, None when it has none."""
    found = [
        entry.packets
        for entry in counted.sads[host]
        if entry.association.spi == spi
        and protocol in ("", entry.association.protocol.name.lower())
    ]
    return sum(found) if found else None


def path() -> str:
    """Return PATH with our own commands first, and the places of ip and tc."""
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
