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
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from kamexfrm.rig import GuestError, guest_debian, guest_kernel, run_in_guest

HERE = Path(__file__).resolve().parents[2]
ROWS = HERE / "docs" / "kernels.json"
PAGE = HERE / "docs" / "kernels.md"


class Part(NamedTuple):
    """Test files that run together.

    ``on_machines`` is whether they run on kernels for machines too, ``without_af_key`` whether on a
    kernel without AF_KEY. Those that draw at random have ``draws``, the variables with how many
    cases, and a seed that no run had before.
    """

    tests: tuple[str, ...]
    on_machines: bool = False
    without_af_key: bool = False
    draws: tuple[tuple[str, str], ...] = ()


#: Parts by their names.
PARTS = {
    "gallery": Part(("tests/rig/test_gallery.py",), on_machines=True),
    "golden": Part(("tests/golden",), without_af_key=True),
    "kernel": Part(("tests/kernel",)),
    "server": Part(("tests/hub",), without_af_key=True),
    "exec": Part(("tests/exec",), on_machines=True, without_af_key=True),
    "order": Part(("tests/dataplane/test_dataplane_order.py",), on_machines=True),
    "iked": Part(("tests/dataplane/test_dataplane_ike.py",), on_machines=True, without_af_key=True),
    "leaks": Part(("tests/conformance/test_conformance_leaks.py",), on_machines=True),
    "random": Part(
        (
            "tests/conformance/test_conformance_random.py",
            "tests/conformance/test_conformance_loads.py",
            "tests/conformance/test_conformance_differences.py",
        ),
        draws=(("KAMEXFRM_CASES", "3000"), ("KAMEXFRM_LOADS", "3000")),
    ),
    "dataplane": Part(("tests/dataplane",), without_af_key=True),
    "conformance": Part(("tests/conformance",)),
}

SUITES = ("bullseye", "bookworm", "trixie", "sid")

#: A kernel whose module af_key is hidden.
WITHOUT_AF_KEY = "debian:bookworm without AF_KEY"

KERNELS = (
    *(f"debian:{suite}" for suite in SUITES),
    WITHOUT_AF_KEY,
    *(f"debian-image:{suite}" for suite in SUITES),
)

#: Seconds that a part may take: in User-Mode-Linux, and emulated.
_PATIENCE = (5400, 10800)

_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped)")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - .*)?$", re.MULTILINE)


class Row(NamedTuple):
    """A part's result on a kernel; ``not_passed`` are the tests that did not pass.

    ``late`` of those that passed have done so at the second try. ``seed`` is of what was drawn at
    random.
    """

    kernel: str
    release: str
    part: str
    date: str
    commit: str
    passed: int
    failed: int
    seconds: int
    not_passed: tuple[str, ...]
    skipped: int = 0
    late: int = 0
    seed: str = ""


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
    hidden = kernel == WITHOUT_AF_KEY
    try:
        program = without_af_key(kernel.split()[0]) if hidden else kernel
        emulated = guest_kernel.find(program).emulated
        with tempfile.TemporaryFile() as out:
            run_in_guest(["uname", "-r"], program=program, stdout=out, timeout=600)
            out.seek(0)
            release = out.read().decode().strip()
    except GuestError as error:
        print(f"{kernel}: {error}", file=sys.stderr)
        return
    for name in parts:
        part = PARTS[name]
        if (part.on_machines or not emulated) and (part.without_af_key or not hidden):
            yield run_part(kernel, program, release, name, _PATIENCE[emulated])


def without_af_key(word: str) -> str:
    """Return the path of a kernel of Debian's beside modules of which af_key is not one."""
    found = guest_kernel.find(word)
    assert found.modules is not None
    folder = HERE / "build" / "kernels" / "without-af_key"
    shutil.rmtree(folder, ignore_errors=True)
    modules = folder / "modules" / found.modules.name
    shutil.copytree(found.modules, modules)
    for path in modules.rglob("af_key.ko*"):
        path.unlink()
    guest_debian.list_modules(modules)
    return str(shutil.copy2(found.program, folder))


def run_part(kernel: str, program: str, release: str, name: str, patience: int) -> Row:
    """Run the tests of a part in a guest with a kernel, and once more those that did not pass.

    What passes then has failed for lack of time: the machine is busy, or the kernel is emulated.
    """
    part = PARTS[name]
    seed = secrets.token_hex(4) if part.draws else ""
    drawn = {**dict(part.draws), "KAMEXFRM_SEED": seed} if seed else {}
    environment = {**os.environ, guest_kernel.KERNEL: program, **drawn}
    begin = datetime.datetime.now(datetime.UTC)
    first = again = _run(part.tests, environment, patience)
    log = first.output
    if first.not_passed:
        again = _run(first.not_passed, environment, patience)
        log += again.output
    _log_of(kernel, name).write_text(log, encoding="utf-8")
    late = again.passed if first.not_passed else 0
    return Row(
        kernel,
        release,
        name,
        f"{begin:%Y-%m-%d}",
        _commit(),
        first.passed + late,
        again.failed,
        int((datetime.datetime.now(datetime.UTC) - begin).total_seconds()),
        again.not_passed,
        first.skipped,
        late,
        seed,
    )


class _Run(NamedTuple):
    """What pytest has said."""

    output: str
    passed: int
    failed: int
    skipped: int
    not_passed: tuple[str, ...]


def _run(tests: Iterable[str], environment: dict[str, str], patience: int) -> _Run:
    """Run tests in a guest."""
    words = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*words, "--all-in-guest", f"--guest-timeout={patience}", *tests],
        check=False,
        cwd=HERE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    counts = {kind.rstrip("s"): int(n) for n, kind in _COUNT.findall(done.stdout[-300:])}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    return _Run(
        done.stdout,
        counts.get("passed", 0),
        failed if failed or done.returncode == 0 else 1,
        counts.get("skipped", 0),
        tuple(dict.fromkeys(_FAILED.findall(done.stdout))),
    )


def _commit() -> str:
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        check=False,
        cwd=HERE,
        capture_output=True,
        text=True,
    ).stdout.strip()


def _log_of(kernel: str, part: str) -> Path:
    folder = HERE / "build" / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{re.sub('[:/ ]', '-', kernel)}-{part}.log"


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
`N of M` says that some did not, and they are below; those that passed at a second try had failed
for lack of time, on a busy machine. What is empty was not run. The part `random`
is 3,000 random packets, 3,000 random files of setkey with a packet each, which must print nothing
that they do not print on Linux 6.1, six tests each, and each known difference from KAME by itself;
each run draws others.

`debian:SUITE` is User-Mode-Linux of a Debian suite; `without AF_KEY` it lacks that module, and what
compares with AF_KEY is skipped. `debian-image:SUITE` is its kernel for machines, under QEMU with
two emulated processors, where the short parts run. What is known to differ between kernels is in
ipsec(4) under CAVEATS; the tests know it, so it is no failure.
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
    text = str(row.passed) if not row.failed else f"{row.passed} of {row.passed + row.failed}"
    text += f", {row.late} at the second try" if row.late else ""
    return f"{text}, {row.skipped} skipped" if row.skipped else text


if __name__ == "__main__":
    sys.exit(main())
