"""Reloads, rekeys, flips and IKE under traffic: ``python tests/soak/soak.py --minutes 30``.

Runs where the kernel has ESP, else in a guest. On host ``a`` a file is loaded again and again with
flush and spdflush, SAs are replaced and variables change, while a flow to ``b`` is sent that its
policies protect at all times; kamexfrmd runs there too. Between ``c`` and ``d`` two iked under
``kamexfrm exec`` replace their SAs, with a flow in their tunnel. What leaves a host with the flow's
data readable was in clear.

Prints a table, a row each minute. The status is 1 when a packet was in clear, or memory grew.
"""

import argparse
import contextlib
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from kamexfrm.rig import Host, TwoHosts, python, two_hosts, until  # noqa: E402
from kamexfrm.rig.guest import run_in_guest  # noqa: E402
from kamexfrm.rig.probe import kernel_has_esp  # noqa: E402
from tests.dataplane.ike_daemons import IPV4, PATIENCE, Iked, agreed  # noqa: E402

DATA = b"what nobody else may read"
PORT = 7003
NEAR, FAR = "10.0.0.1", "10.0.0.2"

#: Seconds that iked's SAs live.
LIFETIME = "10"

#: Kilobytes that a program may grow, and the part of the run after which it may grow no more.
GROWTH = 2048
SETTLED = 0.25

_SENDER = f"""
import socket, sys, time
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.bind((sys.argv[1], {PORT}))
while True:
    try:
        link.sendto({DATA!r}, (sys.argv[2], {PORT}))
    except OSError:
        pass
    time.sleep(0.002)
"""

#: A sender of frames as a tap sees it (linux/if_packet.h).
_OUTGOING, _ETH_P_ALL = 4, 3
_SO_RCVBUFFORCE = 33


class Tap:
    """Counts what leaves a host: frames with readable data, and ESP."""

    def __init__(self, host: Host) -> None:
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
        self._socket.bind(("eth0", _ETH_P_ALL))
        self._socket.setblocking(False)
        self.clear = self.esp = 0

    def read(self) -> None:
        """Count what has been sent since the last call."""
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, (_, _, kind, *_) = self._socket.recvfrom(2048)
                if kind == _OUTGOING:
                    self.clear += DATA in packet
                    self.esp += packet[9:10] == bytes([socket.IPPROTO_ESP])

    def sees_clear(self) -> bool:
        """Read, and return whether there was a frame with readable data."""
        self.read()
        return self.clear > 0

    def settle(self) -> None:
        """Forget what was in clear so far: nothing protected it yet."""
        self.read()
        self.clear = 0


class Done(NamedTuple):
    """How often each thing was done."""

    reloads: int = 0
    rekeys: int = 0
    flips: int = 0


class Churn:
    """Changes host ``a``'s databases in all ways that must not open the flow."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._file = folder / "a.conf"
        self._dice = random.Random(1)
        self._spi = 0x10000
        self.done = Done()

    def _setkey(self, *words: str) -> None:
        done = self._host.run([*python.module("kamexfrm.setkey"), "--strict", *words])
        assert done.status == 0, done.stderr

    def _sa(self) -> str:
        key = bytes((self._spi + at) & 0xFF for at in range(20)).hex()
        return f"add {NEAR} {FAR} esp {self._spi:#x} -E aes-gcm-16 0x{key};\n"

    def reload(self) -> None:
        """Load policies in another order, with flush and spdflush before them."""
        lines = [f"spdadd 10.9.0.{at} 10.8.0.1 any -P out none;\n" for at in range(100)]
        lines += [f"spdadd {FAR} {NEAR} any -P in ipsec esp/transport//default;\n"]
        self._dice.shuffle(lines)
        at = self._dice.randrange(len(lines))
        lines[at:at] = [f"spdadd {NEAR} {FAR} any -P out ipsec esp/transport//require;\n"]
        self._file.write_text("flush;\nspdflush;\n" + self._sa() + "".join(lines))
        self._setkey("-f", str(self._file))
        self.done = self.done._replace(reloads=self.done.reloads + 1)

    def rekey(self) -> None:
        """Add an SA and delete the one that it replaces."""
        old, self._spi = self._spi, self._spi + 1
        self._setkey("-e", f"{self._sa()}delete {NEAR} {FAR} esp {old:#x};")
        self.done = self.done._replace(rekeys=self.done.rekeys + 1)

    def flip(self) -> None:
        """Write a variable that rewrites policies, or def_policy, which adds some."""
        name = self._dice.choice(("esp_trans_deflev=1", "esp_trans_deflev=2", "def_policy=0"))
        for word in (name, "def_policy=1") if name == "def_policy=0" else (name,):
            command = python.module("kamexfrm.sysctl")
            done = self._host.run([*command, "-q", f"net.inet.ipsec.{word}"])
            assert done.status == 0, done.stderr
        self.done = self.done._replace(flips=self.done.flips + 1)

    def step(self) -> None:
        """Do one of these."""
        self._dice.choice((self.reload, self.rekey, self.flip))()


class Row(NamedTuple):
    """The state at a moment: seconds since the start, counts, kilobytes."""

    seconds: int
    done: Done
    renewals: int
    esp: int
    clear: int
    daemon: int
    supervisors: int


def memory_of(word: bytes) -> int:
    """Return the proportional memory in kilobytes of all processes with a word in their command."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            if word in command and int(folder.name) != os.getpid():
                rollup = (folder / "smaps_rollup").read_text()
                total += int(rollup.partition("\nPss:")[2].split()[0])
    return total


@contextlib.contextmanager
def sending(host: Host, source: str, destination: str) -> Iterator[None]:
    """Send the flow."""
    sender = host.start([sys.executable, "-S", "-E", "-c", _SENDER, source, destination])
    try:
        yield
        assert sender.poll() is None
    finally:
        sender.kill()
        sender.wait()


@contextlib.contextmanager
def ike(folder: Path) -> Iterator[TwoHosts]:
    """Let two iked under kamexfrm exec make a tunnel with SAs that live for seconds."""
    with two_hosts() as hosts:
        IPV4.lay(hosts)
        passive = Iked(hosts.b, folder, "passive", IPV4.mirrored(), door="exec")
        passive.ready()
        active = Iked(hosts.a, folder, "active", IPV4, lifetime=LIFETIME, door="exec")
        until(lambda: agreed(hosts), PATIENCE, "two SAs on each end")
        yield hosts
        active.stop()
        passive.stop()


def soak(seconds: float, folder: Path) -> list[Row]:
    """Run; return the rows, which are printed as they come."""
    with two_hosts() as hosts, ike(folder) as others:
        a, c = hosts.a, others.a
        a.ping(FAR)
        churn, taps = Churn(a, folder), (Tap(a), Tap(c))
        with sending(a, NEAR, FAR):
            until(taps[0].sees_clear, what="the flow is seen while nothing protects it")
        churn.reload()
        daemon = a.kamexfrmd()
        rows: list[Row] = []
        seen: set[str] = set()
        with sending(a, NEAR, FAR), sending(c, *IPV4.inside):
            began = time.monotonic()
            for tap in taps:
                tap.settle()
            while (passed := time.monotonic() - began) < seconds or len(rows) < 2:
                churn.step()
                for tap in taps:
                    tap.read()
                if passed >= 60 * len(rows) or passed >= seconds:
                    seen |= agreed(others)
                    counts = sum(tap.esp for tap in taps), sum(tap.clear for tap in taps)
                    memory = memory_of(b"kamexfrm.kamexfrmd"), memory_of(b"kamexfrm\0exec")
                    rows.append(Row(int(passed), churn.done, len(seen), *counts, *memory))
                    show(rows[-1], first=len(rows) == 1)
        daemon.terminate()
        daemon.wait()
        return rows


def show(row: Row, *, first: bool) -> None:
    """Print a row of the table."""
    if first:
        print("| minutes | reloads | rekeys | flips | SPIs of IKE seen | ESP packets | in clear |")
        print("|---|---|---|---|---|---|---|")
    cells = (row.seconds // 60, *row.done, row.renewals, row.esp, row.clear)
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def verdict(rows: list[Row]) -> list[str]:
    """Return what was wrong."""
    wrong = [f"{rows[-1].clear} packets in clear"] if rows[-1].clear else []
    settled = rows[min(int(len(rows) * SETTLED) + 1, len(rows) - 1)]
    for name in ("daemon", "supervisors"):
        first, last = getattr(settled, name), getattr(rows[-1], name)
        if last > first + GROWTH:
            wrong.append(f"memory of the {name}: {first} KB, then {last} KB")
    return wrong


def main() -> int:
    """Run from the command line; return the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=30.0)
    chosen = options.parse_args()
    if not kernel_has_esp():
        words = [sys.executable, "-P", __file__, "--minutes", str(chosen.minutes)]
        return run_in_guest(words, timeout=None, stdout=sys.stdout.buffer, stderr=sys.stderr.buffer)
    with tempfile.TemporaryDirectory(prefix="kamexfrm-soak.") as folder:
        rows = soak(60 * chosen.minutes, Path(folder))
    first, last = rows[1], rows[-1]
    print(f"Memory, KB: kamexfrmd {first.daemon}, at the end {last.daemon};", end=" ")
    print(f"kamexfrm exec {first.supervisors}, at the end {last.supervisors}")
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPU; {time.strftime('%Y-%m-%d')}")
    wrong = verdict(rows)
    print("; ".join(wrong) or "nothing was in clear, and memory was flat")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
