"""What ``kamexfrm exec`` costs a program: each system call under each barrier, and without.

    unshare -n .venv/bin/python -m tests.bench.exec

Prints microseconds per call, and how often that is what the same call takes without the filter. A
request here is a DUMP of an empty SAD.
"""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable

ROUNDS = 5
CALLS = 400
DUMP = bytes.fromhex("020a000002000000 01000000 01000000".replace(" ", ""))
BYPASS = bytes.fromhex("02001200040002000000000000000000")
BARRIERS = ("none", "peek", "strict")


def best(work: Callable[[], object]) -> float:
    """Return the microseconds of one call, of the best of some rounds."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            work()
        fastest = min(fastest, time.perf_counter() - began)
    return fastest / CALLS * 1e6


def measure(*, served: bool) -> dict[str, float]:
    """Return the cost of each call, in this process as it is."""
    found = {}
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def pair() -> None:
        one.send(b"x" * 16)
        other.recv(64)

    def impatient() -> None:
        one.send(b"x" * 16)
        other.recv(64, socket.MSG_DONTWAIT)

    found["socket(AF_INET) + close"] = best(
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    )
    found["send + recv elsewhere"] = best(pair)
    found["send + recv(MSG_DONTWAIT) elsewhere"] = best(impatient)
    second = bytes.fromhex("0100000000000000") + bytes(8)
    found["setsockopt(SO_RCVTIMEO) elsewhere"] = best(
        lambda: udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, second)
    )
    found["getsockname"] = best(udp.getsockname)
    if served:
        found["socket(AF_KEY) + close"] = best(
            lambda: socket.socket(15, socket.SOCK_RAW, 2).close()
        )
        with socket.socket(15, socket.SOCK_RAW, 2) as key:

            def request() -> None:
                key.send(DUMP)
                key.recv(4096)

            def peeking() -> None:
                key.send(DUMP)
                with contextlib.suppress(BlockingIOError):  # without a barrier
                    key.recv(16, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                key.recv(4096)

            found["request + reply"] = best(request)
            found["request + peek + reply"] = best(peeking)
        found["IP_IPSEC_POLICY bypass"] = best(lambda: udp.setsockopt(0, 16, BYPASS))
    return found


def start(command: list[str]) -> float:
    """Return the milliseconds that a command takes, of the best of some runs."""
    fastest = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        subprocess.run(command, check=True)
        fastest = min(fastest, time.perf_counter() - began)
    return fastest * 1e3


def main() -> None:
    """Print the table."""
    if sys.argv[1:] == ["measure"]:
        print(json.dumps(measure(served=True)))
        return
    supervised = [sys.executable, "-m", "kamexfrm.exec"]
    bare = measure(served=False)
    columns = {}
    for barrier in BARRIERS:
        program = [*supervised, "--barrier", barrier, "--", sys.executable, __file__, "measure"]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        columns[barrier] = json.loads(done.stdout)
    print(f"{'us per call':38}{'bare':>8}" + "".join(f"{name:>16}" for name in BARRIERS))
    for name in columns["peek"]:
        line = f"{name:38}" + (f"{bare[name]:8.1f}" if name in bare else f"{'':8}")
        for barrier in BARRIERS:
            ratio = f" ({columns[barrier][name] / bare[name]:.2f})" if name in bare else ""
            line += f"{columns[barrier][name]:9.1f}{ratio:7}"
        print(line)
    alone = start(["true"])
    print(f"{'start of true, ms':38}{alone:8.1f}{start([*supervised, '--', 'true']):9.1f}")


if __name__ == "__main__":
    main()
