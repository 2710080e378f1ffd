"""One host of a rig: a network namespace, with programs, traffic and captures in it."""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from kamexfrm.model.counters import read_counters
from kamexfrm.rig import python, traffic
from kamexfrm.rig.capture import Capture, WatchedEnd
from kamexfrm.rig.namespace import Namespace

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended: its output as text, and its exit status (-N: killed by N)."""

    stdout: str
    stderr: str
    status: int


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """One end of a link; ``peer_host`` and ``peer_name`` are its other end."""

    name: str
    addresses: tuple[str, ...]
    peer_host: "Host"
    peer_name: str

    def address(self, version: int = 4) -> str:
        """Return the first address of that IP version, without prefix length; or StopIteration."""
        return next(a.partition("/")[0] for a in self.addresses if (":" in a) == (version == 6))


class Host:
    """A host made by ``Rig.host``; it ends with its rig."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.namespace = Namespace()
        self.interfaces: dict[str, Interface] = {}
        self._started: list[subprocess.Popen[str]] = []

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def enter(self) -> contextlib.AbstractContextManager[None]:
        """Put the calling thread into this host, and back at the end of the ``with``."""
        return self.namespace.enter()

    def call(
        self,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Return ``function(*args, **kwargs)``, called by this thread inside the host."""
        with self.enter():
            return function(*args, **kwargs)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Return a new socket that belongs to this host, whichever thread uses it."""
        with self.enter():
            return socket.socket(family, kind, protocol)

    def start(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a program in the host, in a process group of its own.

        It is killed at the latest when the rig ends, with all that it started in the host.
        ``setkey`` and the other commands of kamexfrm are found without a PATH that has them.
        """
        program, *arguments = command
        if program in python.COMMANDS:
            program = python.installed(str(program))
        with self.enter():
            process = subprocess.Popen(
                [program, *arguments],
                env=environment,
                cwd=directory,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                text=True,
                encoding="utf-8",
                errors="surrogateescape",
                process_group=0,
            )
        self._started.append(process)
        return process

    def run(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        input: str = "",
        timeout: float = 30.0,
        check: bool = False,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Completed:
        """Run a program in the host to its end, with ``input`` on its standard input.

        ``timeout`` in seconds: after it the program's process group is killed and TimeoutError
        raised. ``check`` raises AssertionError with the output when the status is not 0.
        """
        with self.start(
            command, environment=environment, directory=directory, stdin=subprocess.PIPE
        ) as process:
            try:
                stdout, stderr = process.communicate(input, timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                stdout, stderr = process.communicate()
                raise TimeoutError(
                    f"not done within {timeout:g} s: {list(command)}\n{stdout}{stderr}"
                ) from None
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        completed = Completed(stdout, stderr, process.returncode)
        if check and completed.status != 0:
            raise AssertionError(f"{list(command)} on {self.name}: {completed}")
        return completed

    def kamexfrmd(self) -> subprocess.Popen[str]:
        """Start kamexfrmd in the host and return it once it follows SAs and policies.

        Raises AssertionError with its message if it fails.
        """
        process = self.start(python.module("kamexfrm.kamexfrmd"))
        assert process.stderr is not None  # noqa: S101 - start() makes a pipe
        message = process.stderr.readline()
        if "following" not in message:
            raise AssertionError(f"kamexfrmd on {self.name}: {message or 'it has ended'}")
        return process

    def address(self, interface: str, *addresses: str) -> None:
        """Give an interface (``lo`` included) addresses such as ``10.1.0.1/16``."""
        from kamexfrm.rig import wiring

        self.call(wiring.add_addresses, interface, addresses)
        if interface in self.interfaces or interface == "lo":
            self.call(wiring.wait_for_ipv6, interface)

    def route(
        self,
        destination: str,
        *,
        via: str | None = None,
        device: str | None = None,
        source: str | None = None,
    ) -> None:
        """Add a route to a prefix or to ``default``; ``source`` is the preferred address."""
        from kamexfrm.rig import wiring

        self.call(wiring.add_route, destination, via, device, source)

    def sysctl(self, name: str, value: str | int | None = None) -> str:
        """Return a sysctl of the host, after setting it when ``value`` is given.

        ``name`` has dots, or slashes where a part of it has dots: ``net.ipv4.ip_forward``.
        """
        path = Path("/proc/sys") / (name if "/" in name else name.replace(".", "/"))
        with self.enter():
            if value is not None:
                path.write_text(str(value))
            return path.read_text().strip()

    def forward(self) -> None:
        """Make the host a router for both families."""
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)

    def counters(self) -> dict[str, int]:
        """Return the XFRM statistics by name, such as ``XfrmInNoPols``.

        Empty when the kernel has no CONFIG_XFRM_STATISTICS.
        Source: Linux Documentation/networking/xfrm_proc.rst.
        """
        with self.enter():
            path = Path("/proc/thread-self/net/xfrm_stat")
            if not path.exists():
                return {}
            return read_counters(path.read_text())

    def snmp(self, table: str) -> str:
        """Return the text of /proc/net/snmp or /proc/net/snmp6; empty without the latter's IPv6."""
        with self.enter():
            path = Path("/proc/thread-self/net", table)
            return path.read_text() if path.exists() else ""

    def ping(
        self,
        destination: str,
        *,
        count: int = 1,
        timeout: float = 5.0,
        payload: bytes = b"",
        source: str | None = None,
    ) -> bool:
        """Return whether each of ``count`` echo requests was answered within ``timeout`` seconds.

        ``payload`` is the data of the requests. An error of the send counts as no answer.
        """
        return self.call(traffic.ping, destination, count, timeout, payload, source)

    @contextlib.contextmanager
    def udp_echo(self, address: str, port: int = 7) -> Iterator[traffic.UdpEcho]:
        """Answer datagrams to ``address`` and ``port`` with their own data, for the ``with``."""
        echo = self.call(traffic.UdpEcho, address, port)
        try:
            yield echo
        finally:
            echo.close()

    def udp_ask(
        self,
        destination: str,
        port: int = 7,
        payload: bytes = b"?",
        *,
        timeout: float = 5.0,
        source: str | None = None,
    ) -> bytes | None:
        """Return the answer to a datagram, or None when none came within ``timeout`` seconds."""
        return self.call(traffic.udp_ask, destination, port, payload, timeout, source)

    def capture(self, interface: str) -> Capture:
        """Return a capture (a context manager) of what crosses the interface's link."""
        link = self.interfaces.get(interface)
        if link is None:
            return Capture(interface, [WatchedEnd(self.namespace, interface, "in", False)])
        return Capture(
            interface,
            [
                WatchedEnd(self.namespace, interface, "out", True),
                WatchedEnd(link.peer_host.namespace, link.peer_name, "in", True),
            ],
        )

    def close(self) -> None:
        """Kill all processes in the host and close its namespace."""
        for number in self.namespace.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        for process in self._started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        self._started.clear()
        self.namespace.close()
