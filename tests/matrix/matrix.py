"""Runs the tests that need a kernel on other kernels, one after the other: ``make kernels``.

Each part, a few test files, runs whole in a guest with the kernel. What passed and failed is
written to docs/kernels.json, a row for each kernel and part, and docs/kernels.md is made of that.
User-Mode-Linux kernels run all parts; kernels for machines run the short ones, since QEMU's
emulation is slow.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from kamexfrm.rig import GuestError, guest_kernel, run_in_guest

HERE = Path(__file__).resolve().parents[2]
ROWS = HERE / "docs" / "kernels.json"
PAGE = HERE / "docs" / "kernels.md"

#: Parts by their names: the tests, and whether they run on kernels for machines too.
PARTS = {
    "gallery": (["tests/rig/test_gallery.py"], True),
    "golden": (["tests/golden"], False),
    "kernel": (["tests/kernel"], False),
    "server": (["tests/hub"], False),
    "exec": (["tests/exec"], True),
    "order": (["tests/dataplane/test_dataplane_order.py"], True),
    "iked": (["tests/dataplane/test_dataplane_ike.py"], True),
    "leaks": (["tests/conformance/test_conformance_leaks.py"], True),
    "random": (
        [
            "tests/conformance/test_conformance_random.py",
            "tests/conformance/test_conformance_differences.py",
        ],
        False,
    ),
    "dataplane": (["tests/dataplane"], False),
    "conformance": (["tests/conformance"], False),
}

SUITES = ("bullseye", "bookworm", "trixie", "sid")
KERNELS = (
    *(f"debian:{suite}" for suite in SUITES),
    *(f"debian-image:{suite}" for suite in SUITES),
)

#: Seconds that a part may take: in User-Mode-Linux, and emulated.
_PATIENCE = (5400, 10800)

_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped)")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - .*)?$", re.MULTILINE)


class Row(NamedTuple):
    """A part's result on a kernel; ``not_passed`` are the tests that did not pass."""

    kernel: str
    release: str
    part: str
    date: str
    commit: str
    passed: int
    failed: int
    seconds: int
    not_passed: tuple[str, ...]


def main() -> int:
    """Run what the command line names, or all; return whether something failed."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--kernel", action="append", help="as for kamexfrm guest; all of Debian's")
    parser.add_argument("--part", action="append", choices=PARTS, help="all, unless given")
    parser.add_argument("--table", action="store_true", help="only make docs/kernels.md")
    options = parser.parse_args()
    failed = False
    for kernel in () if options.table else options.kernel or KERNELS:
        for row in run_kernel(kernel, options.part or list(PARTS)):
            print(f"{row.kernel} {row.part}: {row.passed} passed, {row.failed} failed", flush=True)
            failed |= row.failed > 0
            write_rows([*(r for r in read_rows() if r[:3:2] != row[:3:2]), row])
    PAGE.write_text(page(read_rows()), encoding="utf-8")
    return int(failed)


def run_kernel(kernel: str, parts: Iterable[str]) -> Iterable[Row]:
    """Run parts on a kernel; yield a row for each."""
    try:
        emulated = guest_kernel.find(kernel).emulated
        with tempfile.TemporaryFile() as out:
            run_in_guest(["uname", "-r"], program=kernel, stdout=out, timeout=600)
            out.seek(0)
            release = out.read().decode().strip()
    except GuestError as error:
        print(f"{kernel}: {error}", file=sys.stderr)
        return
    for part in parts:
        tests, on_machines = PARTS[part]
        if not emulated or on_machines:
            yield run_part(kernel, release, part, tests, _PATIENCE[emulated])


def run_part(kernel: str, release: str, part: str, tests: list[str], patience: int) -> Row:
    """Run the tests of a part in a guest with a kernel."""
    words = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider"]
    words += ["--all-in-guest", f"--guest-timeout={patience}", *tests]
    begin = datetime.datetime.now(datetime.UTC)
    done = subprocess.run(
        words,
        check=False,
        cwd=HERE,
        env={**os.environ, guest_kernel.KERNEL: kernel},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    log = HERE / "build" / "kernels" / f"{kernel.replace(':', '-').replace('/', '-')}-{part}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(done.stdout, encoding="utf-8")
    counts = {kind.rstrip("s"): int(n) for n, kind in _COUNT.findall(done.stdout[-300:])}
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        check=False,
        cwd=HERE,
        capture_output=True,
        text=True,
    ).stdout.strip()
    failed = counts.get("failed", 0) + counts.get("error", 0)
    return Row(
        kernel,
        release,
        part,
        f"{begin:%Y-%m-%d}",
        commit,
        counts.get("passed", 0),
        failed if failed or done.returncode == 0 else 1,
        int((datetime.datetime.now(datetime.UTC) - begin).total_seconds()),
        tuple(_FAILED.findall(done.stdout)),
    )


def read_rows() -> list[Row]:
    """Read docs/kernels.json."""
    if not ROWS.exists():
        return []
    found: list[dict[str, Any]] = json.loads(ROWS.read_text(encoding="utf-8"))
    return [Row(**{**row, "not_passed": tuple(row["not_passed"])}) for row in found]


def write_rows(rows: Iterable[Row]) -> None:
    """Write docs/kernels.json, in the order of KERNELS and PARTS."""
    order = (*KERNELS, *sorted({row.kernel for row in rows} - {*KERNELS}))
    names = list(PARTS)
    found = sorted(rows, key=lambda row: (order.index(row.kernel), names.index(row.part)))
    text = ",\n".join(json.dumps(row._asdict()) for row in found)
    ROWS.write_text(f"[\n{text}\n]\n", encoding="utf-8")


_HEAD = """# Kernels

What was run on which kernel, and when. `make kernels` makes this page from
[kernels.json](kernels.json); it is not edited by hand. A number is that of tests that passed;
`N of M` says that some did not, and they are below. What is empty was not run. The part `random`
is 8,000 random packets in six tests, and each known difference from KAME by itself.

`debian:SUITE` is User-Mode-Linux of a Debian suite. `debian-image:SUITE` is its kernel for
machines, under QEMU with two emulated processors, where the short parts run. What is known to
differ between kernels is in ipsec(4) under CAVEATS; the tests know it, so it is no failure.
"""


def page(rows: Iterable[Row]) -> str:
    """Return docs/kernels.md."""
    rows = list(rows)
    kernels = list(dict.fromkeys((row.kernel, row.release) for row in rows))
    parts = [part for part in PARTS if any(row.part == part for row in rows)]
    lines = [
        _HEAD,
        f"| kernel | Linux | {' | '.join(parts)} | run |",
        "|---" * (len(parts) + 3) + "|",
    ]
    for kernel, release in kernels:
        mine = {row.part: row for row in rows if (row.kernel, row.release) == (kernel, release)}
        cells = [_cell(mine.get(part)) for part in parts]
        dates = sorted({row.date for row in mine.values()})
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        lines.append(f"| `{kernel}` | {release} | {' | '.join(cells)} | {when} |")
    failures = [(row, test) for row in rows for test in row.not_passed]
    if failures:
        lines += ["", "Not passed:", ""]
        lines += [f"* `{row.kernel}`, {row.part}: `{test}`" for row, test in failures]
    return "\n".join([*lines, ""])


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    return str(row.passed) if not row.failed else f"{row.passed} of {row.passed + row.failed}"


if __name__ == "__main__":
    sys.exit(main())
