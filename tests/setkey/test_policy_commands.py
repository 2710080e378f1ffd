"""The commands about policies: selectors, types and codes, ports, numbers out of range."""

import pytest

from kamexfrm.errors import Place
from kamexfrm.model.policy import (
    ULPROTO_ANY,
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SecurityContext,
    Selector,
)
from kamexfrm.net import Address
from kamexfrm.setkey.statements import (
    SpdAdd,
    SpdDelete,
    SpdDump,
    SpdFlush,
    SpdGet,
    SpdUpdate,
    Tagged,
)
from tests.setkey.setkey_reading import read, script_error

ESP, AH, IPCOMP = IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP
A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")


def test_spdadd_carries_a_policy() -> None:
    statement = read(
        SpdAdd,
        'spdadd 10.0.0.0/8[80] 10.0.0.2[any] tcp -ctx 1 1 "l" -P out prio high ipsec\n'
        "  ah/transport # inner\n  esp/tunnel/10.0.0.1-10.0.0.2/unique:5;",
    )
    policy = statement.policy
    assert policy.selector == Selector(Address.parse("10.0.0.0"), 8, B, 32, 6, 80, None)
    assert (policy.direction, policy.type) == (Direction.OUT, PolicyType.IPSEC)
    assert policy.priority == 0x40000000
    assert policy.requests == (
        IpsecRequest(AH, Mode.TRANSPORT),
        IpsecRequest(ESP, Mode.TUNNEL, Level.UNIQUE, 5, A, B),
    )
    assert policy.label == SecurityContext(1, 1, b"l")
    assert (statement.place.line, statement.end_line) == (1, 3)


def test_other_commands_about_policies_are_read() -> None:
    assert read(SpdUpdate, "spdupdate ::1 ::1 any -P in discard;")
    delete = read(SpdDelete, "spddelete 10.0.0.1 10.0.0.2 any -P out;")
    assert delete.direction is Direction.OUT
    assert delete.selector == Selector(A, 32, B, 32)
    assert read(SpdGet, "spdget 10.0.0.1 10.0.0.2 any -P out;")
    assert read(SpdDump, "spddump;")
    assert read(SpdFlush, "spdflush ;")
    tagged = read(Tagged, 'spdadd tagged "foo" -P out none;')
    assert tagged == Tagged(Place("f", 1, 1), 1, b"foo", False)


def test_freebsds_device_after_the_policy_is_read() -> None:
    statement = read(SpdAdd, "spdadd ::1 ::1 any -P in ipsec esp/transport//require -hwif mce0;")
    assert statement.interface == "mce0"
    assert len(statement.policy.requests) == 1


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ("any", (ULPROTO_ANY, None, None)),
        ("ip", (ULPROTO_ANY, None, None)),
        ("0", (ULPROTO_ANY, None, None)),
        ("255", (ULPROTO_ANY, None, None)),
        ("udp", (17, None, None)),
        ("ip4", (4, None, None)),
        ("esp", (50, None, None)),
        ("ah", (51, None, None)),
        ("ipcomp", (108, None, None)),
        ("ipv6-icmp", (58, None, None)),
        ("icmp6 136", (58, 136, None)),
        ("icmp6 135,0", (58, 135, None)),
        ("icmp6 1,4", (58, 1, 4)),
        ("icmp6 0,0", (58, None, None)),
        ("icmp 0", (1, 0, None)),
        ("icmp 8", (1, 8, None)),
        ("135 5,6", (135, 5, 6)),
        ("gre 1234", (47, 0, 1234)),
        ("gre 1.2.3.4", (47, 0x0102, 0x0304)),
        ("gre 4294967295", (47, 0xFFFF, 0xFFFF)),
        ("gre", (47, None, None)),
    ],
)
def test_upper_protocol_with_type_code_or_key(
    upper: str, expected: tuple[int, int | None, int | None]
) -> None:
    selector = read(SpdAdd, f"spdadd 10.0.0.1 10.0.0.2 {upper} -P out none;").policy.selector
    assert (selector.upper, selector.source_port, selector.destination_port) == expected


@pytest.mark.parametrize(
    "words",
    [
        "icmp 256",
        "icmp 8,256",
        "icmp ,8",
        "icmp 8,0,1",
        "gre 4294967296",
        "gre 1.2.3",
        "udp 53",
        "any 5",
    ],
)
def test_type_code_and_key_out_of_place_or_range_are_refused(words: str) -> None:
    error = script_error(f"spdadd 10.0.0.1 10.0.0.2 {words} -P out none;")
    assert (error.reason, error.token) == ("invalid an upper layer protocol spec", " out none;")
    assert error.place
    assert error.place.column == 26 + len(words.split()[0]) + 1


def test_ports_are_numbers_any_or_names_of_udp_or_of_tcp_where_that_is_the_protocol() -> None:
    statement = read(SpdAdd, "spdadd 10.0.0.1[domain] 10.0.0.2[0] tcp -P out none;")
    assert statement.policy.selector.source_port == 53
    assert statement.policy.selector.destination_port is None
    statement = read(SpdAdd, "spdadd 10.0.0.2 10.0.0.1[http] tcp -P out none;")
    assert statement.policy.selector.destination_port == 80
    error = script_error("spdadd 10.0.0.2 10.0.0.1[http] udp -P out none;")
    assert error.reason == "Servname not supported for ai_socktype"
    error = script_error("spdadd 10.0.0.1[nosuch] 10.0.0.2 tcp -P out none;")
    assert error.reason == "Servname not supported for ai_socktype"
    assert error.place == Place("f", 1, 17)


def test_port_beside_a_type_is_refused() -> None:
    error = script_error("spdadd 10.0.0.1[80] 10.0.0.2 icmp 8 -P out none;")
    assert error.reason == "invalid an upper layer protocol spec"
    error = script_error("spdadd 10.0.0.1[300] 10.0.0.2 icmp -P out none;")
    assert error.reason == "invalid an upper layer protocol spec"


def test_several_addresses_are_too_many_for_a_policy() -> None:
    error = script_error("spdadd 10.0.0.1 multi1 any -P out none;")
    assert (error.reason, error.token) == ("multiple address specified", " out none;")
    assert error.place
    assert error.place.column == 17
    error = script_error("delete multi1 10.0.0.2 esp 5;")
    assert (error.reason, error.token) == ("multiple address specified", ";")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("spdadd 10.0.0.1/256 10.0.0.2 any -P out none;", "prefix length too big"),
        ("add 10.0.0.1 10.0.0.2 esp 4294967296 -E null;", "SPI too big."),
        ("add 10.0.0.1 10.0.0.2 esp 5 -u 4294967296 -E null;", "reqid too big"),
        ("add 10.0.0.1 10.0.0.2 esp 5 -r 4294967296 -E null;", "replay window too big"),
        (f"add 10.0.0.1 10.0.0.2 esp 5 -lh {2**64} -E null;", "lifetime too big"),
        (f"add 10.0.0.1 10.0.0.2 esp {'9' * 5000} -E null;", "SPI too big."),
        (f"add 10.0.0.1 10.0.0.2 esp 5 -u {'9' * 5000} -E null;", "reqid too big"),
        (f"spdadd 10.0.0.1[{'9' * 5000}] 10.0.0.2 tcp -P out none;", "port too big"),
        (f"spdadd 10.0.0.1 10.0.0.2 {'9' * 5000} -P out none;", "invalid upper layer protocol"),
    ],
)
def test_numbers_that_would_be_truncated_are_refused(text: str, reason: str) -> None:
    assert script_error(text).reason == reason


def test_zeros_before_a_number_do_not_matter() -> None:
    statement = read(SpdAdd, f"spdadd 10.0.0.1[{'0' * 5000}80] 10.0.0.2 tcp -P out none;")
    assert statement.policy.selector.source_port == 80
