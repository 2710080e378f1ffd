"""Two hosts configured by setkey: what is asked for is what is on the wire, and nothing else."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from kamexfrm.net import (
    IPPROTO_AH,
    IPPROTO_COMP,
    IPPROTO_ESP,
    IPPROTO_IPIP,
    IPPROTO_IPV6,
)
from kamexfrm.rig import Gateways, TwoHosts
from tests.dataplane.dataplane_proof import (
    AUTHENTICATION,
    ESP_KEYS,
    Watch,
    both_sides,
    load,
    ping,
    send,
    spd_line,
    waits_for_counter,
)

pytestmark = pytest.mark.dataplane

A4, B4, A6, B6 = "10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"
FAMILIES = {"v4": (A4, B4), "v6": (A6, B6)}
SPI = 0x1000


class Kind(NamedTuple):
    """A way to protect: its requests (innermost first) and the headers it makes on the wire."""

    protocols: tuple[str, ...]
    headers: tuple[int, ...]
    hides: bool = True


KINDS = {
    "esp": Kind(("esp",), (IPPROTO_ESP,)),
    "ah": Kind(("ah",), (IPPROTO_AH,), hides=False),
    "esp+ah": Kind(("esp", "ah"), (IPPROTO_AH, IPPROTO_ESP)),
    "ipcomp": Kind(("ipcomp",), (IPPROTO_COMP,)),
    "ipcomp+esp": Kind(("ipcomp", "esp"), (IPPROTO_ESP,)),
    "ipcomp+esp+ah": Kind(("ipcomp", "esp", "ah"), (IPPROTO_AH, IPPROTO_ESP)),
}
ALGORITHMS = {"esp": ESP_KEYS, "ah": AUTHENTICATION, "ipcomp": "-C deflate"}


def sas(
    left: str, right: str, protocols: Sequence[str], mode: str = "transport", options: str = ""
) -> str:
    """Return the SAs of both directions."""
    lines = []
    for at, protocol in enumerate(protocols):
        for side, (source, destination) in enumerate(((left, right), (right, left))):
            spi = SPI + 16 * at + side
            lines.append(
                f"add {source} {destination} {protocol} {spi:#x} -m {mode} {options} "
                f"{ALGORITHMS[protocol]};\n"
            )
    return "".join(lines)


def transport_requests(protocols: Sequence[str], level: str = "require") -> str:
    return "ipsec " + " ".join(f"{p}/transport//{level}" for p in protocols)


def tunnel_requests(left: str, right: str, protocols: Sequence[str]) -> str:
    """Return a tunnel as the innermost request, the others around it for the outer packet."""
    first, *others = protocols
    rest = "".join(f" {p}/transport//require" for p in others)
    return f"ipsec {first}/tunnel/{left}-{right}/require{rest}"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_transport_mode_protects_both_ways(two_hosts: TwoHosts, kind: str, family: str) -> None:
    left, right = FAMILIES[family]
    protocols, headers, hides = KINDS[kind]
    ours, theirs = both_sides(left, right, transport_requests(protocols))
    assert two_hosts.a.ping(right)  # neighbours know each other before policies apply to them
    for host, policies in ((two_hosts.a, ours), (two_hosts.b, theirs)):
        load(host, "flush; spdflush;" + sas(left, right, protocols) + policies)
    with Watch(two_hosts, two_hosts.a) as watch:
        assert ping(two_hosts.a, right)
        assert ping(two_hosts.b, left)
    watch.assert_protected(*headers, hides=hides)


NETS = {"v4": ("10.1.0.0/16", "10.2.0.0/16"), "v6": ("fd01::/64", "fd02::/64")}
BEHIND = {"v4": ("10.1.0.2", "10.2.0.2"), "v6": ("fd01::2", "fd02::2")}


#: Tunnels: the kind, the headers that it makes and whether they hide what is within.
TUNNELS = {
    "esp": Kind(("esp",), (IPPROTO_ESP,)),
    "ah": Kind(("ah",), (IPPROTO_AH,), hides=False),
    "ipcomp": Kind(("ipcomp",), (IPPROTO_COMP,)),
    "esp+ah": Kind(("esp", "ah"), (IPPROTO_AH, IPPROTO_ESP)),
    "ipcomp+esp": Kind(("ipcomp", "esp"), (IPPROTO_ESP,)),
}


def tunnel_sas(left: str, right: str, protocols: Sequence[str], mode: str) -> str:
    """Return the SAs of a tunnel and of what is around it; mode any leaves it all open."""
    first, *others = protocols
    around = mode if mode == "any" else "transport"
    text = sas(left, right, [first], mode)
    for at, protocol in enumerate(others, 1):
        text += sas(left, right, [protocol], around).replace("0x100", f"0x10{at}")
    return text


_SAME, _CHANGED = (("v4", "v4"), ("v6", "v6")), (("v6", "v4"), ("v4", "v6"))


@pytest.mark.parametrize(("level", "mode"), [("require", "tunnel"), ("use", "any")])
@pytest.mark.parametrize(
    ("kind", "inner", "outer"),
    [
        (kind, *families)
        for kind in TUNNELS
        for families in (_SAME if "+" in kind else _SAME + _CHANGED)
    ],
)
def test_tunnel_mode_protects_what_the_gateways_forward(
    gateways: Gateways, kind: str, inner: str, outer: str, level: str, mode: str
) -> None:
    left, right = FAMILIES[outer]
    protocols, headers, hides = TUNNELS[kind]
    ours, theirs = both_sides(
        *NETS[inner],
        tunnel_requests(left, right, protocols).replace("require", level),
        mirrored=tunnel_requests(right, left, protocols).replace("require", level),
    )
    for host, policies in ((gateways.g1, ours), (gateways.g2, theirs)):
        load(host, "flush; spdflush;" + policies + tunnel_sas(left, right, protocols, mode))
    left_host, right_host = BEHIND[inner]
    with Watch(gateways, gateways.g1, "eth1") as watch:
        assert ping(gateways.h1, right_host)
        assert ping(gateways.h2, left_host)
    if kind == "ah":
        headers += (IPPROTO_IPIP if inner == "v4" else IPPROTO_IPV6,)
    watch.assert_protected(*headers, hides=hides)
    assert {p.source for p in watch.packets()} == {left, right}


@pytest.mark.parametrize("level", ["require", "use"])
@pytest.mark.parametrize(("inner", "outer"), _CHANGED)
def test_transport_requests_around_a_tunnel_of_another_family_find_no_sa_on_linux(
    gateways: Gateways, inner: str, outer: str, level: str
) -> None:
    # Differs from KAME only so far as KAME has no such tunnels at all: Linux holds a transport
    # SA's own family against that of the innermost packet. What is required is not sent at all.
    left, right = FAMILIES[outer]
    requests = tunnel_requests(left, right, ["esp", "ah"]).replace(
        "transport//require", f"transport//{level}"
    )
    load(gateways.g1, spd_line(*NETS[inner], "out", requests))
    load(gateways.g1, tunnel_sas(left, right, ["esp", "ah"], "tunnel"))
    before = gateways.g1.counters()
    with Watch([gateways.g1], gateways.g1, "eth1") as watch:
        send(gateways.h1, BEHIND[inner][1], 9)
    assert not watch.shows()
    if level == "require":
        waits_for_counter(gateways.g1, "XfrmOutNoStates", before)
        watch.assert_nothing_left()
    else:
        assert [p.protocols for p in watch.packets()] == [(IPPROTO_ESP,)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", ["use", "require"])
def test_packets_too_short_to_compress_pass_as_they_are(
    two_hosts: TwoHosts, level: str, family: str
) -> None:
    left, right = FAMILIES[family]
    assert two_hosts.a.ping(right)
    policies = both_sides(left, right, transport_requests(["ipcomp"], level))
    for host, own in zip(two_hosts, policies, strict=True):
        load(host, sas(left, right, ["ipcomp"]) + own)
    for host, other in ((two_hosts.a, right), (two_hosts.b, left)):
        with Watch(two_hosts, two_hosts.a) as watch:
            assert host.ping(other, payload=b"short")
        assert watch.shows(b"short")
        assert watch.errors() == {}
