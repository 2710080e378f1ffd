"""Applying files while packets flow, and what an SA keeps: the sender never stops."""

from pathlib import Path

import pytest

from kamexfrm.engine.apply import Applied, Hooks
from kamexfrm.engine.engine import Engine
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.operator import saving
from kamexfrm.operator.wanted import read_wanted
from kamexfrm.rig import Host, TwoHosts
from tests.dataplane.dataplane_proof import ESP_KEYS, sa_counters, setkey
from tests.dataplane.test_dataplane_live import ENDS, FAMILIES, race, require


def apply(host: Host, file: Path, text: str) -> Applied:
    """Apply a text in a host; nothing of it is refused."""
    file.write_text(text)
    kernel = host.call(NetlinkKernel)
    try:
        applied = Engine(kernel).apply(read_wanted([str(file)]), Hooks())
    finally:
        kernel.close()
    assert applied.rejected == ()
    return applied


def others(family: str, action: str) -> str:
    """Return policies of the flow's own addresses that would let it pass, for other protocols."""
    left, right = ENDS[family]
    return "".join(f"spdadd {left} {right} {n} -P out {action};\n" for n in range(60, 80))


@pytest.mark.both_kernels
@FAMILIES
def test_a_flow_that_is_stopped_before_and_after_never_passes(
    two_hosts: TwoHosts, family: str, tmp_path: Path
) -> None:
    left, right = ENDS[family]
    passes = f"spdadd {left} {right} udp -P out none;\n"
    wide = f"spdadd {left} {right} any -P out ipsec esp/transport//require;\n"
    states = (
        others(family, "none") + require(family) + passes,
        passes.replace("none", "discard") + others(family, "discard"),
        wide + passes + others(family, "none"),
        require(family, "esp/transport//unique ah/transport//use") + passes,
    )
    file = tmp_path / "file"
    with race(two_hosts, family, "unconnected") as it:
        apply(two_hosts.a, file, states[0])
        it.wait_until_dropped()
        for _ in range(5):
            for state in states[1:] + states[:1]:
                apply(two_hosts.a, file, state)
            it.runs(it.dropped)
        assert it.received() == 0


@pytest.mark.dataplane
@FAMILIES
def test_a_protected_flow_stays_so_while_its_sas_and_policies_change(
    two_hosts: TwoHosts, family: str, tmp_path: Path
) -> None:
    left, right = ENDS[family]
    keep = f"add {left} {right} esp 0x900 -m transport -u 9 {ESP_KEYS};\n"
    file = tmp_path / "file"

    def state(spi: int, rest: str) -> str:
        sa = f"add {left} {right} esp {spi:#x} -m transport {ESP_KEYS};\n"
        return keep + sa + require(family, "esp/transport//use") + rest

    with race(two_hosts, family, "unconnected") as it:
        apply(two_hosts.a, file, state(0x100, others(family, "none")))
        it.runs(it.protected)
        it.received()
        for spi in range(0x101, 0x107):
            apply(two_hosts.a, file, state(spi, others(family, "none" if spi % 2 else "discard")))
            it.runs(it.protected)
        assert it.received() == 0


@pytest.mark.dataplane
def test_what_is_saved_with_its_numbers_goes_on(two_hosts: TwoHosts, tmp_path: Path) -> None:
    left, right = ENDS["inet"]
    file = tmp_path / "file"
    wide = "-r 128 -esn"
    text = (
        f"add {left} {right} esp 0x100 -m transport {wide} -lh 3600 {ESP_KEYS};\n"
        f"add {left} {right} esp 0x101 -m transport -u 5 -r 32 {ESP_KEYS};\n"
    ) + require("inet")
    with race(two_hosts, "inet", "unconnected") as it:
        apply(two_hosts.a, file, text)
        it.runs(it.protected)
        counted = sa_counters(two_hosts.a)
        assert apply(two_hosts.a, file, text).difference.is_empty
        assert all(sa_counters(two_hosts.a)[spi][0] >= n for spi, (n, _) in counted.items())
    kernel = two_hosts.a.call(NetlinkKernel)
    saved = "\n".join(saving.saved(kernel, saving.moment(), replay=True))
    setkey(two_hosts.a, "-F")
    setkey(two_hosts.a, "-FP")
    file.write_text(saved)
    setkey(two_hosts.a, "-f", str(file))
    again = "\n".join(saving.saved(kernel, saving.moment(), replay=True))
    kernel.close()
    assert " oseq " in saved
    strip = [line for line in saved.splitlines() if not line.startswith("#")]
    bare = [line for line in again.splitlines() if not line.startswith("#")]
    assert [line.partition(" -lh")[0] for line in bare] == [
        line.partition(" -lh")[0] for line in strip
    ]
    assert [line.partition("oseq")[2] for line in bare] == [
        line.partition("oseq")[2] for line in strip
    ]


@pytest.mark.dataplane
def test_an_sa_with_a_mark_takes_the_place_of_one_without(
    two_hosts: TwoHosts, tmp_path: Path
) -> None:
    """To the kernel they have one name, and both cannot be there at once."""
    left, right = ENDS["inet"]
    bare = f"add {left} {right} esp 0x100 -m transport {ESP_KEYS};\n"
    marked = bare.replace("transport", "transport mark 1")
    file = tmp_path / "file"
    for text in (bare, marked, bare):
        apply(two_hosts.a, file, text)
        assert apply(two_hosts.a, file, text).difference.is_empty
    file.write_text(f"flush;\n{marked}")
    setkey(two_hosts.a, "-f", str(file))
    assert apply(two_hosts.a, file, marked).difference.is_empty
