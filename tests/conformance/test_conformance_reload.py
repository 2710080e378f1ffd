"""A reload under a flow: what is protected or dropped before and after is never in the clear."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kamexfrm.net import Address
from kamexfrm.rig import TwoHosts
from tests.conformance.test_conformance_leaks import ENDS, FAMILIES, Flow, flow

SETKEY = [sys.executable, "-m", "kamexfrm.setkey"]
KEYS = "-E aes-gcm-16 0x000102030405060708090a0b0c0d0e0f10111213"

#: Policies that do not concern the flow, so that a reload takes a while.
OTHERS = "".join(
    f"spdadd 10.9.{at >> 8}.{at & 255} 10.8.0.1 any -P out none;\n" for at in range(1000)
)

#: What is written between reloads, so that entries change their places too.
SHUFFLES = 5


def reload(it: Flow, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "a.conf"
    path.write_text(text)
    command = [*SETKEY, "-f", str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def policies(family: str, level: str = "require") -> str:
    near, far = ENDS[family]
    return (
        f"spdadd {near} {far} any -P out ipsec esp/transport//{level};\n"
        f"spdadd {far} {near} any -P in ipsec esp/transport//{level};\n"
    )


@pytest.mark.both_kernels
@FAMILIES
@pytest.mark.parametrize("first", ["spdflush;\n", "flush;\nspdflush;\n"], ids=["spd", "both"])
def test_a_reload_lets_nothing_pass_in_clear(
    two_hosts: TwoHosts, tmp_path: Path, family: str, first: str
) -> None:
    with flow(two_hosts, family) as it:
        for text in (OTHERS + policies(family), policies(family) + OTHERS):
            assert reload(it, first + text, tmp_path).stderr == ""
            it.runs(it.dropped)
            it.leaks()
            for _ in range(SHUFFLES):
                assert reload(it, first + text, tmp_path).stderr == ""
                it.runs(it.dropped)
            assert it.leaks() == 0


@pytest.mark.both_kernels
@FAMILIES
def test_entries_that_change_their_places_let_nothing_pass_in_clear(
    two_hosts: TwoHosts, tmp_path: Path, family: str
) -> None:
    near, far = ENDS[family]
    bits = Address.parse(near).bits
    mine = policies(family).splitlines(keepends=True)
    wide = f"spdadd {near}/{bits - 8} {far}/{bits - 8} any -P out none;\n"
    lines = [*mine, *OTHERS.splitlines(keepends=True)[:200]]
    dice = random.Random(7)
    with flow(two_hosts, family) as it:
        assert reload(it, "spdflush;\n" + "".join([*lines, wide]), tmp_path).stderr == ""
        it.runs(it.dropped)
        it.leaks()
        for _ in range(4 * SHUFFLES):
            dice.shuffle(lines)
            kept = [line for line in lines if line in mine or dice.random() < 0.7]
            assert reload(it, "spdflush;\n" + "".join([*kept, wide]), tmp_path).stderr == ""
            it.runs(it.dropped)
        assert it.leaks() == 0


@pytest.mark.both_kernels
@FAMILIES
def test_an_entry_that_is_deleted_and_added_again_lets_nothing_pass_in_clear(
    two_hosts: TwoHosts, tmp_path: Path, family: str
) -> None:
    near, far = ENDS[family]
    delete = f"spddelete {near} {far} any -P out;\nspddelete {far} {near} any -P in;\n"
    with flow(two_hosts, family) as it:
        assert reload(it, policies(family), tmp_path).stderr == ""
        it.runs(it.dropped)
        it.leaks()
        for _ in range(4 * SHUFFLES):
            assert reload(it, delete + policies(family), tmp_path).stderr == ""
        assert it.leaks() == 0


@pytest.mark.both_kernels
@FAMILIES
def test_a_mistake_behind_a_flush_leaves_everything_as_it_is(
    two_hosts: TwoHosts, tmp_path: Path, family: str
) -> None:
    with flow(two_hosts, family) as it:
        assert reload(it, policies(family), tmp_path).stderr == ""
        it.runs(it.dropped)
        it.leaks()
        before = [entry.id for entry in it.engine.spd()]
        done = reload(it, "flush;\nspdflush;\nspdad x;\n" + policies(family), tmp_path)
        assert done.returncode == 1
        assert "nothing was changed" in done.stderr
        assert [entry.id for entry in it.engine.spd()] == before
        it.runs(it.dropped)
        assert it.leaks() == 0


@pytest.mark.both_kernels
@FAMILIES
def test_a_reload_that_is_killed_leaves_the_old_policies_or_the_new_ones(
    two_hosts: TwoHosts, tmp_path: Path, family: str
) -> None:
    text = "flush;\nspdflush;\n" + OTHERS + policies(family)
    path = tmp_path / "a.conf"
    path.write_text(text)
    dice = random.Random(11)
    with flow(two_hosts, family) as it:
        assert reload(it, text, tmp_path).stderr == ""
        it.runs(it.dropped)
        it.leaks()
        for _ in range(12):
            process = subprocess.Popen([*SETKEY, "-f", str(path)])
            try:
                process.wait(dice.uniform(0.05, 0.5))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            it.runs(it.dropped)
        assert reload(it, text, tmp_path).stderr == ""
        assert len(list(it.engine.spd())) == 1003
        assert it.leaks() == 0


@pytest.mark.dataplane
@FAMILIES
@pytest.mark.parametrize("level", ["require", "use"])
def test_sas_that_come_again_go_on_protecting(
    two_hosts: TwoHosts, tmp_path: Path, family: str, level: str
) -> None:
    near, far = ENDS[family]
    text = (
        "flush;\nspdflush;\n"
        f"add {near} {far} esp 0x1001 {KEYS};\nadd {far} {near} esp 0x1002 -lh 3600 {KEYS};\n"
        + policies(family, level)
    )
    with flow(two_hosts, family) as it:
        assert reload(it, text, tmp_path).stderr == ""
        it.runs(it.protected)
        it.leaks()
        for _ in range(4 * SHUFFLES):
            assert reload(it, text, tmp_path).stderr == ""
            it.runs(it.protected)
        assert it.leaks() == 0
        assert it.dropped() == 0


@pytest.mark.dataplane
def test_sas_that_get_other_keys_let_nothing_pass_in_clear(
    two_hosts: TwoHosts, tmp_path: Path
) -> None:
    near, far = ENDS["inet"]
    texts = [
        "flush;\nspdflush;\n"
        f"add {near} {far} esp 0x1001 {KEYS[:-2]}{at:02};\n"
        f"add {far} {near} esp 0x1002 {KEYS};\n" + policies("inet", "use")
        for at in range(2)
    ]
    with flow(two_hosts, "inet") as it:
        assert reload(it, texts[0], tmp_path).stderr == ""
        it.runs(it.protected)
        it.leaks()
        for number in range(SHUFFLES):
            assert reload(it, texts[number % 2], tmp_path).stderr == ""
        it.runs(it.protected)
        assert it.leaks() == 0


@pytest.mark.dataplane
def test_a_foreign_sa_with_a_mark_goes_with_a_flush(two_hosts: TwoHosts, tmp_path: Path) -> None:
    near, far = ENDS["inet"]
    path = tmp_path / "a.conf"
    path.write_text(f"flush;\nadd {near} {far} esp 0x1001 {KEYS};\n")
    name = ["src", near, "dst", far, "proto", "esp", "spi", "0x2002", "mark", "5", "mask", "0xff"]
    cipher = ["mode", "transport", "enc", "cbc(aes)", "0x" + bytes(range(16)).hex()]
    two_hosts.a.run(["ip", "xfrm", "state", "add", *name, *cipher])
    two_hosts.a.run([*SETKEY, "-f", str(path)])
    states = two_hosts.a.run(["ip", "xfrm", "state"]).stdout
    assert "0x00001001" in states
    assert "0x00002002" not in states
