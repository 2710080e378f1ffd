"""The bench's table, on the terminal and as a page."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench.namespace import Cost


class Line(NamedTuple):
    """A row of the table: ratios by the clock and by processor time, and what they should be."""

    work: str
    ours: Cost
    peer_name: str
    peer: Cost
    ratio: float
    processor_ratio: float | None
    must: float | None
    aim: float | None


def machine() -> str:
    """Return what the machine is, in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    return (
        f"{model}, {os.cpu_count()} processors, load {load}; Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def imports(title: str, command: Sequence[str]) -> str:
    """Return what a command loads, from ``python -X importtime``."""
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-X", "importtime", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[tuple[str, int]] = []
    for line in done.stderr.splitlines():
        own, _, name = (word.strip() for word in line.removeprefix("import time:").split("|"))
        if own.isdigit():
            found.append((name, int(own)))
    after = [name for name, _ in found].index("site") + 1
    theirs = [(n, t) for n, t in found[after:] if not n.startswith("kamexfrm")]
    ours = [(n, t) for n, t in found[after:] if n.startswith("kamexfrm")]
    return (
        f"`{title}` loads {len(ours)} modules of kamexfrm in {sum(t for _, t in ours) / 1e3:.1f}"
        f" ms and {len(theirs)} of Python's in {sum(t for _, t in theirs) / 1e3:.1f} ms: "
        + ", ".join(f"{n} {t / 1e3:.1f}" for n, t in sorted(theirs, key=lambda each: -each[1])[:6])
        + "; of ours "
        + ", ".join(f"{n} {t / 1e3:.1f}" for n, t in sorted(ours, key=lambda each: -each[1])[:6])
        + "."
    )


#: What `make benchdata` found, and what follows from it; the rest of the page does not.
PACKETS = Path(__file__).with_name("packets.md")


def _amount(cost: Cost) -> str:
    """Return a time, and the memory where it is known."""
    seconds = cost.seconds
    if seconds < 1e-3:
        time = f"{seconds * 1e6:.0f} us"
    else:
        time = f"{seconds * 1e3:,.{int(seconds < 0.01)}f} ms"
    return f"{time} {cost.memory / 1024:.0f} MB" if cost.memory else time


def _cell(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"


class Page:
    """The lines as they come; ``text`` is all of them as Markdown."""

    def __init__(self, count: int, runs: int) -> None:
        today = time.strftime("%Y-%m-%d")
        self._about = f"{today}, medians of {runs} runs, {count:,} policies.\n{machine()}."
        self._rows: list[str] = []
        self._sections: list[str] = []

    def show_head(self) -> None:
        """Print what stands above the table."""
        print(self._about)
        print(
            f"{'work':40}{'ours':>18}  {'peer':>34}{'ratio':>7}{'cpu':>6}{'must':>6}{'aim':>6}",
            flush=True,
        )

    def add(self, line: Line) -> None:
        """Print a row and keep it."""
        ours, theirs = _amount(line.ours), _amount(line.peer)
        numbers = (line.ratio, line.processor_ratio, line.must, line.aim)
        ratio, processor, must, aim = map(_cell, numbers)
        print(
            f"{line.work:40}{ours:>18}  {line.peer_name + ' ' + theirs:>34}"
            f"{ratio:>7}{processor:>6}{must:>6}{aim:>6}",
            flush=True,
        )
        self._rows.append(
            f"| {line.work} | {ours} | {line.peer_name} | {theirs} | {ratio} | {processor} |"
            f" {must} | {aim} |"
        )

    def add_section(self, title: str, lines: list[str]) -> None:
        """Print lines under a heading and keep them."""
        print("", title, *lines, sep="\n", flush=True)
        self._sections.append("\n".join([f"## {title}", "", *(f"* {line}" for line in lines), ""]))

    def add_block(self, title: str, text: str) -> None:
        """Print a text as it is under a heading and keep it."""
        print("", title, text, sep="\n", flush=True)
        self._sections.append(f"## {title}\n\n```\n{text.rstrip()}\n```\n")

    def add_time(self, seconds: float) -> None:
        """Print and keep how long all took."""
        self._about += f" All of it took {seconds / 60:.0f} minutes."
        print(f"\n{seconds:.0f} s")

    def text(self) -> str:
        """Return the page."""
        return "\n".join(
            [
                "# Speed",
                "",
                "Written by `make bench`; do not edit. Each row compares our command with its peer"
                " in the same run: the ratio of",
                "the times by the clock and by processor time, what it must be, and what it should"
                " be.",
                "",
                self._about.replace("\n", "\n\n"),
                "",
                "| work | ours | peer | peer's | ratio | cpu | must | aim |",
                "|---|---|---|---|---|---|---|---|",
                *self._rows,
                "",
                *self._sections,
                PACKETS.read_text(),
            ]
        )
