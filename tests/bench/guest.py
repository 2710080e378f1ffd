"""The part of the bench that needs ESP and AF_KEY: it runs in a guest, and prints JSON lines.

Each line is a comparison: what is done, seconds of ours and of the peer's, the ratio that it must
and should reach. ``measure()`` starts the guest and returns them.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench import packets, pfkey_calls

BIN = Path(sys.executable).parent
SETKEY, EXEC = str(BIN / "setkey"), (sys.executable, "-m", "kamexfrm.exec", "--")
#: How many SAs, and how much more the large load has; seconds that the guest may take.
SAS, LARGER, SECONDS = 50_000, 4, 1200


class Comparison(NamedTuple):
    """Seconds of ours and of the peer's for some work."""

    work: str
    ours: float
    peer_name: str
    peer: float
    must: float | None = None
    aim: float | None = None
    #: By how much the peer's work is smaller.
    scale: float = 1.0


def _seconds(*command: str, text: str = "") -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, input=text, text=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _address(first: int, at: int) -> str:
    return f"{first}.{at >> 16}.{at >> 8 & 255}.{at & 255}"


def _associations(count: int, line: str) -> str:
    return "".join(
        line.format(a=_address(10, at), b=_address(11, at), spi=at + 0x1000, key=at)
        for at in range(count)
    )


def _setkey_sas(count: int) -> str:
    return _associations(
        count,
        "add {a} {b} esp {spi:#x} -m transport"
        " -E aes-cbc 0x{key:032x} -A hmac-sha1 0x{key:040x};\n",
    )


def _ip_sas(count: int) -> str:
    return _associations(
        count,
        "xfrm state add src {a} dst {b} proto esp spi {spi:#x} mode transport"
        " enc cbc(aes) 0x{key:032x} auth hmac(sha1) 0x{key:040x}\n",
    )


def _load(count: int) -> tuple[float, float, float]:
    """Load, dump and flush so many SAs; return the seconds of each."""
    return (
        _seconds(SETKEY, "-f", "-", text=_setkey_sas(count)),
        _seconds(SETKEY, "-D"),
        _seconds(SETKEY, "-F"),
    )


def associations(count: int) -> Iterator[Comparison]:
    """Compare loads, dumps and flushes of SAs."""
    few = _load(count)
    fill = _seconds("ip", "-batch", "-", text=_ip_sas(count))
    dump = _seconds("ip", "xfrm", "state")
    flush = _seconds("ip", "xfrm", "state", "flush")
    name = f"{count:,} SAs"
    yield Comparison(f"load {name}", few[0], "ip -batch", fill, 0.6, 0.35)
    yield Comparison(f"-D of {name}", few[1], "ip xfrm state", dump)
    yield Comparison(f"-F of {name}", few[2], "ip xfrm state flush", flush)
    many = _load(count * LARGER)
    for word, ours, theirs in zip(("load", "-D of", "-F of"), many, few, strict=True):
        work, peer = f"{word} {count * LARGER:,} SAs", f"of {count:,}, each"
        yield Comparison(work, ours, peer, theirs, scale=LARGER)


def beside(count: int) -> Iterator[Comparison]:
    """Compare small changes beside many entries with the same alone."""
    sa = "{} 192.0.2.1 192.0.2.2 esp 0x999 {};\n"
    made = sa.format("add", "-E aes-cbc 0x" + "11" * 16 + " -A hmac-sha1 0x" + "22" * 20)
    again = sa.format("delete", "") + made
    _seconds(SETKEY, "-f", "-", text=made)
    alone = _best(lambda: _seconds(SETKEY, "-f", "-", text=again))
    _seconds(SETKEY, "-F")
    _seconds(SETKEY, "-f", "-", text=_setkey_sas(count) + made)
    among = _best(lambda: _seconds(SETKEY, "-f", "-", text=again))
    yield Comparison(f"an SA of mode any again, among {count:,}", among, "alone", alone, aim=1.0)
    _seconds(SETKEY, "-F")


def _best(work: Callable[[], float]) -> float:
    return min(work() for _ in range(5))


def programs() -> Iterator[Comparison]:
    """Compare programs under ``kamexfrm exec`` with the same on AF_KEY."""
    measured = []
    for before in ((), EXEC):  # AF_KEY first: it has the kernel load its modules
        command = [*before, sys.executable, "-m", "tests.bench.pfkey_calls"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        measured.append(json.loads(done.stdout))
        for what in ("state", "policy"):
            _seconds("ip", "xfrm", what, "flush")
    theirs, ours = measured
    for work, seconds in ours.items():
        yield Comparison(f"exec: {work}", seconds, "AF_KEY", theirs[work], aim=5.0)


def main() -> None:
    """Print all comparisons; needs root, and a machine that is only for this."""
    for words in (
        "link add v0 type veth peer name v1",
        f"addr add {pfkey_calls.SOURCE}/16 dev v0",
        "link set v0 up",
        "link set v1 up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    count = int(sys.argv[1])
    _load(10)  # the kernel loads its modules
    for part in (programs(), packets.compare(count), beside(count), associations(count)):
        for found in part:
            print(json.dumps(tuple(found)), flush=True)


def measure(count: int) -> Iterator[Comparison]:
    """Yield the comparisons of a guest, with so many SAs.

    Raises GuestError where none can be started, SystemExit where it fails.
    """
    from kamexfrm.rig.guest import run_in_guest

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        command = [sys.executable, "-m", "tests.bench.guest", str(count)]
        status = run_in_guest(command, memory="3G", timeout=SECONDS, stdout=out, stderr=err)
        out.seek(0)
        for line in out.read().splitlines():
            yield Comparison(*json.loads(line))
        if status:
            err.seek(0)
            raise SystemExit(f"the guest failed: {err.read().decode()[-2000:]}")


if __name__ == "__main__":
    main()
