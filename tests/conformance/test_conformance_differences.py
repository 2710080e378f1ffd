"""Each of the kernel's differences from KAME by itself: what the kernel does, and what KAME would.

The same table is in ipsec(4) under CAVEATS, with the same titles in the same order.
"""

import re
import socket
from pathlib import Path as FilePath

import pytest

import kamexfrm
from kamexfrm.errors import UnsupportedError
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.language import parse_policy
from kamexfrm.model.linux.differences import DIFFERENCES, KAME
from kamexfrm.model.packet import (
    Packet,
    Path,
    Protection,
    SocketAction,
    SocketPolicies,
    SocketRule,
)
from kamexfrm.model.policy import (
    PRIORITY_DEFAULT,
    ULPROTO_ANY,
    IpsecProtocol,
    Mode,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import AF_INET, AF_INET6, IPPROTO_UDP, Address
from kamexfrm.rig.scenario.stage.kernel_notes import NOTES
from tests.conformance.conformance_case import Case, keyed
from tests.conformance.conformance_differences import KERNEL, OF_THIS_KERNEL, compare, expected
from tests.conformance.conformance_network import Network

pytestmark = pytest.mark.dataplane

ESP, AH, IPCOMP = IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP
TRANSPORT, TUNNEL = Mode.TRANSPORT, Mode.TUNNEL
FAMILIES = (AF_INET, AF_INET6)
HERE = {AF_INET: Address.parse("10.0.0.1"), AF_INET6: Address.parse("fd00::1")}
PEER = {AF_INET: Address.parse("10.0.0.2"), AF_INET6: Address.parse("fd00::2")}
THIRD = {AF_INET: Address.parse("10.0.0.12"), AF_INET6: Address.parse("fd00::12")}
INSIDE = {AF_INET: Address.parse("10.1.0.2"), AF_INET6: Address.parse("fd01::2")}
FAR = {AF_INET: Address.parse("10.2.0.2"), AF_INET6: Address.parse("fd02::2")}

#: Entries are written with addresses of IPv4; this makes IPv6's of them.
_SIX = {"10.0.0.12": "fd00::12", "10.0.0.1": "fd00::1", "10.0.0.2": "fd00::2"}


def entry(family: int, text: str, port: int | None = None) -> SecurityPolicy:
    """Return an entry for all packets of a family, or those to a UDP port."""
    if family == AF_INET6:
        text = re.sub(r"10\.0\.0\.12?\b|10\.0\.0\.2", lambda found: _SIX[found[0]], text)
    policy = parse_policy(text)
    assert policy.type is not None
    nowhere = Address.unspecified(family)
    upper = ULPROTO_ANY if port is None else IPPROTO_UDP
    return SecurityPolicy(
        Selector(nowhere, 0, nowhere, 0, upper, None, port),
        policy.direction,
        policy.type,
        policy.requests,
        PRIORITY_DEFAULT,
    )


def out(family: int) -> Packet:
    return Packet(Path.OUT, HERE[family], PEER[family], IPPROTO_UDP, 7000, 7001)


def arriving(family: int, *seals: tuple[IpsecProtocol, Mode, int]) -> Packet:
    """Return a packet from the peer; ``seals`` are outermost first."""
    ends = (PEER[family], HERE[family])
    protections = tuple(Protection(p, m, *ends, spi) for p, m, spi in seals)
    return Packet(Path.IN, *ends, IPPROTO_UDP, 7000, 7001, protections)


def transit(family: int) -> Packet:
    return Packet(Path.FORWARDED, INSIDE[family], FAR[family], IPPROTO_UDP, 7000, 7001)


def to_peer(
    family: int, protocol: IpsecProtocol, spi: int, mode: Mode = TRANSPORT, reqid: int = 0
) -> SecurityAssociation:
    return keyed(HERE[family], PEER[family], protocol, spi, mode, reqid)


def from_peer(
    family: int, protocol: IpsecProtocol, spi: int, mode: Mode = TRANSPORT
) -> SecurityAssociation:
    return keyed(PEER[family], HERE[family], protocol, spi, mode)


def _output_cases(f: int) -> dict[str, Case]:
    other = _other(f)
    across = "out ipsec esp/tunnel/{}-{}/require esp/transport//require"
    across = across.format(HERE[other], PEER[other])
    return {
        "discard-eperm": Case(out(f), (entry(f, "out discard"),)),
        "one-reqid": Case(
            out(f),
            (entry(f, "out ipsec esp/transport//use"),),
            (
                to_peer(f, ESP, 0x1001, reqid=7),
                keyed(HERE[f], THIRD[f], ESP, 0x1002, TRANSPORT, 8),
            ),
        ),
        "newest-sa": Case(
            out(f),
            (entry(f, "out ipsec esp/transport//use"),),
            (to_peer(f, ESP, 0x1001), to_peer(f, ESP, 0x1002)),
            Knobs(preferred_oldsa=1),
        ),
        "one-mode": Case(
            out(f),
            (
                entry(f, "out ipsec esp/transport//require", 7001),
                entry(f, "out ipsec esp/tunnel/10.0.0.1-10.0.0.2/require", 7000),
            ),
            (to_peer(f, ESP, 0x1001, Mode.ANY),),
        ),
        "transport-endpoints": Case(
            out(f),
            (entry(f, "out ipsec esp/transport/10.0.0.1-10.0.0.12/require"),),
            (to_peer(f, ESP, 0x1001),),
        ),
        "family-change": Case(
            out(f),
            (_across(f, across),),
            (to_peer(other, ESP, 0x1001, TUNNEL), to_peer(other, ESP, 0x1002)),
        ),
        "socket-eagain": Case(
            out(f),
            socket=SocketPolicies(
                SocketRule(
                    SocketAction.IPSEC, parse_policy("out ipsec esp/transport//require").requests
                ),
                privileged=True,
            ),
        ),
        "forwarded-ports": Case(transit(f), (entry(f, "out discard", 7001),), inside=True),
        "forwarded-transport": Case(
            transit(AF_INET6),
            (entry(AF_INET6, "out ipsec esp/transport//require"),),
            inside=True,
        ),
    }


def _across(f: int, text: str) -> SecurityPolicy:
    policy = parse_policy(text)
    nowhere = Address.unspecified(f)
    assert policy.type is not None
    everything = Selector(nowhere, 0, nowhere, 0)
    return SecurityPolicy(everything, policy.direction, policy.type, policy.requests)


def _other(family: int) -> int:
    return AF_INET if family == AF_INET6 else AF_INET6


def _around(f: int) -> Case:
    """Return a packet in AH in transport mode around a tunnel of the other family."""
    other = _other(f)
    ends = (PEER[other], HERE[other])
    seals = (Protection(AH, TRANSPORT, *ends, 0x1002), Protection(ESP, TUNNEL, *ends, 0x1001))
    text = f"in ipsec esp/tunnel/{ends[0]}-{ends[1]}/require ah/transport//require"
    return Case(
        arriving(f)._replace(protections=seals),
        (_across(f, text),),
        (from_peer(other, ESP, 0x1001, TUNNEL), from_peer(other, AH, 0x1002)),
    )


def _input_cases(f: int) -> dict[str, Case]:
    esp, ah = (ESP, TRANSPORT, 0x1001), (AH, TRANSPORT, 0x1002)
    tunnel = (ESP, TUNNEL, 0x1001)
    esp_sa, ah_sa = from_peer(f, ESP, 0x1001), from_peer(f, AH, 0x1002)
    tunnel_sa = from_peer(f, ESP, 0x1001, TUNNEL)
    right = "in ipsec esp/tunnel/10.0.0.2-10.0.0.1/require"
    return {
        "input-headers": Case(
            arriving(f, (IPCOMP, TRANSPORT, 0x1003)),
            (entry(f, "in ipsec esp/transport//require"),),
            (from_peer(f, IPCOMP, 0x1003),),
        ),
        "input-mode": Case(
            arriving(f, tunnel),
            (
                entry(f, "in ipsec esp/transport//require", 7001),
                entry(f, right, 7000),
            ),
            (tunnel_sa,),
        ),
        "input-order": Case(
            arriving(f, ah, esp),
            (entry(f, "in ipsec ah/transport//require esp/transport//require"),),
            (esp_sa, ah_sa),
        ),
        "input-source": Case(
            arriving(f, tunnel),
            (
                entry(f, "in ipsec esp/tunnel/10.0.0.12-10.0.0.1/use", 7001),
                entry(f, right, 7000),
            ),
            (tunnel_sa,),
        ),
        "extra-tunnel": Case(
            arriving(f, tunnel),
            (entry(f, "in ipsec ah/transport//use", 7001), entry(f, right, 7000)),
            (tunnel_sa,),
        ),
        "tunnel-unasked": Case(arriving(f, tunnel), (entry(f, "in none"),), (tunnel_sa,)),
        "no-policy-tunnel": Case(arriving(f, tunnel), (entry(f, right, 7000),), (tunnel_sa,)),
        "sa-mode": Case(
            arriving(f, esp), (entry(f, "in ipsec esp/transport//require"),), (tunnel_sa,)
        ),
        "ah-inside": Case(arriving(f, esp, ah), (), (esp_sa, ah_sa)),
        "other-family": _around(f),
        "helper-tunnel": Case(
            arriving(f, tunnel),
            (entry(f, "in none"), entry(f, right, 7000)),
            (from_peer(f, ESP, 0x1001), from_peer(f, IPCOMP, 0x1003, TUNNEL)),
        ),
    }


@pytest.mark.parametrize("family", FAMILIES, ids=["inet", "inet6"])
@pytest.mark.parametrize("name", sorted(KERNEL))
def test_the_kernel_differs_from_kame_as_the_table_says(
    network: Network, name: str, family: int
) -> None:
    case = {**_output_cases(family), **_input_cases(family)}[name]
    result = compare(case, network.run(case))
    assert result.agrees, result
    differs = name in OF_THIS_KERNEL
    assert not differs or expected(case, KAME) != result.wanted
    assert (name in result.names) is differs


# Those that random cases do not meet


@pytest.mark.parametrize("family", FAMILIES, ids=["inet", "inet6"])
def test_a_policy_for_forwarded_packets_takes_the_place_of_the_inbound_one(
    network: Network, family: int
) -> None:
    both = (entry(family, "in none"), entry(family, "fwd discard"))
    result = compare(case := Case(transit(family), both, inside=True), network.run(case))
    assert result.agrees, result
    assert result.names == ("fwd-entry",)
    result = compare(case := case.replace(spd=both[:1]), network.run(case))
    assert result.agrees, result
    assert result.names == ()


@pytest.mark.parametrize("family", FAMILIES, ids=["inet", "inet6"])
@pytest.mark.parametrize("path", [Path.OUT, Path.IN])
def test_a_policy_of_six_requests_drops_what_meets_it_and_one_of_seven_is_refused(
    network: Network, path: Path, family: int
) -> None:
    way, packet = ("out", out(family)) if path is Path.OUT else ("in", arriving(family))
    for count in (5, 6):
        written = entry(family, f"{way} ipsec {'esp/transport//use ' * count}")
        case = Case(packet, (written,))
        seen = network.run(case)
        result = compare(case, seen)
        assert result.agrees, result
        assert result.names == (("six-requests",) if count == 6 else ())
        assert (seen.wire == () or seen.received) == (count == 5)
    seven = entry(family, f"{way} ipsec {'esp/transport//use ' * 7}")
    (refused,) = network.run(Case(packet, (seven,))).refused
    assert "at most 6 requests" in refused


@pytest.mark.parametrize("family", FAMILIES, ids=["inet", "inet6"])
def test_ipv6_in_many_tunnels_is_not_sent_by_older_kernels(network: Network, family: int) -> None:
    ends = HERE[family], PEER[family]
    tunnel = f"ah/tunnel/{ends[0]}-{ends[1]}/require "
    for count, first in ((3, ""), (4, ""), (4, "esp/transport//require "), (5, "")):
        case = Case(
            out(family),
            (entry(family, f"out ipsec {first}{tunnel * count}"),),
            (keyed(*ends, AH, 0x1001, TUNNEL), keyed(*ends, ESP, 0x1002, TRANSPORT)),
        )
        seen = network.run(case)
        result = compare(case, seen)
        assert result.agrees, result
        differs = "small-mtu" in OF_THIS_KERNEL and family == AF_INET6 and count > 3 and not first
        assert result.names == (("small-mtu",) if differs else ())
        assert bool(seen.wire) is not differs


def test_ipv4_over_the_loopback_interface_meets_no_policy_and_ipv6_does(network: Network) -> None:
    discards = [entry(f, f"{way} discard") for f in FAMILIES for way in ("in", "out")]
    network.run(Case(out(AF_INET), tuple(discards)))
    for family, address in ((AF_INET, "127.0.0.1"), (AF_INET, "10.0.0.1"), (AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as link:
            link.settimeout(5)
            link.bind((address, 7000))
            if family == AF_INET:
                link.sendto(b"to myself", link.getsockname())
                assert link.recv(100) == b"to myself"
            else:
                with pytest.raises(PermissionError):
                    link.sendto(b"to myself", link.getsockname())


@pytest.mark.parametrize("family", FAMILIES, ids=["inet", "inet6"])
def test_a_socket_takes_no_outbound_tunnel_of_level_use(network: Network, family: int) -> None:
    requests = f"esp/tunnel/{HERE[family]}-{PEER[family]}/use"
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        if family == AF_INET6:
            link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with pytest.raises(UnsupportedError):
            kamexfrm.set_policy(link, f"out ipsec {requests}")
        kamexfrm.set_policy(link, f"in ipsec {requests}")


def test_daemons_are_asked_once_however_many_packets_want_an_sa(network: Network) -> None:
    # KAME asks again after net.key.blockacq_count packets.
    case = Case(out(AF_INET), (entry(AF_INET, "out ipsec esp/transport//require"),))
    assert network.run(case).acquired == {ESP}
    with socket.socket(AF_INET, socket.SOCK_DGRAM) as link:
        for _ in range(30):
            link.sendto(b"more", (str(PEER[AF_INET]), 7001))
    assert network.acquired() == frozenset()


# The manual page


#: What does not hold and has nothing to do with the fate of a packet.
NOT_OF_PACKETS = {"lifetimes count whole packets", "esp-old, ah-old"}


def _page() -> str:
    return (FilePath(__file__).parents[2] / "man" / "ipsec.4").read_text(encoding="utf-8")


def _caveats() -> list[str]:
    text = _page().partition(".Sh CAVEATS")[2]
    table = text.partition(".Bl -tag -width Ds -compact")[2].partition(".El")[0]
    return [line.removeprefix(".It ") for line in table.splitlines() if line.startswith(".It ")]


def test_the_caveats_of_ipsecs_page_are_the_differences_of_the_table() -> None:
    assert _caveats() == [d.title for d in DIFFERENCES]


def test_the_kernels_of_a_difference_are_named_in_ipsecs_page() -> None:
    caveats = _page().partition(".Sh CAVEATS")[2]
    ranged = [(d.title, d.kernels) for d in DIFFERENCES if d.kernels]
    for title, kernels in [*ranged, *((note.title, note.kernels) for note in NOTES)]:
        text = caveats.partition(f".It {title}\n")[2].partition("\n.It ")[0]
        versions = re.findall(r"[\d.]+", kernels)
        assert versions
        assert all(f"Linux {version}" in text for version in versions), title


def test_what_does_not_hold_in_ipsecs_page_is_because_of_a_difference_of_the_table() -> None:
    table = _page().partition(".Sh WHAT HOLDS")[2].partition(".El")[0]
    rows = dict(re.findall(r"^\.It (.+) Ta (.+)$", table, re.MULTILINE))
    named = {d.promise for d in DIFFERENCES}
    assert named <= set(rows)
    broken = {promise for promise, here in rows.items() if here.startswith("no")}
    assert broken - named == NOT_OF_PACKETS


def test_each_difference_has_a_name_and_a_title_of_its_own() -> None:
    assert len({d.name for d in DIFFERENCES}) == len(DIFFERENCES)
    assert len({d.title for d in DIFFERENCES}) == len(DIFFERENCES)
