"""What ``ip xfrm`` was told, word by word, is what its recorded request decodes to."""

import json
from pathlib import Path
from typing import Any

import pytest

from kamexfrm import xfrm
from kamexfrm.net import Address
from kamexfrm.xfrm import LifetimeConfig, Mark, Policy, Selector, State, Template

LINES = (Path(__file__).parent / "recorded" / "linux-6.18.jsonl").read_text().splitlines()
AES = bytes(range(16))
SHA1 = bytes(range(20))
A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
A6, B6 = Address.parse("fd00::1"), Address.parse("fd00::2")
NONE4 = Address.unspecified(2)
NONE6 = Address.unspecified(10)
#: Without an explicit selector iproute2 leaves all of it zero, the family too.
NO_SELECTOR = xfrm.EMPTY_SELECTOR
LIMITS = LifetimeConfig(1000, 2000, 30, 40, 100, 200, 300, 400)
CBC = xfrm.Algorithm("cbc(aes)", AES, 128)
HMAC = xfrm.AuthAlgorithm("hmac(sha1)", SHA1, 160)


def net(source: str, destination: str, **fields: int) -> Selector:
    """Return the selector of ``src A/N dst B/M``."""
    first, _, source_prefix = source.partition("/")
    second, _, destination_prefix = destination.partition("/")
    parsed = Address.parse(second)
    return Selector(
        parsed,
        Address.parse(first),
        family=parsed.family,
        source_prefix=int(source_prefix),
        destination_prefix=int(destination_prefix),
        **fields,
    )


def state(spi: int, mode: int, **fields: Any) -> State:
    """Return what ``ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp`` makes of the rest."""
    return State(NO_SELECTOR, B, spi, 50, A, family=2, mode=mode, **fields)


def request(start: str) -> Any:
    """Return the decoded first request of the first command that starts so."""
    for line in LINES:
        row = json.loads(line)
        if row["command"].startswith(start):
            (message,) = xfrm.split_messages(bytes.fromhex(row["sent"][0]))
            return xfrm.decode_event(message.type, message.payload)
    raise AssertionError(start)


POLICIES = {
    "ip xfrm policy add src 10.0.0.1/32 dst 10.0.0.2/32 proto tcp": Policy(
        net(
            "10.0.0.1/32",
            "10.0.0.2/32",
            protocol=6,
            destination_port=80,
            destination_port_mask=65535,
        ),
        xfrm.XFRM_POLICY_OUT,
        priority=100,
        templates=(Template(NONE4, NONE4, 50, xfrm.XFRM_MODE_TRANSPORT, reqid=7, family=2),),
    ),
    "ip xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 200": Policy(
        net("10.1.0.0/16", "10.2.0.0/16"),
        xfrm.XFRM_POLICY_OUT,
        priority=200,
        templates=(Template(B, A, 50, xfrm.XFRM_MODE_TUNNEL, family=2),),
    ),
    "ip xfrm policy add src 10.2.0.0/16 dst 10.1.0.0/16 dir in": Policy(
        net("10.2.0.0/16", "10.1.0.0/16"),
        xfrm.XFRM_POLICY_IN,
        priority=200,
        templates=(Template(A, B, 50, xfrm.XFRM_MODE_TUNNEL, family=2, optional=1),),
    ),
    "ip xfrm policy add src 10.2.0.0/16 dst 10.1.0.0/16 dir fwd": Policy(
        net("10.2.0.0/16", "10.1.0.0/16"),
        xfrm.XFRM_POLICY_FWD,
        action=xfrm.XFRM_POLICY_BLOCK,
        priority=0xFFFFFFFF,
    ),
    "ip xfrm policy add src fd00::1/128 dst fd00::2/128 proto ipv6-icmp": Policy(
        net(
            "fd00::1/128",
            "fd00::2/128",
            protocol=58,
            source_port=135,
            source_port_mask=0xFFFF,
            destination_port=0,
            destination_port_mask=0xFFFF,
        ),
        xfrm.XFRM_POLICY_OUT,
    ),
    "ip xfrm policy add src fd00:1::/64": Policy(
        net("fd00:1::/64", "fd00:2::/64"),
        xfrm.XFRM_POLICY_OUT,
        templates=(
            Template(B6, A6, 50, xfrm.XFRM_MODE_TUNNEL, reqid=99, family=10),
            Template(B6, A6, 51, xfrm.XFRM_MODE_TRANSPORT, family=10),
        ),
    ),
    "ip xfrm policy add src 10.3.0.0/16 dst 10.4.0.0/16 dir out tmpl src fd00::1": Policy(
        net("10.3.0.0/16", "10.4.0.0/16"),
        xfrm.XFRM_POLICY_OUT,
        templates=(Template(B6, A6, 50, xfrm.XFRM_MODE_TUNNEL, spi=0x1234, family=10),),
    ),
    "ip xfrm policy add src 10.5.0.0/16": Policy(
        net("10.5.0.0/16", "10.6.0.0/16"),
        xfrm.XFRM_POLICY_OUT,
        templates=(
            Template(NONE4, NONE4, 108, xfrm.XFRM_MODE_TRANSPORT, family=2, optional=1),
            Template(NONE4, NONE4, 50, xfrm.XFRM_MODE_TRANSPORT, family=2),
        ),
        if_id=9,
        mark=Mark(5, 0xFF),
    ),
    "ip xfrm policy add src 10.0.0.1 dst 10.0.0.9": Policy(
        net(
            "10.0.0.1/32",
            "10.0.0.9/32",
            protocol=17,
            source_port=500,
            source_port_mask=0xFFFF,
            destination_port=4500,
            destination_port_mask=0xFFFF,
        ),
        xfrm.XFRM_POLICY_OUT,
        priority=3,
        lifetime=LIMITS,
    ),
    "ip xfrm policy add src 0.0.0.0/0": Policy(
        net(
            "0.0.0.0/0",
            "0.0.0.0/0",
            protocol=47,
            source_port_mask=0xFFFF,
            destination_port=77,
            destination_port_mask=0xFFFF,
        ),
        xfrm.XFRM_POLICY_IN,
        policy_type=xfrm.XFRM_POLICY_TYPE_SUB,
    ),
    "ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 dir in ctx": Policy(
        net("10.0.0.1/32", "10.0.0.2/32"),
        xfrm.XFRM_POLICY_IN,
        security_context=xfrm.SecurityContext(1, 1, b"system_u:object_r:test_t:s0\0"),
    ),
}

ESP = "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi "
STATES = {
    ESP + "0x1001": state(
        0x1001, xfrm.XFRM_MODE_TRANSPORT, reqid=7, encryption=CBC, authentication=HMAC
    ),
    ESP + "0x1002": state(
        0x1002,
        xfrm.XFRM_MODE_TUNNEL,
        reqid=8,
        encryption=CBC,
        authentication=xfrm.AuthAlgorithm("hmac(sha256)", bytes(range(32)), 256, 128),
        flags=xfrm.XFRM_STATE_AF_UNSPEC,
        replay_window=32,
    ),
    ESP + "0x1003": state(
        0x1003,
        xfrm.XFRM_MODE_TUNNEL,
        aead=xfrm.AeadAlgorithm("rfc4106(gcm(aes))", bytes(range(20)), 160, 128),
        flags=xfrm.XFRM_STATE_ESN,
        replay_esn=xfrm.ReplayStateEsn((0, 0, 0, 0), 6, 5, 2, 1, 128),
    ),
    "ip xfrm state add src fd00::1 dst fd00::2 proto ah": State(
        net(
            "fd00::1/128",
            "fd00::2/128",
            protocol=58,
            source_port=128,
            source_port_mask=0xFFFF,
            destination_port_mask=0xFFFF,
        ),
        B6,
        0x1004,
        51,
        A6,
        family=10,
        authentication=xfrm.AuthAlgorithm("hmac(md5)", AES, 128),
    ),
    "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto comp": State(
        NO_SELECTOR,
        B,
        0x1005,
        108,
        A,
        family=2,
        mode=xfrm.XFRM_MODE_TUNNEL,
        compression=xfrm.Algorithm("deflate", b"", 0),
    ),
    ESP + "0x1006": state(
        0x1006,
        xfrm.XFRM_MODE_TRANSPORT,
        encryption=CBC,
        authentication=HMAC,
        encap=xfrm.Encap(xfrm.UDP_ENCAP_ESPINUDP, 4500, 4501, NONE4),
        replay_window=8,
        replay=xfrm.ReplayState(4, 3, 0),
    ),
    ESP + "0x1007": State(
        net("192.168.1.1/32", "192.168.2.1/32"),
        B,
        0x1007,
        50,
        A,
        family=2,
        mode=xfrm.XFRM_MODE_BEET,
        encryption=CBC,
        authentication=HMAC,
        mark=Mark(7, 0xFF),
        if_id=5,
        output_mark=Mark(3, 0xF),
        extra_flags=xfrm.XFRM_SA_XFLAG_DONT_ENCAP_DSCP | xfrm.XFRM_SA_XFLAG_OSEQ_MAY_WRAP,
    ),
    ESP + "0x1008": state(
        0x1008,
        xfrm.XFRM_MODE_TUNNEL,
        encryption=CBC,
        authentication=HMAC,
        flags=xfrm.XFRM_STATE_NOECN
        | xfrm.XFRM_STATE_DECAP_DSCP
        | xfrm.XFRM_STATE_NOPMTUDISC
        | xfrm.XFRM_STATE_ICMP
        | xfrm.XFRM_STATE_ALIGN4,
        sequence=0x55000000,  # iproute2 swaps it; ACQUIRE shows host order
        tfc_pad=1400,
    ),
    ESP + "0x1009": state(
        0x1009,
        xfrm.XFRM_MODE_TRANSPORT,
        encryption=CBC,
        authentication=HMAC,
        lifetime=LIMITS,
    ),
    ESP + "0x100a": state(
        0x100A,
        xfrm.XFRM_MODE_TRANSPORT,
        encryption=CBC,
        authentication=HMAC,
        output_mark=Mark(9),
        security_context=xfrm.SecurityContext(1, 1, b"system_u:object_r:test_t:s0\0"),
    ),
    "ip xfrm state add src fd00::1 dst fd00::2 proto route2": State(
        NO_SELECTOR,
        B6,
        0,
        43,
        A6,
        family=10,
        mode=xfrm.XFRM_MODE_ROUTEOPTIMIZATION,
        care_of_address=Address.parse("fd00::9"),
    ),
}

OTHERS = {
    "ip xfrm policy get src 10.5": xfrm.PolicyId(
        net("10.5.0.0/16", "10.6.0.0/16"), 0, 1, if_id=9, mark=Mark(5, 0xFF)
    ),
    "ip xfrm policy delete src 0.0.0.0/0": xfrm.PolicyId(
        POLICIES["ip xfrm policy add src 0.0.0.0/0"].selector, 0, 0, policy_type=1
    ),
    "ip xfrm policy set hthresh4": xfrm.SpdInfo(
        threshold_ipv4=(24, 32), threshold_ipv6=(64, 128), flags=0xFFFFFFFF
    ),
    "ip xfrm policy setdefault in block out accept": xfrm.Default(in_=1, fwd=0, out=2),
    "ip xfrm policy flush ptype sub": xfrm.PolicyFlush(1),
    "ip xfrm state get src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x1003": xfrm.StateId(
        B, 0x1003, 50, 2, source=A
    ),
    "ip xfrm state delete dst 10.0.0.2 proto esp spi 0x1007": xfrm.StateId(
        B, 0x1007, 50, 2, source=NONE4, mark=Mark(7, 0xFF)
    ),
    "ip xfrm state flush proto comp": xfrm.StateFlush(108),
    "ip xfrm state flush": xfrm.StateFlush(108),
}


@pytest.mark.parametrize("command", POLICIES)
def test_a_policy_request_says_what_the_command_said(command: str) -> None:
    assert request(command) == POLICIES[command]


@pytest.mark.parametrize("command", STATES)
def test_a_state_request_says_what_the_command_said(command: str) -> None:
    assert request(command) == STATES[command]


@pytest.mark.parametrize("command", OTHERS)
def test_another_request_says_what_the_command_said(command: str) -> None:
    assert request(command) == OTHERS[command]


def test_a_policy_with_flags_index_and_device_says_so() -> None:
    policy = request("ip xfrm policy add dst 10.0.0.0/8")
    assert (policy.flags, policy.index, policy.priority) == (3, 801, 4)
    assert policy.selector.interface > 0
    assert (policy.selector.source_prefix, policy.selector.destination_prefix) == (0, 8)


def test_an_spi_is_asked_for_within_its_range() -> None:
    alloc = request("ip xfrm state allocspi src 10.0.0.2 dst 10.0.0.1 proto esp")
    assert (alloc.minimum, alloc.maximum) == (0x2000, 0x20FF)
    assert (alloc.state.reqid, alloc.state.sequence, alloc.state.spi) == (9, 0x77000000, 0)


def test_a_device_that_shall_do_the_cryptography_is_named() -> None:
    offload = request(ESP + "0x100b").offload
    assert offload.interface > 0
    assert offload.flags == 0
