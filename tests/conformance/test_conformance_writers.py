"""Writers that run at once, are killed or come again: nothing is lost, twice or older than shown.

On the running kernel, by real processes: two processors race better than one.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob, SpdAdd
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import knob
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import PolicyType, SecurityPolicy, Selector, SpdEntry
from kamexfrm.net import Address
from kamexfrm.rig import Host, until
from kamexfrm.translate.xfrm.marker import MARKER_ID, MarkerFlag, read_marker
from kamexfrm.translate.xfrm.policy_from_kernel import is_ordinary, spd_entry_from_kernel

SETKEY = "from kamexfrm.setkey.command import main; raise SystemExit(main())"
SYSCTL = "from kamexfrm.sysctl.command import main; raise SystemExit(main())"
SEED = os.environ.get("KAMEXFRM_SEED", "kame")
LINES = 2000
KNOB = "net.inet.ipsec.esp_trans_deflev"


def start(host: Host, program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start one of our commands without the interpreter's site packages: it is quicker."""
    return host.start([sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE)


def finish(process: subprocess.Popen[str], script: str = "") -> tuple[str, str, int]:
    out, err = process.communicate(script, timeout=120)
    return out, err, process.returncode


@pytest.fixture
def kernel(namespace: Host) -> Iterator[NetlinkKernel]:
    """Yield the kernel of a new host, with the test inside it."""
    del namespace
    connection = NetlinkKernel()
    yield connection
    connection.close()


def line(number: int, policy: str) -> str:
    source = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return f"spdadd {source} 10.200.0.1 any -P {policy};\n"


def entries(kernel: NetlinkKernel) -> list[SpdEntry]:
    """Return our entries with the automatic twins, in the order of matching."""
    found = [spd_entry_from_kernel(p) for p in kernel.policies() if is_ordinary(p)]
    return sorted(found, key=lambda entry: entry.kernel_priority)


def numbers_are_sound(found: list[SpdEntry]) -> bool:
    """Whether no two entries, but an entry and its twin, have an order or priority in common."""
    plain = [entry for entry in found if not entry.twin]
    orders = {entry.order for entry in plain}
    priorities = {entry.kernel_priority for entry in plain}
    return len(orders) == len(priorities) == len(plain)


def test_eight_processes_at_once_lose_nothing_and_give_no_number_twice(
    namespace: Host, kernel: NetlinkKernel
) -> None:
    each, writers = 500, 8
    scripts = [
        "".join(line(w * each + n, "in none" if n % 5 == 0 else "out none") for n in range(each))
        for w in range(writers)
    ]
    processes = [start(namespace, SETKEY, "-c") for _ in scripts]
    for process, script in zip(processes, scripts, strict=True):
        assert process.stdin
        process.stdin.write(script)
        process.stdin.close()
        process.stdin = None
    for process in processes:
        assert finish(process) == ("", "", 0)
    found = entries(kernel)
    plain = [entry for entry in found if not entry.twin]
    assert {e.policy.selector.source.packed for e in plain} == {
        Address.parse(f"10.0.{n >> 8}.{n & 255}").packed for n in range(each * writers)
    }
    assert len(plain) == each * writers
    assert len(found) - len(plain) == each * writers // 5
    assert numbers_are_sound(found)
    # Of each process, the first line comes first.
    for w in range(writers):
        mine = [e for e in plain if w * each <= _number(e) < (w + 1) * each]
        assert [_number(e) for e in mine] == sorted(_number(e) for e in mine)


def _number(entry: SpdEntry) -> int:
    return int.from_bytes(entry.policy.selector.source.packed[1:], "big")


def _killed_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill a process unless it ends within so many seconds; return whether it was killed."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def test_a_killed_load_leaves_what_the_next_command_reads_and_a_second_load_completes(
    namespace: Host, kernel: NetlinkKernel, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    script = "".join(
        line(n, "in ipsec esp/transport//default" if n % 2 else "out none") for n in range(LINES)
    )
    file = tmp_path / "policies"
    file.write_text(script, encoding="ascii")
    begin = time.monotonic()
    namespace.run([sys.executable, "-c", SETKEY, "-f", str(file)], check=True)
    whole = time.monotonic() - begin
    killed = 0
    while killed < 5:
        namespace.run([sys.executable, "-c", SETKEY, "-FP"], check=True)
        process = start(namespace, SETKEY, "-f", str(file))
        if _killed_after(process, dice.uniform(whole / 5, whole)):
            killed += 1
        else:
            whole *= 0.8  # it was measured when the machine had more to do
        left = entries(kernel)
        assert numbers_are_sound(left)
        shown = namespace.run([sys.executable, "-c", SETKEY, "-DP"], check=True).stdout
        assert shown.count("created: ") == len(left)
        again = namespace.run([sys.executable, "-c", SETKEY, "-f", str(file)])
        refused = again.stderr.count("File exists")
        assert refused == sum(not entry.twin for entry in left)
        found = entries(kernel)
        plain = [entry for entry in found if not entry.twin]
        assert [_number(entry) for entry in plain] == list(range(LINES))
        assert len(found) == LINES + LINES // 2
        assert numbers_are_sound(found)


def test_a_killed_write_of_a_knob_is_completed_by_the_next_command(
    namespace: Host, kernel: NetlinkKernel
) -> None:
    dice = random.Random(SEED)
    script = "".join(line(n, "out ipsec esp/transport//default") for n in range(LINES))
    assert finish(start(namespace, SETKEY, "-c"), script)[2] == 0
    value = 1
    for n in range(12):
        value = 3 - value
        _killed_after(start(namespace, SYSCTL, f"{KNOB}={value}"), dice.uniform(0.04, 0.3))
        marker = read_marker(kernel.policy(MARKER_ID))
        assert marker
        in_force = marker.knobs.inet.esp_trans_deflev
        optional = {t.optional for p in kernel.policies() for t in p.templates}
        if optional != {int(in_force == 1)}:
            assert marker.flags & MarkerFlag.UNFINISHED  # half done, and that can be seen
        done = finish(start(namespace, SETKEY, "-c"), line(LINES + n, "out none"))
        assert done == ("", "", 0)
        marker = read_marker(kernel.policy(MARKER_ID))
        assert marker
        assert not marker.flags & MarkerFlag.UNFINISHED
        assert marker.knobs.inet.esp_trans_deflev == in_force
        optional = {t.optional for p in kernel.policies() for t in p.templates}
        assert optional == {int(in_force == 1)}
        value = in_force


def test_nothing_that_rewrites_an_entry_prolongs_its_life_or_changes_its_creation(
    kernel: NetlinkKernel,
) -> None:
    lifetime = 6
    engine = Engine(kernel)

    def add(last: int, text: str, life: int = 0, priority: int = 0) -> None:
        policy = parse_policy(text)
        assert policy.type is not None
        ends = (Address.parse("10.0.0.1"), 32, Address.parse(f"10.2.0.{last}"), 32)
        entry = SecurityPolicy(
            Selector(*ends), policy.direction, policy.type, policy.requests, lifetime=life
        )
        engine.submit(SpdAdd(entry._replace(priority=entry.priority - priority)))
        engine.flush()

    add(1, "out ipsec esp/transport//default", lifetime)
    add(2, "out ipsec esp/tunnel/10.0.0.1-10.0.0.2/default ah/transport//require", lifetime)
    add(3, "in ipsec esp/transport//default", lifetime)
    born = {e.id: e.created for e in engine.spd()}
    count = len(born)
    level = 1
    place = 10
    while True:
        level = 3 - level
        for name in (KNOB, "net.inet.ipsec.esp_net_deflev"):
            engine.submit(SetKnob(knob(name), level))
        engine.flush()
        if place < 200:  # between two neighbours: in the end all numbers are given again
            place += 1
            add(place, "out none", 0, 1 + place % 2)
        left = [p for p in kernel.policies() if is_ordinary(p) and p.index in born]
        for policy in left:
            assert spd_entry_from_kernel(policy).created == born[policy.index]
            ends = policy.current.add_time + policy.lifetime.hard_add
            assert ends <= born[policy.index] + lifetime + 1
        if not left:
            break
    assert count == 4
    until(lambda: all(e.policy.type is PolicyType.NONE for e in engine.spd()), what="the end")
