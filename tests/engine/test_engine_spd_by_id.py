"""A policy by its id: what a read by id finds, a deletion by id finds too, and nothing else."""

import errno
import subprocess

import pytest

from kamexfrm.engine.requests import SetKnob, SpdDeleteId
from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import knob
from kamexfrm.model.policy import Owner
from kamexfrm.translate.xfrm.policy_from_kernel import is_ordinary
from kamexfrm.xfrm import XFRM_POLICY_TYPE_SUB, Mark, Policy
from tests.engine.engine_samples import (
    FWD,
    IN,
    REQUIRE,
    TUNNEL,
    USE,
    A,
    Asker,
    B,
    foreign,
    image,
    ipsec,
    request,
    selector,
    write,
)

FOREIGN = {
    "plain": foreign(),
    "if_id": foreign(if_id=7),
    "mark": foreign(mark=Mark(5)),
    "mark under a mask": foreign(mark=Mark(5, 0xFF)),
    "if_id and mark": foreign(if_id=7, mark=Mark(5)),
    "in with if_id": foreign(direction=0, if_id=7),
    "fwd with mark": foreign(direction=2, mark=Mark(5)),
}


def get(asker: Asker, id: int) -> str:
    """Read a policy by id; return the errno's name, or nothing."""
    try:
        entry = asker.engine.spd_entry_by_id(id)
    except KernelError as error:
        return errno.errorcode[error.errno]
    assert entry.id == id
    return ""


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_entry_is_read_and_deleted_by_id(asker: Asker, kind: str) -> None:
    others = [other for name, other in FOREIGN.items() if name != kind]
    write(asker.kernel, *others, FOREIGN[kind])
    wanted = next(p for p in asker.kernel.policies() if _name(p) == _name(FOREIGN[kind]))
    entry = asker.engine.spd_entry_by_id(wanted.index)
    assert entry == next(e for e in asker.entries() if e.id == wanted.index)
    assert entry.owner is Owner.FOREIGN
    asker.must(SpdDeleteId(wanted.index))
    left = [_name(p) for p in asker.kernel.policies() if is_ordinary(p)]
    assert sorted(left, key=str) == sorted(map(_name, others), key=str)
    assert get(asker, wanted.index) == "ENOENT"
    assert asker.ask(SpdDeleteId(wanted.index)) == ["ENOENT"]


def _name(policy: Policy) -> tuple[object, ...]:
    return policy.direction, policy.if_id, policy.mark


def test_each_entry_is_found_by_its_id(asker: Asker) -> None:
    tunnel = request(USE, mode=TUNNEL, ends=(A, B))
    asker.add(ipsec(0), ipsec(1, IN), ipsec(2, FWD), ipsec(3, IN, request(REQUIRE)))
    asker.add(ipsec(4, IN, tunnel), ipsec(5, ipsec().direction, tunnel))
    for entry in asker.entries():
        assert asker.engine.spd_entry_by_id(entry.id) == entry


def test_what_only_serves_the_engine_is_not_found_by_id(asker: Asker) -> None:
    tunnel = request(USE, mode=TUNNEL, ends=(A, B))
    for family in ("net.inet.ipsec", "net.inet6.ipsec6"):
        asker.must(SetKnob(knob(f"{family}.def_policy"), 0))
    asker.add(ipsec(0, ipsec().direction, tunnel))
    before = image(asker.kernel)
    hidden = [p.index for p in asker.kernel.policies() if not is_ordinary(p)]
    assert len(hidden) == 1 + 1 + 6  # the marker, a sidecar, catch-alls
    for id in hidden:
        assert get(asker, id) == "ENOENT"
        assert asker.ask(SpdDeleteId(id)) == ["ENOENT"]
    assert image(asker.kernel) == before


def test_a_sub_policy_is_not_found_by_id(asker: Asker) -> None:
    write(asker.kernel, foreign(direction=0, index=0x9000, policy_type=XFRM_POLICY_TYPE_SUB))
    assert get(asker, 0x9000) == "ENOENT"
    assert asker.ask(SpdDeleteId(0x9000)) == ["ENOENT"]


@pytest.mark.parametrize("id", [0, 0x7001, 0x7009])
def test_an_id_that_is_not_there_is_not_found(asker: Asker, id: int) -> None:
    write(asker.kernel, foreign(if_id=7))
    assert get(asker, id) == "ENOENT"
    assert asker.ask(SpdDeleteId(id)) == ["ENOENT"]


@pytest.mark.parametrize("id", [3, 0x184, 0xFFFFFFFF])
def test_an_id_of_no_direction_is_invalid_as_to_af_key(asker: Asker, id: int) -> None:
    assert get(asker, id) == "EINVAL"
    assert asker.ask(SpdDeleteId(id)) == ["EINVAL"]


@pytest.mark.parametrize("fields", [{"if_id": 7}, {"mark": Mark(5)}], ids=str)
def test_a_foreign_in_entry_goes_without_the_twin_of_ours(
    asker: Asker, fields: dict[str, object]
) -> None:
    asker.add(ipsec(0, IN))
    ours = asker.entries()
    assert len(ours) == 2
    write(asker.kernel, foreign(0, 0, **fields))
    (theirs,) = (e for e in asker.entries() if e.owner is Owner.FOREIGN)
    asker.must(SpdDeleteId(theirs.id))
    assert asker.entries() == ours


@pytest.mark.parametrize("words", [("if_id", "7"), ("mark", "5"), ("mark", "5", "mask", "0xff")])
def test_what_ip_xfrm_adds_is_read_and_deleted_by_id(
    real_kernel: NetlinkKernel, words: tuple[str, ...]
) -> None:
    ends = f"src {selector().source}/32 dst {selector().destination}/32 dir out".split()
    subprocess.run(["ip", "xfrm", "policy", "add", *ends, *words], check=True)
    kernel: Kernel = real_kernel
    asker = Asker(kernel)
    (entry,) = asker.entries()
    assert asker.engine.spd_entry_by_id(entry.id) == entry
    asker.must(SpdDeleteId(entry.id))
    assert asker.entries() == []
