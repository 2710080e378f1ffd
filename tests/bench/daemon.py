"""kamexfrmd beside many entries: idle, and while another program changes them all."""

import os
import time
from pathlib import Path

from tests.bench.namespace import Namespace

_TICK = os.sysconf("SC_CLK_TCK")
_IDLE = 5.0


def _processor(pid: int) -> float:
    """Return the seconds of a processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _memory(pid: int) -> tuple[float, float]:
    """Return a process's resident memory now and at most, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return tuple(int(found[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]  # two


def _settle(pid: int) -> float:
    """Wait until a process does nothing for a second; return what it has used."""
    used = _processor(pid)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(1)
        now = _processor(pid)
        if now == used:
            return now
        used = now
    return used


def measure(files: dict[str, str], programs: Path, folder: Path) -> list[str]:
    """Return lines on what kamexfrmd costs beside the double load."""
    lines = []
    with Namespace() as namespace:
        namespace.run(str(programs / "setkey"), "-f", files["double"])
        pid = namespace.start(str(programs / "kamexfrmd"), output=str(folder / "log"))
        before = _settle(pid)
        time.sleep(_IDLE)
        idle = _processor(pid) - before
        now, most = _memory(pid)
        lines.append(
            f"idle beside twice the policies: {idle * 1e3 / _IDLE:.1f} ms of a processor a second,"
            f" {now:.0f} MB, {most:.0f} MB at most; its start took {before:.2f} s of a processor"
        )
        namespace.stop(pid)
    with Namespace() as namespace:
        pid = namespace.start(str(programs / "kamexfrmd"), output=str(folder / "log"))
        before = _settle(pid)
        storm = namespace.run("ip", "-batch", files["ip"])
        used = _settle(pid) - before
        now, most = _memory(pid)
        lines.append(
            f"a storm of that many policies by `ip -batch`, which used {storm.processor:.2f} s of a"
            f" processor: {used:.2f} s, {now:.0f} MB, {most:.0f} MB at most"
        )
        namespace.stop(pid)
    return lines
