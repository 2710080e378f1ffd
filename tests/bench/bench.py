"""What the commands cost, as ratios to their peers in the same run: ``make bench``.

Runs as root on the running kernel, in network namespaces of its own; what needs ESP or AF_KEY runs
in a guest. Absolute times mean little on a shared machine: each pair is run alternately and the
medians are compared, by the clock and by processor time. The table is also written to
docs/bench.md.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.bench import codec, daemon, guest, page
from tests.bench.inputs import write_inputs
from tests.bench.namespace import Cost, Namespace

BIN = Path(sys.executable).parent
SETKEY, KNOBS = str(BIN / "setkey"), str(BIN / "kame-sysctl")
KNOB = "net.inet.ipsec.esp_trans_deflev"

Measure = Callable[[], Cost]


def fresh(*command: str, before: tuple[str, ...] = ()) -> Measure:
    """Return a measurement of a command in a new namespace, after an untimed other one."""

    def measure() -> Cost:
        with Namespace() as namespace:
            if before:
                namespace.run(*before)
            return namespace.run(*command)

    return measure


class Row(NamedTuple):
    """What is compared: our work and the peer's, and the ratio that it must and should reach."""

    work: str
    ours: Measure
    peer: str
    theirs: Measure
    must: float | None = None
    aim: float | None = None
    scale: float = 1.0  # by which the peer's work is smaller
    runs: int = 0  # of each, where it is not the usual number


def rows(files: dict[str, str], count: int) -> list[Row]:
    """Return what is compared."""
    load = (SETKEY, "-f", files["setkey"])
    one = (SETKEY, "-f", files["one"])
    fill = ("ip", "-batch", files["ip"])
    update = ("ip", "-batch", files["ip update"])
    bare = (sys.executable, "-c", "pass")
    dump = fresh("ip", "xfrm", "policy", before=fill)
    default = (SETKEY, "-f", files["default"])
    name = f"{count:,}"
    return [
        Row(f"load {name} spdadd", fresh(*load), "ip -batch", fresh(*fill), 0.45, 0.25),
        *_linear(files, count),
        Row(
            f"-DP of {name}",
            fresh(SETKEY, "-DP", before=load),
            "ip xfrm policy",
            dump,
            2.5,
            1.5,
        ),
        Row(
            f"-DP --json of {name}",
            fresh(SETKEY, "-DP", "--json", before=load),
            "ip xfrm policy",
            dump,
        ),
        Row("setkey -D, empty", fresh(SETKEY, "-D"), "python3 -c pass", fresh(*bare), 3.0, 2.5),
        Row("kame-sysctl NAME", fresh(KNOBS, KNOB), "python3 -c pass", fresh(*bare)),
        Row("one spdadd", fresh(*one), "python3 -c pass", fresh(*bare)),
        Row(f"one more into {name}", fresh(*one, before=load), "one", fresh(*one), 1.1, 1.0),
        Row(
            f"a tunnel's other end, among {name}",
            fresh(SETKEY, "-f", files["swap"], before=(SETKEY, "-f", files["among"])),
            "alone",
            fresh(SETKEY, "-f", files["swap"], before=(SETKEY, "-f", files["tunnel"])),
            aim=1.0,
        ),
        Row(
            f"deflev write over {name}",
            fresh(KNOBS, f"{KNOB}=2", before=default),
            "ip -batch, update",
            fresh(*update, before=fill),
            0.7,
            0.4,
        ),
        Row(
            f"reload of {name} unchanged",
            fresh(SETKEY, "-f", files["reload"], before=load),
            "a first load",
            fresh(*load),
            1.0,
            0.6,
        ),
        Row(
            f"spdflush of {name}",
            fresh(SETKEY, "-FP", before=load),
            "ip xfrm policy flush",
            fresh("ip", "xfrm", "policy", "flush", before=fill),
        ),
    ]


def _linear(files: dict[str, str], count: int) -> list[Row]:
    """Return work on more and more policies: each of them is to take the same time."""
    found = []
    sizes = (("fiftieth", count // 50), ("fifth", count // 5), ("double", count * 2))
    for (few, less), (many, more) in pairwise(sizes):
        ours, theirs = (fresh(SETKEY, "-f", files[name]) for name in (many, few))
        found.append(Row(f"load {more:,}", ours, f"of {less:,}, each", theirs, scale=more / less))
    loads = [(SETKEY, "-f", files[name]) for name in ("fourfold", "setkey")]
    works = {
        "load": [fresh(*load) for load in loads],
        "-DP of": [fresh(SETKEY, "-DP", before=load) for load in loads],
        "-FP of": [fresh(SETKEY, "-FP", before=load) for load in loads],
    }
    for work, (ours, theirs) in works.items():
        peer = f"of {count:,}, each"
        found.append(Row(f"{work} {4 * count:,}", ours, peer, theirs, scale=4, runs=2))
    return found


def compare(row: Row, runs: int) -> page.Line:
    """Run a pair alternately; return the medians and their ratios."""
    ours, theirs = [], []
    for _ in range(row.runs or runs):
        ours.append(row.ours())
        theirs.append(row.theirs())
    mine, peer = (
        Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))
        for costs in (ours, theirs)
    )
    return page.Line(
        row.work,
        mine,
        row.peer,
        peer,
        mine.seconds / peer.seconds / row.scale,
        mine.processor / max(peer.processor, 1e-4) / row.scale,
        row.must,
        row.aim,
    )


def in_guest(count: int) -> Iterator[page.Line]:
    """Yield the rows of the guest."""
    for found in guest.measure(count):
        work, ours, name, theirs, must, aim, scale = found
        ratio = ours / theirs / scale
        mine, peer = Cost(ours, 0.0, 0), Cost(theirs, 0.0, 0)
        yield page.Line(f"{work} (guest)", mine, name, peer, ratio, None, must, aim)


def exec_table() -> str:
    """Return what system calls cost under ``kamexfrm exec``, in a namespace of its own."""
    command = ["unshare", "-n", sys.executable, "-m", "tests.bench.exec"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Run all rows, print the table and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=50000, help="policies (50000)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each (5)")
    parser.add_argument("--only", default="", help="rows whose name has this word")
    parser.add_argument("--no-guest", action="store_true", help="without what needs a guest")
    parser.add_argument("--page", type=Path, help="write the table there")
    arguments = parser.parse_args()
    began = time.monotonic()
    whole = page.Page(arguments.count, arguments.runs)
    whole.show_head()
    with tempfile.TemporaryDirectory() as folder:
        files = write_inputs(Path(folder), arguments.count)
        for row in rows(files, arguments.count):
            if arguments.only in row.work:
                whole.add(compare(row, arguments.runs))
        if not (arguments.only or arguments.no_guest):
            for line in in_guest(arguments.count):
                whole.add(line)
        if not arguments.only:
            whole.add_section("kamexfrmd", daemon.measure(files, BIN, Path(folder)))
            whole.add_section("Codecs", codec.measure())
            whole.add_block("kamexfrm exec", exec_table())
            commands = {"setkey -D": (SETKEY, "-D"), "one spdadd": (SETKEY, "-f", files["one"])}
            whole.add_section("Start", [page.imports(*one) for one in commands.items()])
    whole.add_time(time.monotonic() - began)
    if arguments.page and not arguments.only:
        arguments.page.write_text(whole.text())


if __name__ == "__main__":
    main()
