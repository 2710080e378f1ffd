"""What a packet costs that meets no policy but must be looked up, with ours and with ip(8)'s.

    make benchdata

Policies of action none for /24 prefixes, by setkey and by ``ip xfrm``; packets to a link without an
answer, from a socket that is not connected, so that each packet is looked up. Then the same with
other thresholds of the kernel's hash (``ip xfrm policy set hthresh4``). No SA is needed.
"""

import socket
import subprocess
import sys
import time
from pathlib import Path

SETKEY = str(Path(sys.executable).parent / "setkey")
HERE = "172.16.0.1"
ROUNDS, PACKETS = 12, 20


def run(*command: str, text: str = "") -> None:
    """Run a command; raises CalledProcessError."""
    subprocess.run(command, check=True, input=text, text=True, stdout=subprocess.DEVNULL)


def set_up() -> None:
    """Make a link on which packets leave and are lost."""
    for words in (
        "link add d0 type veth peer name d1",
        f"addr add {HERE}/16 dev d0",
        "link set d0 up",
        "link set d1 up",
        "neigh add 172.16.0.2 lladdr 02:00:00:00:00:02 dev d0",
        "route add 10.0.0.0/8 via 172.16.0.2",
    ):
        run("ip", *words.split())


def fill(count: int, program: str) -> None:
    """Have nothing but so many policies, made by a program."""
    run("ip", "xfrm", "policy", "flush")
    prefixes = [f"10.{i >> 8 & 255}.{i & 255}.0/24" for i in range(count)]
    if program == "ip":
        lines = [
            f"xfrm policy add src 172.16.0.0/16 dst {prefix} dir out priority {1000 + i}\n"
            for i, prefix in enumerate(prefixes)
        ]
        run("ip", "-batch", "-", text="".join(lines))
    else:
        lines = [f"spdadd 172.16.0.0/16 {prefix} any -P out none;\n" for prefix in prefixes]
        run(SETKEY, "-f", "-", text="".join(lines))


def microseconds(count: int) -> float:
    """Return the processor time of a packet, of the best of some rounds."""
    targets = [
        (f"10.{i >> 8 & 255}.{i & 255}.7", 9) for i in range(0, max(count, 1), max(1, count // 256))
    ]
    best = float("inf")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((HERE, 0))
        for _ in range(ROUNDS):
            began = time.process_time()
            for target in targets:
                for _ in range(PACKETS):
                    sender.sendto(bytes(64), target)
            best = min(best, (time.process_time() - began) / len(targets) / PACKETS)
    return best * 1e6


def main() -> None:
    """Print a row for each number of policies and threshold; run in a namespace of one's own."""
    set_up()
    print(f"without policies: {microseconds(0):.2f} us a packet")
    print(f"{'policies':>8}{'threshold':>12}{'setkey':>9}{'ip xfrm':>9}{'ratio':>7}")
    for count in (1, 1000, 20000):
        for local, remote in (("32", "32"), ("16", "24"), ("16", "16")):
            run("ip", "xfrm", "policy", "set", "hthresh4", local, remote)
            found = []
            for program in ("setkey", "ip"):
                fill(count, program)
                found.append(microseconds(count))
            ours, theirs = found
            print(
                f"{count:8}{local + ' ' + remote:>12}{ours:9.2f}{theirs:9.2f}{ours / theirs:7.2f}"
            )


if __name__ == "__main__":
    main()
