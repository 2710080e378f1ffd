"""Kernel events as PF_KEY messages, compared with what Linux's AF_KEY sent about the same changes.

Each line of xfrm-events.jsonl was recorded from a 6.1 kernel, little endian: a netlink event with
the numbers of its header, and what a socket registered with AF_KEY ``heard``, if anything.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm import pfkey
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import AF_INET, Address
from kamexfrm.pfkey import SadbType
from kamexfrm.setkey.hexdump import format_hexdump
from kamexfrm.setkey.message_text import format_message
from kamexfrm.translate.event import broadcast
from kamexfrm.translate.xfrm.catch_all import catch_all
from kamexfrm.translate.xfrm.marker import Marker, marker_policy
from kamexfrm.translate.xfrm.policy_to_kernel import (
    Placement,
    policy_to_kernel,
)
from kamexfrm.xfrm import (
    Acquire,
    Default,
    DeletedPolicy,
    Policy,
    PolicyId,
    StateFlush,
    XfrmMsg,
    decode_event,
    encode_event,
)

LINUX = pfkey.LINUX.with_byte_order("little")
LINES = [
    json.loads(line)
    for line in Path(__file__).with_name("xfrm-events.jsonl").read_text().splitlines()
]
BY_NAME = {line["name"]: line for line in LINES}

#: Events of which more, less or something else is told here: in which extensions, and why.
DIFFERENT = {
    "add-esp4-proxy": ({pfkey.AddressProxy}, "an SA's selector is not in the model"),
    "ip-sa-beet": ({pfkey.AddressProxy}, "the same"),
    "update4-newkey": ({pfkey.Sa}, "af_key shows the state of a copy that is thrown away"),
    "ip-sa-update": ({pfkey.Sa}, "the same"),
    "ip-sa-esn": ({pfkey.Sa, pfkey.KeyEncrypt}, "af_key has no AES-GCM"),
    "ip-policy-beet": ({pfkey.Policy}, "af_key leaves the endpoints out"),
    "ip-acquire": ({pfkey.Proposal}, "netlink does not say which algorithms there are"),
    "expire-soft": ({pfkey.Sa, pfkey.AddressProxy}, "the event has no algorithms"),
    "expire-hard": ({pfkey.Sa, pfkey.AddressProxy}, "the same"),
    "expire-policy": ({pfkey.LifetimeSoft}, "soft limits of policies are not in the model"),
}

#: Events that af_key keeps quiet about and that are told of here.
TOLD_HERE = {
    "ip-policy-ro": SadbType.SADB_X_SPDADD,
    "policy-expires-soft": SadbType.SADB_X_SPDEXPIRE,
    "policy-expires-hard": SadbType.SADB_X_SPDEXPIRE,
}

#: What af_key tells of and is kept quiet about here.
QUIET_HERE = {"larval-expires"}

A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
C, D = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
EVERYTHING = Selector(A, 32, B, 32)


def event_of(name: str) -> pfkey.SadbMsg | None:
    line = BY_NAME[name]
    event = decode_event(line["type"], bytes.fromhex(line["event"]))
    # Recorded with a clock in which no soft limit is reached yet.
    return broadcast(line["type"], event, now=0, sequence=line["sequence"], pid=line["pid"])


def told(name: str) -> pfkey.SadbMsg:
    message = event_of(name)
    assert message is not None, name
    return message


def heard(name: str) -> pfkey.SadbMsg:
    message = pfkey.decode(bytes.fromhex(BY_NAME[name]["heard"]), LINUX)
    if message.type.name.startswith("SADB_X_SPD"):
        # How many users a policy has is not in the event.
        message = replace(message, reserved=1 if message.extensions else 0)
    return message


HEARD = [name for name, line in BY_NAME.items() if "heard" in line]


@pytest.mark.parametrize("name", [n for n in HEARD if n not in DIFFERENT and n not in QUIET_HERE])
def test_broadcasts_are_those_of_af_key(name: str) -> None:
    mine, theirs = told(name), heard(name)
    if theirs.type in (SadbType.SADB_ACQUIRE, SadbType.SADB_X_NAT_T_NEW_MAPPING):
        # af_key leaves bytes unset in these, and counts mappings by itself.
        mine, theirs = (
            replace(
                message,
                seq=0,
                extensions=tuple(
                    replace(e, reserved=0) if isinstance(e, pfkey.AddressExtension) else e
                    for e in message.extensions
                ),
            )
            for message in (mine, theirs)
        )
    assert pfkey.encode(mine, LINUX) == pfkey.encode(theirs, LINUX)


@pytest.mark.parametrize("name", DIFFERENT)
def test_broadcasts_that_differ_from_af_key_are_the_known_ones(name: str) -> None:
    mine, theirs = told(name), heard(name)
    assert (mine.type, mine.satype, mine.seq, mine.pid) == (
        theirs.type,
        theirs.satype,
        theirs.seq,
        theirs.pid,
    )
    kinds = {type(e) for e in mine.extensions + theirs.extensions}
    assert {k for k in kinds if mine.get(k) != theirs.get(k)} == DIFFERENT[name][0]


def test_what_af_key_does_not_broadcast_is_not_sent_except_policies_it_cannot_express() -> None:
    quiet = [name for name in BY_NAME if name not in HEARD]
    assert {"ip-sa-ro", "ip-policy-sub", "ip-policy-flush-sub", "setdefault"} <= set(quiet)
    for name in quiet:
        message = event_of(name)
        assert (message.type if message else None) == TOLD_HERE.get(name), name


def test_the_expiry_of_an_unanswered_acquire_is_not_sent() -> None:
    assert heard("larval-expires").type is SadbType.SADB_EXPIRE
    assert event_of("larval-expires") is None
    assert told("getspi-expires").require(pfkey.Sa).spi == 0x600


def test_a_policy_that_expires_is_reported_with_the_limit_that_it_reached() -> None:
    kinds = [type(e) for e in told("policy-expires-hard").extensions]
    assert kinds == [
        pfkey.LifetimeCurrent,
        pfkey.LifetimeHard,
        pfkey.AddressSrc,
        pfkey.AddressDst,
        pfkey.Policy,
    ]
    assert told("policy-expires-hard").require(pfkey.LifetimeHard).addtime == 3
    assert told("policy-expires-soft").get(pfkey.LifetimeHard) is None


def test_a_flush_of_a_protocol_that_pf_key_lacks_is_not_sent() -> None:
    assert broadcast(XfrmMsg.FLUSHSA, StateFlush(43), now=0) is None
    told_of = broadcast(XfrmMsg.FLUSHSA, StateFlush(0), now=0)
    assert told_of is not None
    assert told_of.type is SadbType.SADB_FLUSH


# Policies of ours


def tunnel(level: Level = Level.USE) -> SecurityPolicy:
    return SecurityPolicy(
        EVERYTHING,
        Direction.OUT,
        PolicyType.IPSEC,
        (IpsecRequest(IpsecProtocol.ESP, Mode.TUNNEL, level, 0, C, D),),
    )


def swapped_out() -> tuple[Policy, Policy | None]:
    policy = tunnel()
    return policy_to_kernel(policy, Knobs(), Placement(7, 1), 1000, without_sa=policy.requests)


@pytest.mark.parametrize("type", [XfrmMsg.NEWPOLICY, XfrmMsg.UPDPOLICY])
def test_markers_sidecars_and_catch_alls_are_not_sent(type: XfrmMsg) -> None:
    _, sidecar = swapped_out()
    assert sidecar is not None
    ours = [marker_policy(Marker()), sidecar]
    ours += [catch_all(AF_INET, direction) for direction in range(3)]
    for policy in ours:
        assert broadcast(type, policy, now=0) is None
        gone = DeletedPolicy(PolicyId(policy.selector, 0, policy.direction), policy)
        assert broadcast(XfrmMsg.DELPOLICY, gone, now=0) is None


def test_setdefault_arrives_as_getdefault_and_is_not_sent() -> None:
    assert broadcast(XfrmMsg.GETDEFAULT, Default(0, 0, 0), now=0) is None


def test_a_policy_is_reported_as_written_not_as_installed() -> None:
    policy, sidecar = swapped_out()
    message = broadcast(XfrmMsg.NEWPOLICY, policy, now=0, sidecar_of=lambda _: sidecar)
    assert message is not None
    [request] = message.require(pfkey.Policy).requests
    assert request.level is pfkey.IpsecLevel.IPSEC_LEVEL_USE
    assert (request.source, request.destination) == (pfkey.Sockaddr(C), pfkey.Sockaddr(D))
    assert message.require(pfkey.Policy).priority == 0x80000000


def test_the_deletion_of_a_policy_of_ours_is_reported_by_its_selector() -> None:
    policy = policy_to_kernel(tunnel(Level.REQUIRE), Knobs(), Placement(7, 1), 1000).policy
    gone = DeletedPolicy(PolicyId(policy.selector, 9, policy.direction), policy)
    message = broadcast(XfrmMsg.DELPOLICY, gone, now=0)
    assert message is not None
    assert message.type is SadbType.SADB_X_SPDDELETE


def acquired(
    policy: Policy, source: Address, destination: Address, sidecar: Policy | None = None
) -> tuple[int, Address, Address]:
    wanted = Acquire(destination, source, 0, 50, AF_INET, policy.selector, policy, sequence=3)
    event = decode_event(XfrmMsg.ACQUIRE, encode_event(wanted))
    message = broadcast(XfrmMsg.ACQUIRE, event, now=0, sidecar_of=lambda _: sidecar)
    assert message is not None
    first = message.require(pfkey.AddressSrc).sockaddr
    second = message.require(pfkey.AddressDst).sockaddr
    assert isinstance(first, pfkey.Sockaddr)
    assert isinstance(second, pfkey.Sockaddr)
    return message.seq, first.address, second.address


def test_an_acquire_is_for_the_tunnel_that_is_swapped_out_not_for_the_packet() -> None:
    policy, sidecar = swapped_out()
    assert acquired(policy, A, B, sidecar) == (3, C, D)
    assert acquired(policy, A, B) == (3, A, B)
    served = policy_to_kernel(tunnel(Level.REQUIRE), Knobs(), Placement(7, 1), 1000).policy
    assert acquired(served, C, D) == (3, C, D)


# Laws


@settings(deadline=None)
@given(st.data())
def test_an_event_with_bytes_changed_is_sent_or_an_error_with_an_errno(data: st.DataObject) -> None:
    line = data.draw(st.sampled_from(LINES))
    payload = bytearray.fromhex(line["event"])
    for _ in range(data.draw(st.integers(1, 4))):
        if payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.integers(0, len(payload)) | st.just(len(payload)))]
    try:
        message = broadcast(line["type"], decode_event(line["type"], bytes(payload)), now=2e9)
        if message is not None:
            format_message(message)
            format_hexdump(message)
    except KamexfrmError as error:
        assert error.errno  # noqa: PT017  any other exception is the failure
