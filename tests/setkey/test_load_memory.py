"""The memory of a load: it grows with the file, and no faster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kamexfrm.rig import Namespace

pytestmark = pytest.mark.not_unit("makes network namespaces")

LINES = 80_000
#: Starts a command, and prints the most memory that it had, in bytes: the parent is small, since
#: what it has counts as the child's until that is the command.
MEASURE = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def lines(level: str, priorities: bool) -> str:
    def line(at: int) -> str:
        source = f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}"
        direction = "in" if at & 1 else "out"
        priority = "prio low " if priorities and at % 3 == 0 else ""
        return (
            f"spdadd {source} 10.200.0.1 any -P {direction} {priority}"
            f"ipsec esp/transport//{level};\n"
        )

    return "spdflush;\n" + "".join(map(line, range(LINES)))


def most_memory(file: Path) -> int:
    setkey = Path(sys.executable).parent / "setkey"
    command = [sys.executable, "-SEc", MEASURE, str(setkey), "-f", str(file)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_a_load_takes_at_most_one_and_a_half_times_its_file(tmp_path: Path) -> None:
    empty, first, other, mixed = (tmp_path / name for name in ("empty", "first", "other", "mixed"))
    empty.write_text("spdflush;\n")
    first.write_text(lines("require", priorities=False))
    other.write_text(lines("use", priorities=False))
    mixed.write_text(lines("use", priorities=True))
    for files in ((first, other), (mixed,)):
        namespace = Namespace()
        with namespace.enter():
            least = most_memory(empty)
            for file in files:
                growth = most_memory(file) - least
                assert growth < 1.5 * os.path.getsize(file), file.name
        namespace.close()
