"""Levels: what ``default``, ``use``, ``require`` and ``unique`` make of real packets."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from kamexfrm.model.knobs import KNOBS, Knob
from kamexfrm.net import AF_INET, IPPROTO_AH, IPPROTO_ESP
from kamexfrm.rig import Gateways, Host, TwoHosts, until
from tests.dataplane.dataplane_proof import (
    AUTHENTICATION,
    ESP_KEYS,
    MARKER,
    Watch,
    both_sides,
    is_protected,
    knob,
    load,
    moved,
    ping,
    receive_all,
    receiver,
    send,
    setkey,
    spd_line,
    waits_for_counter,
)

pytestmark = pytest.mark.dataplane

A4, B4, A6, B6 = "10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"
ENDS = {"inet": (A4, B4), "inet6": (A6, B6)}
PREFIX = {"inet": "net.inet.ipsec.", "inet6": "net.inet6.ipsec6."}
DEFLEVS = [k for k in KNOBS if k.field.endswith("deflev")]

ESP_TRANSPORT = "ipsec esp/transport//{level}"
ESP_TUNNEL = "ipsec esp/tunnel/{source}-{destination}/{level}"
AH_TRANSPORT = "ipsec ah/transport//{level}"
AH_TUNNEL = "ipsec ah/tunnel/{source}-{destination}/{level}"

#: One flow for each knob of a family, distinguished by the port.
FLOWS = {
    "esp_trans_deflev": (7001, ESP_TRANSPORT),
    "esp_net_deflev": (7002, ESP_TUNNEL),
    "ah_trans_deflev": (7003, AH_TRANSPORT),
    "ah_net_deflev": (7004, AH_TUNNEL),
}


def flows() -> Iterator[tuple[Knob, str, str, int, str]]:
    """Yield each knob with the flow that it governs: source, destination, port, requests."""
    for one in DEFLEVS:
        source, destination = ENDS["inet" if one.family == AF_INET else "inet6"]
        port, requests = FLOWS[one.field]
        written = requests.format(source=source, destination=destination, level="default")
        yield one, source, destination, port, written


def acquaint(hosts: TwoHosts) -> None:
    """Let the hosts learn each other's link-layer addresses."""
    assert hosts.a.ping(B4)
    assert hosts.a.ping(B6)
    assert hosts.b.ping(A6)


def left(a: Host, destination: str, port: int) -> bool:
    """Send a datagram; return whether it left in clear, else assert that nothing left."""
    before = a.counters()
    with Watch([a], a) as watch:
        send(a, destination, port)
    if watch.shows():
        watch.assert_clear()
        return True
    waits_for_counter(a, "XfrmOutNoStates", before)
    assert not any(is_protected(p) for p in watch.packets())
    return False


def test_each_deflev_governs_its_own_outbound_flow_and_no_other(two_hosts: TwoHosts) -> None:
    a, _ = two_hosts
    acquaint(two_hosts)
    load(
        a,
        "".join(
            spd_line(source, f"{destination}[{port}]", "out", requests, "udp")
            for _, source, destination, port, requests in flows()
        ),
    )

    def leaving() -> set[str]:
        return {k.name for k, _, destination, port, _ in flows() if left(a, destination, port)}

    everything = {k.name for k in DEFLEVS}
    assert leaving() == everything
    for one in DEFLEVS:
        knob(a, f"{one.name}=2")
        assert leaving() == everything - {one.name}
        knob(a, f"{one.name}=1")
    assert leaving() == everything
    knob(a, *(f"{one.name}=2" for one in DEFLEVS))
    assert leaving() == set()
    knob(a, f"{DEFLEVS[0].name}=1")
    assert leaving() == {DEFLEVS[0].name}


def test_each_deflev_governs_its_own_inbound_flow_and_no_other(two_hosts: TwoHosts) -> None:
    a, b = two_hosts
    acquaint(two_hosts)
    load(
        b,
        "".join(
            spd_line(source, f"{destination}[{port}]", "in", requests, "udp")
            for _, source, destination, port, requests in flows()
        ),
    )
    with contextlib.ExitStack() as stack:
        sockets = {
            one.name: stack.enter_context(receiver(b, destination, port))
            for one, _, destination, port, _ in flows()
        }

        def arriving() -> set[str]:
            before = b.counters()
            for _, _, destination, port, _ in flows():
                send(a, destination, port)
            arrived: dict[str, list[bytes]] = {name: [] for name in sockets}

            def complete() -> bool:
                for name, link in sockets.items():
                    arrived[name] += receive_all(link)
                refused = moved(b, before).get("XfrmInTmplMismatch", 0)
                return sum(map(len, arrived.values())) + refused >= len(sockets)

            until(complete, what="every datagram's fate")
            assert set(moved(b, before)) <= {"XfrmInTmplMismatch"}
            return {name for name, data in arrived.items() if data}

        everything = {k.name for k in DEFLEVS}
        assert arriving() == everything
        for one in DEFLEVS:
            knob(b, f"{one.name}=2")
            assert arriving() == everything - {one.name}
            knob(b, f"{one.name}=1")
        assert arriving() == everything


@pytest.mark.parametrize("family", ENDS)
def test_a_gateway_takes_clear_packets_for_its_net_as_esp_net_deflev_says(
    gateways: Gateways, family: str
) -> None:
    nets = ("10.1.0.0/16", "10.2.0.0/16") if family == "inet" else ("fd01::/64", "fd02::/64")
    target = "10.2.0.2" if family == "inet" else "fd02::2"
    outer, inner = ENDS[family]
    h1, _, g2, _ = gateways
    load(g2, spd_line(*nets, "in", f"ipsec esp/tunnel/{outer}-{inner}/default"))
    other = "inet6" if family == "inet" else "inet"
    assert ping(h1, target)
    for value in (2, 1, 2):
        knob(g2, f"{PREFIX[other]}esp_net_deflev=2", f"{PREFIX[family]}esp_net_deflev={value}")
        before = g2.counters()
        if value == 1:
            assert ping(h1, target)
            assert moved(g2, before) == {}
        else:
            send(h1, target, 9)
            waits_for_counter(g2, "XfrmInTmplMismatch", before)
    knob(g2, f"{PREFIX[family]}esp_net_deflev=1")
    assert ping(h1, target)


def sas(protocol: str, *ends: tuple[str, str], mode: str, spi: int = 0x1000) -> str:
    keys = ESP_KEYS if protocol == "esp" else AUTHENTICATION
    return "".join(
        f"add {source} {destination} {protocol} {spi + at:#x} -m {mode} {keys};\n"
        for at, (source, destination) in enumerate(ends)
    )


@pytest.mark.parametrize("level", ["use", "default"])
@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize("mode", ["transport", "tunnel"])
@pytest.mark.parametrize("protocol", ["esp", "ah"])
def test_use_protects_while_there_is_an_sa_and_passes_clear_text_while_not(
    two_hosts: TwoHosts, protocol: str, mode: str, family: str, level: str
) -> None:
    a, b = two_hosts
    acquaint(two_hosts)
    left, right = ENDS[family]
    header = IPPROTO_ESP if protocol == "esp" else IPPROTO_AH
    ends = (f"{left}-{right}", f"{right}-{left}") if mode == "tunnel" else ("", "")
    out, back = (f"ipsec {protocol}/{mode}/{end}/{level}" for end in ends)
    there = sas(protocol, (left, right), (right, left), mode=mode)
    for host, policies in zip(two_hosts, both_sides(left, right, out, mirrored=back), strict=True):
        load(host, policies)
    gone = {
        "delete": "".join(
            f"delete {s} {d} {protocol} {spi};"
            for s, d, spi in ((left, right, 0x1000), (right, left, 0x1001))
        ),
        "deleteall": "".join(
            f"deleteall {s} {d} {protocol};" for s, d in ((left, right), (right, left))
        ),
        "flush": "flush;",
    }
    for ending in gone.values():
        with Watch(two_hosts, a) as watch:
            assert ping(a, right)
            assert ping(b, left)
        watch.assert_clear()
        for host in two_hosts:
            load(host, there)
        with Watch(two_hosts, a) as watch:
            assert ping(a, right)
            assert ping(b, left)
        watch.assert_protected(header, hides=protocol == "esp")
        for host in two_hosts:
            load(host, ending)
    with Watch(two_hosts, a) as watch:
        assert ping(a, right)
    watch.assert_clear()


@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize("mode", ["transport", "tunnel"])
@pytest.mark.parametrize("level", ["use", "default", "require"])
def test_a_connected_flow_notices_that_its_sa_comes_and_goes(
    two_hosts: TwoHosts, level: str, mode: str, family: str
) -> None:
    a, b = two_hosts
    acquaint(two_hosts)
    left, right = ENDS[family]
    end = f"{left}-{right}" if mode == "tunnel" else ""
    load(a, spd_line(left, right, "out", f"ipsec esp/{mode}/{end}/{level}", "udp"))
    kind = socket.AF_INET if family == "inet" else socket.AF_INET6
    with receiver(b, right, 7), a.socket(kind, socket.SOCK_DGRAM) as flow:
        flow.connect((right, 7))

        def fate() -> str:
            before = a.counters()
            with Watch([a], a) as watch:
                flow.send(MARKER)
            if not watch.packets():
                waits_for_counter(a, "XfrmOutNoStates", before)
                return "nothing"
            if watch.shows():
                return "clear"
            watch.assert_protected(IPPROTO_ESP, both=False)
            return "esp"

        without = "nothing" if level == "require" else "clear"
        assert fate() == without
        for _ in range(2):
            load(a, sas("esp", (left, right), mode=mode))
            assert fate() == "esp"
            assert fate() == "esp"
            load(a, f"delete {left} {right} esp 0x1000;")
            assert fate() == without


@pytest.mark.parametrize("order", ["policies first", "SAs first"])
def test_unique_gives_each_flow_its_own_sa(two_hosts: TwoHosts, order: str) -> None:
    a, b = two_hosts
    there = "".join(
        f"add {source} {destination} esp {spi:#x} -m transport -u {reqid} {ESP_KEYS};\n"
        for source, destination, spi, reqid in (
            (A4, B4, 0x1001, 1),
            (A4, B4, 0x1002, 2),
            (B4, A4, 0x2001, 1),
            (B4, A4, 0x2002, 2),
        )
    )
    policies = [
        f"spdadd {A4} {B4}[700{n}] udp -P {{}} ipsec esp/transport//unique:{n};"
        f"spdadd {B4}[700{n}] {A4} udp -P {{}} ipsec esp/transport//unique:{n};"
        for n in (1, 2)
    ]
    for host, directions in ((a, ("out", "in")), (b, ("in", "out"))):
        written = "".join(policy.format(*directions) for policy in policies)
        load(host, written + there if order == "policies first" else there + written)
    for n in (2, 1, 2):
        with b.udp_echo(B4, 7000 + n), Watch([a], a) as watch:
            assert a.udp_ask(B4, 7000 + n, MARKER, timeout=5) == MARKER
        assert [p.spi for p in watch.packets()] == [0x1000 + n, 0x2000 + n]
        assert not watch.shows()
        assert watch.errors() == {}


def test_unique_without_a_number_never_takes_another_flows_sa(two_hosts: TwoHosts) -> None:
    a, _ = two_hosts
    acquaint(two_hosts)
    load(a, f"add {A4} {B4} esp 0x1000 -m transport {ESP_KEYS};")
    load(a, spd_line(A4, B4, "out", "ipsec esp/transport//unique", "udp"))
    assert not left(a, B4, 7)


#: Requests of level use around a packet, by which of their SAs there are: what is on the wire.
_BUNDLES = {
    (): (),
    ("esp",): (IPPROTO_ESP,),
    ("ah",): (IPPROTO_AH,),
    ("esp", "ah"): (IPPROTO_AH, IPPROTO_ESP),
}


@pytest.mark.parametrize("mode", ["transport", "tunnel"])
def test_each_use_request_of_a_bundle_is_judged_alone(two_hosts: TwoHosts, mode: str) -> None:
    a, b = two_hosts
    acquaint(two_hosts)
    out, back = (
        f"ipsec esp/{mode}/{end}/use ah/transport//use"
        for end in ((f"{A4}-{B4}", f"{B4}-{A4}") if mode == "tunnel" else ("", ""))
    )
    for host, policies in zip(two_hosts, both_sides(A4, B4, out, mirrored=back), strict=True):
        load(host, policies)
    for present, headers in _BUNDLES.items():
        for host in two_hosts:
            load(host, "flush;")
            for at, protocol in enumerate(present):
                inner = mode if protocol == "esp" else "transport"
                ends = (A4, B4), (B4, A4)
                load(host, sas(protocol, *ends, mode=inner, spi=0x1000 + 16 * at))
        with Watch(two_hosts, a) as watch:
            assert ping(a, B4)
            assert ping(b, A4)
        if headers:
            watch.assert_protected(*headers, hides="esp" in present)
        else:
            watch.assert_clear()


@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize(
    ("behind", "ending"),
    [
        ("require", "spddelete"),
        ("discard", "spddelete"),
        ("def_policy", "spddelete"),
        ("def_policy", "spdflush"),
        ("def_policy", "-FP"),
        ("nothing", "spdupdate"),
    ],
)
def test_a_connected_flow_notices_that_its_bypass_goes(
    two_hosts: TwoHosts, behind: str, ending: str, family: str
) -> None:
    a, b = two_hosts
    acquaint(two_hosts)
    left, right = ENDS[family]
    net = "10.0.0.0/8" if family == "inet" else "fd00::/16"
    load(a, spd_line(left, right, "out", "none", "udp"))
    if behind == "def_policy":
        knob(a, f"{PREFIX[family]}def_policy=0")
    elif behind == "discard":
        load(a, spd_line(net, net, "out", "discard"))
    elif behind == "require":
        load(a, spd_line(net, net, "out", "ipsec esp/transport//require"))
    kind = socket.AF_INET if family == "inet" else socket.AF_INET6
    with receiver(b, right, 7) as link, a.socket(kind, socket.SOCK_DGRAM) as flow:
        flow.connect((right, 7))
        flow.send(MARKER)
        assert receive_all(link) == [MARKER]
        if ending == "-FP":
            setkey(a, "-FP")
        elif ending == "spdflush":
            load(a, "spdflush;")
        elif ending == "spddelete":
            load(a, f"spddelete {left} {right} udp -P out;")
        else:
            load(a, spd_line(left, right, "out", "discard", "udp").replace("spdadd", "spdupdate"))
        with Watch([a], a) as watch, contextlib.suppress(PermissionError):
            flow.send(MARKER)
        watch.assert_nothing_left()


@pytest.mark.parametrize("level", ["use", "require"])
@pytest.mark.parametrize("mode", ["transport", "tunnel", "any"])
def test_an_sa_with_a_reqid_serves_a_request_that_names_none(
    two_hosts: TwoHosts, mode: str, level: str
) -> None:
    # KAME key.c key_cmpsaidx(): only a request with a reqid compares the SA's.
    acquaint(two_hosts)
    wanted = "tunnel" if mode == "any" else mode
    out, back = (
        f"ipsec esp/{wanted}/{end}/{level}"
        for end in ((f"{A4}-{B4}", f"{B4}-{A4}") if wanted == "tunnel" else ("", ""))
    )
    there = sas("esp", (A4, B4), (B4, A4), mode=mode).replace("-m", "-u 5 -m")
    for host, policies in zip(two_hosts, both_sides(A4, B4, out, mirrored=back), strict=True):
        load(host, policies + there)
    with Watch(two_hosts, two_hosts.a) as watch:
        assert two_hosts.a.ping(B4, payload=MARKER, timeout=0.2)
    watch.assert_protected(IPPROTO_ESP)
