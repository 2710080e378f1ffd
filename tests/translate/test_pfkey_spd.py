"""SPD entries as PF_KEY messages, compared with what Linux's AF_KEY sent and accepted."""

import errno
from collections.abc import Callable
from typing import TypeVar

import pytest

from kamexfrm import pfkey
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    Owner,
    PolicyType,
    SecurityContext,
    SecurityPolicy,
    Selector,
    SpdEntry,
)
from kamexfrm.net import Address
from kamexfrm.pfkey import SadbType
from kamexfrm.translate.pfkey import parts as common
from kamexfrm.translate.pfkey import policy as extension
from kamexfrm.translate.pfkey import spd
from tests.translate.pfkey_vectors import (
    LINUX,
    VECTORS,
    replies,
    request,
    requests,
    same_extensions,
)

A, B = Address.parse("10.9.0.1"), Address.parse("10.9.0.2")
T = TypeVar("T")

C, D = Address.parse("fd00:9::1"), Address.parse("fd00:9::2")

WRITES = (SadbType.SADB_X_SPDADD, SadbType.SADB_X_SPDUPDATE, SadbType.SADB_X_SPDSETIDX)
REPLIES = (
    SadbType.SADB_X_SPDADD,
    SadbType.SADB_X_SPDUPDATE,
    SadbType.SADB_X_SPDDELETE,
    SadbType.SADB_X_SPDDELETE2,
    SadbType.SADB_X_SPDGET,
    SadbType.SADB_X_SPDDUMP,
)

#: Requests that KAME's kernel refuses, with its errno, where Linux took them or said otherwise.
KAME = {
    "spdadd4-bad-level": errno.EINVAL,
    "spdadd6-bad-level": errno.EINVAL,
    "spdadd4-bad-proto": errno.EPROTONOSUPPORT,
    "spdadd6-bad-proto": errno.EPROTONOSUPPORT,
    "spdadd4-proto-mismatch": errno.EINVAL,
}

#: Requests that are well-formed and fail, or failed then, for what is in the kernel.
STATE = {"spdadd4-dup", "spdadd6-7-requests"}

#: Requests that travel with more than the model holds.
LOSSY = {
    "spdadd4-proto0": "0 stands for any protocol too",
    "spdadd6-proto0": "0 stands for any protocol too",
    "spdadd4-lifetime-currentslot": "a CURRENT lifetime",
    "spdadd6-lifetime-currentslot": "a CURRENT lifetime",
}


def outcome(read: Callable[[T], object], message: T) -> int | None:
    """Return the errno with which something cannot be read, 0 when it can."""
    try:
        read(message)
    except KamexfrmError as error:
        return error.errno
    return 0


def test_each_recorded_reply_about_the_spd_is_read_and_written_to_the_same_bytes() -> None:
    found = replies(*REPLIES)
    for name, message in found:
        entry = spd.spd_entry_from_message(message)
        again = spd.spd_entry_to_message(entry, message.type, references=message.reserved)
        wire = pfkey.encode(common.answering(message, again), LINUX)
        assert wire == pfkey.encode(message, LINUX), name
    assert len(found) > 100


def test_each_recorded_request_makes_a_policy_that_makes_the_same_request() -> None:
    seen = 0
    for name, message in requests(*WRITES):
        if outcome(spd.policy_from_message, message) or name in LOSSY:
            continue
        again = common.answering(
            message, spd.policy_to_message(spd.policy_from_message(message), message.type)
        )
        assert same_extensions(again, message), name
        seen += 1
    assert seen >= 50


def test_each_recorded_request_is_taken_or_refused_as_linux_or_kame_did() -> None:
    for name, message in requests(*WRITES):
        mine, heard = outcome(spd.policy_from_message, message), VECTORS[name].heard
        if name in KAME:
            assert mine == KAME[name], name
        elif name in STATE:
            assert mine == 0, name
        elif heard:
            assert mine == heard[0].errno, name
        elif mine:
            assert mine == errno.EINVAL, name


@pytest.mark.parametrize(
    "name",
    [
        "spdadd4-entrust",
        "spdadd4-type9",
        "spdadd4-bad-mode",
        "spdadd4-mode-any",
        "spdadd4-tunnel-noaddr",
        "spdadd4-bad-prefix",
        "spdadd4-mixed-family",
        "spdadd4-no-src",
        "spdadd4-no-dst",
        "spdadd6-no-policy",
        "spdadd6-bad-dir0",
        "spdadd6-bad-dir4",
    ],
)
def test_a_policy_that_cannot_be_is_invalid(name: str) -> None:
    assert outcome(spd.policy_from_message, request(name)) == errno.EINVAL


def test_a_request_is_read_in_full() -> None:
    unique = spd.policy_from_message(request("spdadd4-unique"))
    assert unique == SecurityPolicy(
        Selector(A, 32, B, 32, 17),
        Direction.OUT,
        PolicyType.IPSEC,
        (IpsecRequest(IpsecProtocol.ESP, Mode.TRANSPORT, Level.UNIQUE, 9),),
        0,
    )
    tunnel = spd.policy_from_message(request("spdadd6-tunnel"))
    assert tunnel.requests == (
        IpsecRequest(IpsecProtocol.ESP, Mode.TUNNEL, Level.REQUIRE, 0, C, D),
    )
    assert spd.policy_from_message(request("spdadd4-proto0")).selector.upper == 255
    icmp = spd.policy_from_message(request("spdadd4-icmp-type")).selector
    assert (icmp.source_port, icmp.destination_port) == (8, None)
    timed = spd.policy_from_message(request("spdadd6-lifetime"))
    assert (timed.lifetime, timed.validtime) == (3600, 1800)
    assert spd.policy_from_message(request("spdadd4-prio")).priority == 12345


def test_level_default_is_kept_where_linux_made_it_require() -> None:
    message = request("spdadd6-default-level")
    policy = spd.policy_from_message(message)
    assert policy.requests[0].level is Level.DEFAULT
    entry = SpdEntry(policy, 257, 1000, 0, Owner.OURS, 1, policy.priority)
    shown = spd.spd_entry_to_message(entry, SadbType.SADB_X_SPDDUMP).require(pfkey.Policy)
    assert shown.requests[0].level is pfkey.IpsecLevel.IPSEC_LEVEL_DEFAULT


def test_a_reqid_counts_at_level_unique_only_unless_it_comes_from_a_kernel() -> None:
    request = pfkey.IpsecRequest(
        50, pfkey.IpsecMode.IPSEC_MODE_TRANSPORT, pfkey.IpsecLevel.IPSEC_LEVEL_USE, 7
    )
    policy = pfkey.Policy(
        pfkey.IpsecPolicy.IPSEC_POLICY_IPSEC,
        pfkey.IpsecDirection.IPSEC_DIR_OUTBOUND,
        requests=(request,),
    )
    assert extension.requests_from_extension(policy)[0].reqid == 0
    assert extension.requests_from_extension(policy, from_kernel=True)[0].reqid == 7


def test_an_entry_is_deleted_by_its_selector_and_direction() -> None:
    message = request("spddelete4-with-requests")
    assert spd.spidx_from_message(message) == (Selector(A, 32, B, 32, 17), Direction.OUT, None)
    context = SecurityContext(1, 2, b"label")
    again = spd.spidx_to_message(Selector(A, 32, B, 32, 17), Direction.OUT, context)
    assert spd.spidx_from_message(pfkey.decode(pfkey.encode(again))) == (
        Selector(A, 32, B, 32, 17),
        Direction.OUT,
        context,
    )


def test_an_entry_is_named_by_an_id_that_can_be_one() -> None:
    assert spd.spd_id_from_message(request("spdget4")) == 1
    assert spd.spd_id_from_message(request("spdget4-dir9")) == 1
    assert outcome(spd.spd_id_from_message, request("spdget4-enoent")) == errno.EINVAL
    assert outcome(spd.spd_id_from_message, request("spdget4-no-policy")) == errno.EINVAL
    for type in (SadbType.SADB_X_SPDGET, SadbType.SADB_X_SPDDELETE2):
        assert spd.spd_id_from_message(spd.spd_id_to_message(type, 393)) == 393


@pytest.mark.parametrize(
    "policy",
    [
        SecurityPolicy(Selector(A, 24, B, 16, 6, 80, 443), Direction.IN, PolicyType.DISCARD),
        SecurityPolicy(Selector(C, 0, D, 128), Direction.FWD, PolicyType.NONE, (), 1, 60, 30),
        SecurityPolicy(
            Selector(A, 32, B, 32),
            Direction.OUT,
            PolicyType.IPSEC,
            (
                IpsecRequest(IpsecProtocol.IPCOMP, Mode.TRANSPORT, Level.USE, 0, A, B),
                IpsecRequest(IpsecProtocol.ESP, Mode.TUNNEL, Level.UNIQUE, 70000, C, D),
                IpsecRequest(IpsecProtocol.AH, Mode.TRANSPORT),
            ),
            label=SecurityContext(1, 1, b"u:r:t"),
        ),
    ],
)
def test_a_policy_survives_the_way_to_a_message_and_back(policy: SecurityPolicy) -> None:
    message = pfkey.decode(pfkey.encode(spd.policy_to_message(policy)))
    assert spd.policy_from_message(message) == policy


def test_a_request_has_setkeys_extensions_in_setkeys_order() -> None:
    message = spd.policy_to_message(spd.policy_from_message(request("spdadd4-prio")))
    kinds = [type(one) for one in message.extensions]
    assert kinds == [pfkey.Policy, pfkey.AddressSrc, pfkey.AddressDst]


def test_a_sockets_own_policy_has_a_direction_of_its_own() -> None:
    policy = SecurityPolicy(Selector(A, 0, A, 0), Direction.OUT, PolicyType.NONE, priority=0)
    entry = SpdEntry(policy, 388, 1000, 0, Owner.FOREIGN, 0, 0, socket=True)
    message = spd.spd_entry_to_message(entry, SadbType.SADB_X_SPDDUMP)
    assert message.require(pfkey.Policy).direction == 5
    assert spd.spd_entry_from_message(message) == entry


@pytest.mark.parametrize("type", PolicyType)
def test_a_socket_may_ask_for_any_type_as_on_linux(type: PolicyType) -> None:
    value = extension.policy_to_extension(type, Direction.OUT)
    assert extension.socket_policy_from_extension(value) == (Direction.OUT, type, ())
    fwd = extension.policy_to_extension(type, Direction.FWD)
    assert outcome(extension.socket_policy_from_extension, fwd) == errno.EINVAL


def test_a_level_without_a_name_is_require_for_a_socket_as_on_linux() -> None:
    request = pfkey.IpsecRequest(50, pfkey.IpsecMode(1), pfkey.IpsecLevel(9))
    value = pfkey.Policy(pfkey.IpsecPolicy(2), pfkey.IpsecDirection(2), requests=(request,))
    _, _, requests = extension.socket_policy_from_extension(value)
    assert [r.level for r in requests] == [Level.REQUIRE]
    assert outcome(extension.requests_from_extension, value) == errno.EINVAL


def test_flush_and_dump_of_the_spd_are_headers() -> None:
    assert pfkey.encode(common.spd_flush()) == pfkey.encode(pfkey.SadbMsg(SadbType.SADB_X_SPDFLUSH))
    assert common.spd_dump().type is SadbType.SADB_X_SPDDUMP
    assert common.echo(request("spdflush4")) == request("spdflush4")
