"""A running case: its hosts, captures of all links, commands in process, counters."""

import contextlib
import io
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.socket_policy import set_policy
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.association import SadEntry
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import SpdEntry
from kamexfrm.rig import wiring
from kamexfrm.rig.capture import Capture
from kamexfrm.rig.host import Completed, Host
from kamexfrm.rig.packet import Packet
from kamexfrm.rig.python import installed
from kamexfrm.rig.rig import Rig
from kamexfrm.rig.scenario.plan import Case, Script
from kamexfrm.rig.scenario.stage.network import build
from kamexfrm.rig.scenario.stage.stream import Streaming
from kamexfrm.setkey.command import main as run_setkey
from kamexfrm.sysctl.command import run as run_sysctl
from kamexfrm.xfrm import UDP_ENCAP_ESPINUDP

UDP_ENCAP = 100  # linux/udp.h


class Counted(NamedTuple):
    """Xfrm counters and SAs of each host at one moment."""

    counters: dict[str, dict[str, int]]
    sads: dict[str, list[SadEntry]]


class Background:
    """A command in the background of a host; its output is read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._text: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed by the rig at the end
            while self.process.stdout and (line := self.process.stdout.readline()):
                self._text.append(line)

    @property
    def text(self) -> str:
        """All output so far."""
        return "".join(self._text)

    def end(self) -> None:
        """Kill it and read the rest of its output."""
        self.process.kill()
        self.process.wait()
        self._thread.join(1.0)


class Scene:
    """A case's hosts while it runs; a context manager that ends them."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.rig = Rig()
        self.hosts: dict[str, Host] = {}
        self.captures: dict[str, Capture] = {}
        self.background: dict[str, Background] = {}
        self.streams: dict[str, Streaming] = {}
        self._kernels: dict[str, NetlinkKernel] = {}
        self._encap_sockets: list[socket.socket] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Scene":
        self._stack.callback(self._close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def raise_hosts(self) -> None:
        """Make hosts, links, routes and captures."""
        self.hosts = build(self.case, self.rig)
        for name, host in self.hosts.items():
            self._kernels[name] = host.call(NetlinkKernel)
        numbers: dict[str, int] = {}
        for link in self.case.links:
            number = numbers.setdefault(link.left.host, 0)
            numbers[link.left.host] += 1
            numbers[link.right.host] = numbers.get(link.right.host, 0) + 1
            capture = self.hosts[link.left.host].capture(f"eth{number}")
            self.captures[link.name] = capture.__enter__()

    def _close(self) -> None:
        for stream in self.streams.values():
            stream.end()
        for capture in self.captures.values():
            capture.__exit__(RuntimeError, None, None)  # packets lost after the end do not matter
        for encap_socket in self._encap_sockets:
            encap_socket.close()
        for kernel in self._kernels.values():
            kernel.close()
        self.rig.close()
        for background in self.background.values():
            background.end()

    # Commands

    def setkey(self, host: str, script: Script, *, real: bool = False) -> Completed:
        """Run a setkey script on a host; an error of the kernel is a failure."""
        if real:
            command = [installed("setkey"), "--strict", "-f", "-"]
            return self.hosts[host].run(command, input=script.text)
        done = self.command(host, run_setkey, "--strict", "-e", script.text)
        name = script.file or f"{host}.setkey"
        return Completed(done.stdout, done.stderr.replace("-e,", f"{name},"), done.status)

    def sysctl(self, host: str, *words: str, real: bool = False) -> Completed:
        """Run kame-sysctl on a host."""
        if real:
            return self.hosts[host].run([installed("kame-sysctl"), *words])
        return self.command(host, run_sysctl, *words)

    def command(
        self, host: str, function: Callable[[list[str]], int], *arguments: str
    ) -> Completed:
        """Call a command's main function inside a host, its output caught."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = self.hosts[host].call(function, list(arguments))
        return Completed(out.getvalue(), err.getvalue(), status)

    def open_encap_socket(self, host: str, address: str, port: int) -> None:
        """Receive ESP in UDP on a port as IKE daemons do; the host's policies do not apply."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        link = self.hosts[host].socket(family, socket.SOCK_DGRAM)
        self._encap_sockets.append(link)
        link.bind((address, port))
        link.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
        with self.hosts[host].enter():
            give_policies(link, ("in bypass", "out bypass"))

    # State of the hosts, and packets

    def sad(self, host: str) -> list[SadEntry]:
        """Return a host's SAs."""
        return list(Engine(self._kernels[host]).sad())

    def spd(self, host: str) -> list[SpdEntry]:
        """Return a host's policies."""
        return list(Engine(self._kernels[host]).spd())

    def knobs(self, host: str) -> Knobs:
        """Return a host's knobs."""
        return self.hosts[host].call(Engine(self._kernels[host]).knobs)

    def source_of(self, host: str, destination: str) -> str:
        """Return the address that a host sends from to a destination; empty without a route."""
        route = self.hosts[host].call(wiring.find_route, destination)
        return route[1] if route else ""

    def count(self) -> Counted:
        """Read all counters and SAs."""
        return Counted(
            {name: host.counters() for name, host in self.hosts.items()},
            {name: self.sad(name) for name in self.hosts},
        )

    def forget_packets(self) -> None:
        """Begin the captures of a new step."""
        for capture in self.captures.values():
            capture.clear()

    def packets(self) -> Iterator[tuple[str, list[Packet]]]:
        """Yield each link's name and its packets of this step."""
        for name, capture in self.captures.items():
            yield name, capture.packets


def give_policies(sock: socket.socket, policies: Sequence[str]) -> None:
    """Give a socket policies of its own, in ipsec_set_policy(3)'s words."""
    if policies and sock.family == socket.AF_INET6 and sock.type != socket.SOCK_RAW:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    for policy in policies:
        set_policy(sock, policy)
