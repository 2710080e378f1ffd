"""Policies of other programs are taken over in place, and ours given up, with the same effect."""

import subprocess

import pytest

from kamexfrm.engine import ownership
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob, SpdAdd, SpdDelete
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import knob
from kamexfrm.model.policy import Direction, Level, Owner, SpdEntry
from kamexfrm.model.statement_text import policy_statement
from kamexfrm.setkey.parser import Parser

AF_KEYS = """
xfrm policy add src 10.0.0.1/32 dst 10.0.0.2/32 dir out priority 2147483648 {transport}
xfrm policy add src 10.0.0.2/32 dst 10.0.0.1/32 dir in priority 2147483648 {transport}
xfrm policy add src 10.0.0.2/32 dst 10.0.0.1/32 dir fwd priority 2147483648 {transport}
xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 375423 {tunnel}
xfrm policy add src 10.2.0.0/16 dst 10.1.0.0/16 dir in priority 375423 {back}
xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir out action block priority 2147483648
xfrm policy add src 10.9.0.0/16 dst 10.4.0.0/16 proto tcp sport 80 dir out priority 5
""".format(
    transport="tmpl proto esp mode transport level use",
    tunnel="tmpl src 1.1.1.1 dst 2.2.2.2 proto esp mode tunnel reqid 7",
    back="tmpl src 2.2.2.2 dst 1.1.1.1 proto esp mode tunnel reqid 7",
)

ADOPTED = [
    "spdadd 10.9.0.0/16[80] 10.4.0.0/16 tcp -P out prio high + 1073741819 none;",
    "spdadd 10.1.0.0/16 10.2.0.0/16 any -P out prio high + 1073366401"
    " ipsec esp/tunnel/1.1.1.1-2.2.2.2/unique:7;",
    "spdadd 10.2.0.0/16 10.1.0.0/16 any -P in prio high + 1073366401"
    " ipsec esp/tunnel/2.2.2.2-1.1.1.1/unique:7;",
    "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//use;",
    "spdadd 10.0.0.2 10.0.0.1 any -P in ipsec esp/transport//use;",
    "spdadd 10.0.0.0/8 10.0.0.0/8 any -P out discard;",
]

LEFT = {
    "a mark": "xfrm policy add src 10.9.0.0/16 dst 10.3.0.0/16 dir out mark 5 priority 5",
    "an interface": "xfrm policy add src 10.9.0.0/16 dst 10.3.0.0/16 dir out if_id 5",
    "a sub policy": "xfrm policy add src 10.9.0.0/16 dst 10.3.0.0/16 dir out ptype sub",
    "a flag": "xfrm policy add src 10.9.0.0/16 dst 10.3.0.0/16 dir out flag icmp",
    "use of one reqid": "xfrm policy add src 10.9.0.0/16 dst 10.3.0.0/16 dir out"
    " tmpl proto esp reqid 3 mode transport level use",
}


def ip(batch: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)


def listed(*options: str) -> str:
    return subprocess.run(
        ["ip", *options, "xfrm", "policy"], capture_output=True, text=True, check=True
    ).stdout


def spd(kernel: NetlinkKernel) -> list[SpdEntry]:
    """Return the entries in the order of matching, but for twins."""
    found = [entry for entry in Engine(kernel).spd() if not entry.twin]
    return sorted(found, key=lambda entry: (entry.kernel_priority, entry.order))


def load(kernel: NetlinkKernel, text: str) -> None:
    engine = Engine(kernel)
    for statement in Parser(text, "t"):
        engine.submit(SpdAdd(statement.policy))  # type: ignore[union-attr]
    engine.flush()


def test_the_entries_of_af_key_and_of_strongswan_become_ours(real_kernel: NetlinkKernel) -> None:
    ip(AF_KEYS)
    before = {entry.id: entry.created for entry in spd(real_kernel)}
    planned = ownership.plan_adoption(real_kernel)
    assert all(entry.owner is Owner.FOREIGN for entry in spd(real_kernel))
    found = ownership.adopt(real_kernel)
    assert found.entries == planned.entries
    assert not found.left
    there = spd(real_kernel)
    assert [policy_statement(entry.policy) for entry in there] == ADOPTED
    assert all(entry.owner is Owner.OURS for entry in there)
    assert {entry.id: entry.created for entry in there}.items() <= before.items()
    assert not ownership.adopt(real_kernel).entries


def test_an_adopted_entry_is_one_like_others(real_kernel: NetlinkKernel) -> None:
    ip(AF_KEYS)
    ownership.adopt(real_kernel)
    engine = Engine(real_kernel)
    load(real_kernel, "spdadd 10.0.0.1 10.0.0.2 tcp -P out prio high none;")
    inbound = next(e.policy for e in spd(real_kernel) if e.policy.direction is Direction.IN)
    engine.submit(SpdDelete(inbound.selector, Direction.IN))
    engine.submit(SetKnob(knob("net.inet.ipsec.esp_trans_deflev"), Level.REQUIRE))
    engine.flush()
    texts = [policy_statement(entry.policy) for entry in spd(real_kernel)]
    added = "spdadd 10.0.0.1 10.0.0.2 tcp -P out prio high none;"
    assert texts == [*ADOPTED[:2], added, *ADOPTED[3:]]
    [deleted] = Parser("spddelete 10.0.0.2 10.0.0.1 any -P in;", "t")
    engine.submit(SpdDelete(deleted.selector, Direction.IN))  # type: ignore[union-attr]
    engine.flush()
    assert "src 10.0.0.2/32 dst 10.0.0.1/32" not in listed()  # the twin went along


@pytest.mark.parametrize("kind", LEFT)
def test_what_kame_cannot_say_is_left(real_kernel: NetlinkKernel, kind: str) -> None:
    ip(LEFT[kind])
    before = listed()
    found = ownership.adopt(real_kernel)
    assert not found.entries
    [(entry, reason)] = found.left
    assert entry.owner is Owner.FOREIGN
    assert reason
    assert listed() == before


def test_a_lifetime_goes_on(real_kernel: NetlinkKernel) -> None:
    ip("xfrm policy add src 10.0.0.1/32 dst 10.0.0.2/32 dir out limit time-hard 500")
    ownership.adopt(real_kernel)
    [entry] = spd(real_kernel)
    assert entry.policy.lifetime == 500


OURS = """
spdadd 10.1.0.0/16 10.2.0.0/16 any -P in ipsec esp/tunnel/2.2.2.2-1.1.1.1/unique:7;
spdadd 10.1.0.0/16 10.3.0.0/16 any -P out ipsec esp/tunnel/2.2.2.2-1.1.1.1/use;
spdadd 10.1.0.0/16 10.4.0.0/16 any -P out discard;
"""


@pytest.mark.parametrize("keep", [True, False])
def test_a_reset_leaves_nothing_of_ours(real_kernel: NetlinkKernel, keep: bool) -> None:
    ip("xfrm policy add src 10.9.0.0/16 dst 10.4.0.0/16 dir out priority 5")
    foreign = listed()
    load(real_kernel, OURS)
    engine = Engine(real_kernel)
    for name in ("net.inet.ipsec", "net.inet6.ipsec6"):
        engine.submit(SetKnob(knob(f"{name}.def_policy"), 0))
    engine.flush()
    assert ownership.reset(real_kernel, keep=keep)
    assert (
        "block"
        not in subprocess.run(
            ["ip", "xfrm", "policy", "getdefault"], capture_output=True, text=True, check=True
        ).stdout
    )
    assert "if_id" not in listed()
    assert "4294967295" not in listed()
    assert "share 1" not in listed("-s")
    assert Engine(real_kernel).knobs().inet.def_policy == 1
    if keep:
        assert {entry.owner for entry in spd(real_kernel)} == {Owner.FOREIGN}
        assert len(spd(real_kernel)) == 5  # the fwd policy is no twin now
        ownership.adopt(real_kernel)
        assert {entry.owner for entry in spd(real_kernel)} == {Owner.OURS}
    else:
        assert listed() == foreign
    ownership.reset(real_kernel, keep=False)
