"""What the commands cost, as ratios to their peers in the same run: ``make bench``.

Runs as root on the running kernel, in network namespaces of its own. Absolute times mean little on
a shared machine; each pair is run alternately and the medians are compared.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

BIN = Path(sys.executable).parent
SETKEY = str(BIN / "setkey")
KNOBS = str(BIN / "kame-sysctl")
FAMILY_KNOB = "net.inet.ipsec.esp_trans_deflev"


def pairs(count: int) -> Iterable[tuple[str, str]]:
    """Yield source and destination addresses, all different."""
    for i in range(count):
        yield f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", f"11.{i >> 16}.{i >> 8 & 255}.{i & 255}"


def write_inputs(folder: Path, count: int) -> dict[str, str]:
    """Write the same policies for setkey and for ip, and setkey files of other kinds."""
    out = "ipsec esp/transport//require"
    files = {
        "setkey": "".join(f"spdadd {a}/32 {b}/32 any -P out {out};\n" for a, b in pairs(count)),
        "default": "".join(
            f"spdadd {a}/32 {b}/32 any -P out ipsec esp/transport//default;\n"
            for a, b in pairs(count)
        ),
        "ip": "".join(
            f"xfrm policy add src {a}/32 dst {b}/32 dir out priority {i + 1000} "
            "tmpl proto esp mode transport\n"
            for i, (a, b) in enumerate(pairs(count))
        ),
        "one": f"spdadd 192.0.2.1 192.0.2.2 any -P out {out};\n",
    }
    names = {}
    for name, text in files.items():
        (folder / name).write_text(text)
        names[name] = str(folder / name)
    return names


class Namespace:
    """A network namespace held by a sleeping process."""

    def __init__(self) -> None:
        command = ["unshare", "-n", sys.executable, "-c", "print(1, flush=True); input()"]
        self._holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()

    def run(self, *command: str) -> tuple[float, int]:
        """Run a command there; return seconds and peak resident KiB."""
        enter = ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *command]
        start = time.perf_counter()
        child = subprocess.Popen(enter, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        elapsed = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)}: status {child.returncode}")
        return elapsed, usage.ru_maxrss

    def __enter__(self) -> "Namespace":
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate("\n")


def fresh(*command: str, before: tuple[str, ...] = ()) -> Callable[[], tuple[float, int]]:
    """Return a measurement of a command in a new namespace, after an untimed other one."""

    def measure() -> tuple[float, int]:
        with Namespace() as namespace:
            if before:
                namespace.run(*before)
            return namespace.run(*command)

    return measure


Row = tuple[str, str, Callable[[], tuple[float, int]], str, Callable[[], tuple[float, int]], float]


def rows(files: dict[str, str]) -> list[Row]:
    """Return what is compared: title, our name and run, the peer's name and run, the limit."""
    load = (SETKEY, "-f", files["setkey"])
    one = (SETKEY, "-f", files["one"])
    fill = ("ip", "-batch", files["ip"])
    loaded = (SETKEY, "-f", files["default"])
    bare = (sys.executable, "-c", "pass")
    return [
        ("load", "setkey -f", fresh(*load), "ip -batch", fresh(*fill), 0.8),
        (
            "dump",
            "setkey -DP",
            fresh(SETKEY, "-DP", before=load),
            "ip xfrm policy",
            fresh("ip", "xfrm", "policy", before=fill),
            6.0,
        ),
        ("start", "setkey -D", fresh(SETKEY, "-D"), "python3 -c pass", fresh(*bare), 5.0),
        (
            "one more",
            "spdadd, SPD full",
            fresh(*one, before=load),
            "spdadd, SPD empty",
            fresh(*one),
            1.5,
        ),
        (
            "knob",
            "deflev write",
            fresh(KNOBS, f"{FAMILY_KNOB}=2", before=loaded),
            "ip -batch",
            fresh(*fill),
            1.6,
        ),
    ]


def main() -> None:
    """Run all rows and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=50000, help="policies (50000)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each (3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_inputs(Path(folder), arguments.count)
        print(f"{arguments.count} policies, median of {arguments.runs} runs")
        print(f"{'':10}{'ours':>34}{'peer':>34}{'ratio':>8}{'limit':>7}")
        for title, our_name, ours, peer_name, peer, limit in rows(files):
            mine, theirs = [], []
            for _ in range(arguments.runs):
                mine.append(ours())
                theirs.append(peer())
            a = statistics.median(seconds for seconds, _ in mine)
            b = statistics.median(seconds for seconds, _ in theirs)
            print(
                f"{title:10}{our_name:>18} {a * 1000:8.0f} ms {max(m for _, m in mine) // 1024:3} M"
                f"{peer_name:>18} {b * 1000:8.0f} ms {max(m for _, m in theirs) // 1024:3} M"
                f"{a / b:8.2f}{limit:7.2f}"
            )


if __name__ == "__main__":
    main()
