"""Packets through ESP between two namespaces, with our policies and with those of ip(8).

The SAs are the same. Other policies, for other prefixes, stand before the one that applies.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SETKEY = str(Path(sys.executable).parent / "setkey")
HERE, THERE = "172.31.0.1", "172.31.0.2"
PACKETS, ROUNDS, STREAM = 2000, 5, 1.0
#: The fields of a Comparison.
Fields = tuple[str, float, str, float, float | None, float | None, float]

_ENDS = (("n1", HERE, THERE), ("n2", THERE, HERE))


def _run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, check=True, input=text, text=True, stdout=subprocess.PIPE)
    return done.stdout


def _inside(namespace: str, *command: str, text: str = "") -> str:
    return _run("ip", "netns", "exec", namespace, *command, text=text)


def _set_up() -> None:
    for namespace in ("n1", "n2"):
        _run("ip", "netns", "add", namespace)
    link = "ip link add e1 netns n1 type veth peer name e2 netns n2"
    _run(*link.split())
    for namespace, here, _ in _ENDS:
        device = namespace.replace("n", "e")
        _inside(namespace, "ip", "addr", "add", f"{here}/24", "dev", device)
        _inside(namespace, "ip", "link", "set", device, "up")
        _inside(namespace, "ip", "link", "set", "lo", "up")
        keys = f"-m transport -E aes-cbc 0x{'11' * 16} -A hmac-sha1 0x{'22' * 20};\n"
        sas = f"add {HERE} {THERE} esp 0x501 {keys}add {THERE} {HERE} esp 0x502 {keys}"
        _inside(namespace, SETKEY, "-f", "-", text=sas)


def _fill(count: int, *, ours: bool) -> None:
    """Have the two policies of each end, and so many in all for packets that leave n1."""
    others = [f"10.{at >> 8}.{at & 255}.0/24" for at in range(count - 1)]
    for namespace, here, there in _ENDS:
        _inside(namespace, "ip", "xfrm", "policy", "flush")
        mine = others if namespace == "n1" else []
        ways = (("out", here, there), ("in", there, here))
        if ours:
            text = "".join(f"spdadd {here} {prefix} any -P out none;\n" for prefix in mine)
            for way, a, b in ways:
                text += f"spdadd {a} {b} any -P {way} ipsec esp/transport//require;\n"
            _inside(namespace, SETKEY, "-f", "-", text=text)
            continue
        text = "".join(
            f"xfrm policy add src {here} dst {prefix} dir out priority {1000 + at}\n"
            for at, prefix in enumerate(mine)
        )
        for way, a, b in ways:
            text += f"xfrm policy add src {a} dst {b} dir {way} priority 100000"
            text += " tmpl proto esp mode transport\n"
        _inside(namespace, "ip", "-batch", "-", text=text)


def send() -> float:
    """Return the seconds of a packet, of the best of some rounds; the process is in n1."""
    best = float("inf")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            for _ in range(PACKETS):
                sender.sendto(bytes(64), (THERE, 9))
            best = min(best, (time.perf_counter() - began) / PACKETS)
    return best


def _stream() -> float:
    """Return the seconds of 100 MB by iperf3."""
    server = subprocess.Popen(
        ["ip", "netns", "exec", "n2", "iperf3", "-s", "-1", "--forceflush"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    while "listening" not in server.stdout.readline():
        pass
    found = _inside("n1", "iperf3", "-c", THERE, "-t", str(STREAM), "-J")
    server.communicate()
    rate: float = json.loads(found)["end"]["sum_received"]["bits_per_second"]
    return 100e6 * 8 / rate


def compare(most: int) -> Iterator[Fields]:
    """Yield what packets cost, with one policy, some, and two fifths of ``most``."""
    _set_up()
    program = (sys.executable, "-m", "tests.bench.packets")
    for count in (1, most // 50, most * 2 // 5):
        packets, streams = [], []
        for ours in (True, False):
            _fill(count, ours=ours)
            packets.append(float(_inside("n1", *program)))
            streams.append(_stream() if shutil.which("iperf3") else 0.0)
        name = f"with {count:,} policies" if count > 1 else "with one policy"
        yield f"a packet, {name}", packets[0], "ip xfrm policy", packets[1], None, 1.0, 1.0
        if all(streams):
            work = f"iperf3, 100 MB, {name}"
            yield work, streams[0], "ip xfrm policy", streams[1], None, 1.0, 1.0


if __name__ == "__main__":
    print(send())
