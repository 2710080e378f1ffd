"""Fifty thousand entries: the first match decides, and no change among them opens a gap.

On the running kernel, whose two processors race; `require` without an SA: what arrives has leaked.
"""

import contextlib
import os
import random
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.rig import TwoHosts, until
from kamexfrm.setkey.command import main as setkey
from kamexfrm.sysctl.command import run as kame_sysctl

SEED = os.environ.get("KAMEXFRM_SEED", "kame")
MANY = 50_000
LEAKING = 20_000  # with a sender that never rests
PORT, DATA = 7004, b"clear text of a required flow"
PRIORITIES = {"": 0, " prio def + 5": 5, " prio low": -(1 << 30), " prio high": 1 << 30}

_SENDER = f"""
import socket, sys
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.connect((sys.argv[1], {PORT}))
while True:
    try:
        link.send({DATA!r})
    except OSError:
        pass
"""

Net = tuple[int, int]


class Spd:
    """The entries as the script writes them, by what they match; the oracle is a dictionary."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "script"
        self._count = 0
        self.entries: dict[Net, tuple[int, int, str]] = {}

    def line(self, command: str, net: Net, priority: str = "", action: str = "none") -> str:
        """Note a statement and return it."""
        address, prefix = net
        text = socket.inet_ntoa(address.to_bytes(4, "big"))
        if command == "spddelete":
            del self.entries[net]
            return f"spddelete 10.0.0.1 {text}/{prefix} udp -P out;\n"
        self._count += 1
        self.entries[net] = (-PRIORITIES[priority], self._count, action)
        return f"{command} 10.0.0.1 {text}/{prefix} udp -P out{priority} {action};\n"

    def run(self, lines: list[str]) -> None:
        self._file.write_text("".join(lines), encoding="ascii")
        assert setkey(["-f", str(self._file)]) == 0

    def passes(self, address: int) -> bool:
        """Whether packets to an address pass: the first match says so, or there is none."""
        found = []
        for prefix in (32, 28, 24, 20):
            net = (address >> 32 - prefix << 32 - prefix, prefix)
            if net in self.entries:
                found.append(self.entries[net])
        return not found or min(found)[2] == "none"


def _is_sent(link: socket.socket, address: int) -> bool:
    try:
        link.sendto(b"?", (socket.inet_ntoa(address.to_bytes(4, "big")), 9))
    except PermissionError:
        return False
    return True


def test_the_first_match_decides_among_fifty_thousand_entries(
    two_hosts: TwoHosts, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    spd = Spd(tmp_path)
    base = 10 << 24 | 64 << 16

    def net() -> Net:
        # The kernel takes seconds for each thousand of prefixes, however they are written.
        prefix = dice.choice([32] * 100 + [28, 24, 20])
        return (base + dice.randrange(1 << 18)) >> 32 - prefix << 32 - prefix, prefix

    def entry(command: str, where: Net) -> str:
        priority = dice.choice(list(PRIORITIES))
        return spd.line(command, where, priority, dice.choice(["none", "discard"]))

    def new() -> list[Net]:
        while True:
            found = net()
            if found not in spd.entries:
                return [found]

    two_hosts.a.route("10.64.0.0/10", via="10.0.0.2")
    with two_hosts.a.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:

        def check() -> None:
            wrong = []
            for _ in range(3000):
                address = base + dice.randrange(1 << 18)
                if _is_sent(link, address) != spd.passes(address):
                    wrong.append(address)
            assert wrong == []

        spd.run([entry("spdadd", *new()) for _ in range(MANY)])
        check()
        for _ in range(3):
            there = dice.sample(list(spd.entries), 300)
            changes = [entry("spdupdate", where) for where in there[:150]]
            changes += [spd.line("spddelete", where) for where in there[150:]]
            changes += [entry("spdadd", *new()) for _ in range(300)]
            spd.run(changes)
            check()


def test_no_change_among_many_entries_leaks_of_a_required_flow(
    two_hosts: TwoHosts, tmp_path: Path
) -> None:
    near, far, net, host = "10.0.0.1", "10.0.0.2", "10.0.0.0/8", "10.99.{}.{}"
    knobs = "net.inet.ipsec."
    file = tmp_path / "script"

    def run(script: str) -> None:
        file.write_text(script, encoding="ascii")
        assert setkey(["-f", str(file)]) == 0

    def sysctl(text: str) -> None:
        assert kame_sysctl(["-q", knobs + text]) == 0

    def many(level: str) -> str:
        return "".join(
            f"spdadd {near} {host.format(n >> 8, n & 255)} any -P out ipsec esp/transport//{level};"
            for n in range(LEAKING)
        )

    def numbers() -> set[tuple[int, int]]:
        kernel = NetlinkKernel()
        found = {(policy.index, policy.priority) for policy in kernel.policies()}
        kernel.close()
        return found

    required = f"{near} {far}[{PORT}] udp -P out ipsec esp/transport//require;"
    with _flow(two_hosts, far) as (received, dropped), two_hosts.a.enter():
        run(f"spdadd {required} spdadd {net} {net} any -P out prio low none;")
        until(lambda: dropped() > 5, what="the entry is met")
        received()

        def still() -> None:
            before = dropped()
            until(lambda: dropped() > before + 5, what="packets that are dropped")
            assert received() == 0

        run(many("default"))
        still()
        for value in (2, 1):
            sysctl(f"esp_trans_deflev={value}")
            still()
        before = numbers()
        for n, priority in enumerate(("high - 1", "high", "high")):  # no room for the third
            run(f"spdadd {net} {host.format(250, n)} any -P out prio {priority} none;")
        assert len(numbers() & before) < LEAKING // 2  # nearly all got new ones
        still()
        run(f"spdupdate {required}")
        still()
        sysctl("def_policy=0")
        run("spdflush;")
        still()
        run(many("require"))
        still()


@contextlib.contextmanager
def _flow(hosts: TwoHosts, far: str) -> Iterator[tuple[Callable[[], int], Callable[[], int]]]:
    """Yield counts of the packets received since the last call and of those dropped so far."""
    a, b = hosts
    with b.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.setblocking(False)
        link.bind((far, PORT))

        def received() -> int:
            count = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    link.recv(100)
                    count += 1
            return count

        def dropped() -> int:
            counters = a.counters()
            return counters["XfrmOutNoStates"] + counters["XfrmOutPolBlock"]

        sender = a.start([sys.executable, "-S", "-E", "-c", _SENDER, far])
        try:
            until(received, deadline=20, what="the sender's first packet")
            yield received, dropped
            assert sender.poll() is None
        finally:
            sender.kill()
