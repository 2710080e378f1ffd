"""What the variables do: policies of level default follow, packets without a policy are dropped."""

import re
import socket
from collections.abc import Iterator

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SpdAdd
from kamexfrm.kernel.netlink import NetlinkKernel
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
from kamexfrm.net import Address
from kamexfrm.rig import Host, TwoHosts
from tests.sysctl.kame_sysctl import INET, INET6, kame_sysctl

V4 = ("10.1.0.1", "10.1.0.2", 32)
V6 = ("fd01::1", "fd01::2", 128)


def add(
    between: tuple[str, str, int],
    direction: Direction = Direction.IN,
    requests: tuple[IpsecRequest, ...] = (),
) -> None:
    """Add a policy to the namespace of the test, by an engine of its own."""
    source, destination = Address.parse(between[0]), Address.parse(between[1])
    selector = Selector(source, between[2], destination, between[2])
    type_ = PolicyType.IPSEC if requests else PolicyType.NONE
    kernel = NetlinkKernel()
    engine = Engine(kernel)
    engine.submit(SpdAdd(SecurityPolicy(selector, direction, type_, requests)))
    engine.flush()
    kernel.close()


def request(
    between: tuple[str, str, int],
    protocol: IpsecProtocol,
    mode: Mode,
    level: Level = Level.DEFAULT,
) -> IpsecRequest:
    if mode is Mode.TRANSPORT:
        return IpsecRequest(protocol, mode, level)
    source, destination = Address.parse(between[0]), Address.parse(between[1])
    return IpsecRequest(protocol, mode, level, 0, source, destination)


def shown(host: Host) -> dict[tuple[str, str], str]:
    """Return ip(8)'s text of each policy that is not the marker, by source and direction."""
    text = host.run(["ip", "-s", "xfrm", "policy"], check=True).stdout
    found = {}
    for one in re.split(r"\n(?=src )", text):
        head = re.match(r"src (\S+)/\d+ dst .*?dir (\w+)", one, re.DOTALL)
        if head and "if_id" not in one:
            found[head[1], head[2]] = one
    return found


def levels(host: Host) -> dict[tuple[str, str], str]:
    """Return ip(8)'s word for the level of each policy's template."""
    return {
        key: level[1]
        for key, text in shown(host).items()
        if (level := re.search(r"level (\w+)", text))
    }


CASES = [
    (IpsecProtocol.ESP, Mode.TRANSPORT, 1),
    (IpsecProtocol.ESP, Mode.TUNNEL, 2),
    (IpsecProtocol.AH, Mode.TRANSPORT, 3),
    (IpsecProtocol.AH, Mode.TUNNEL, 4),
]


@pytest.mark.parametrize(("protocol", "mode", "at"), CASES)
def test_policies_of_level_default_follow_their_sysctl_and_no_other(
    namespace: Host, protocol: IpsecProtocol, mode: Mode, at: int
) -> None:
    for between in (V4, V6):
        add(between, requests=(request(between, protocol, mode),))
    assert set(levels(namespace).values()) == {"use"}
    others = [name for names in (INET, INET6) for name in names[1:] if name != names[at]]
    kame_sysctl(namespace, *(f"{name}=2" for name in others))
    assert set(levels(namespace).values()) == {"use"}
    kame_sysctl(namespace, f"{INET[at]}=2")
    assert levels(namespace) == {
        (V4[0], "in"): "required",
        (V4[0], "fwd"): "required",
        (V6[0], "in"): "use",
        (V6[0], "fwd"): "use",
    }
    kame_sysctl(namespace, f"{INET[at]}=1", f"{INET6[at]}=2")
    assert levels(namespace) == {
        (V4[0], "in"): "use",
        (V4[0], "fwd"): "use",
        (V6[0], "in"): "required",
        (V6[0], "fwd"): "required",
    }


def test_an_outbound_policy_follows_and_keeps_its_number(namespace: Host) -> None:
    add(V4, Direction.OUT, (request(V4, IpsecProtocol.ESP, Mode.TRANSPORT),))
    key = (V4[0], "out")
    number = re.search(r"index (\d+)", shown(namespace)[key])
    assert levels(namespace)[key] == "use"
    kame_sysctl(namespace, f"{INET[1]}=2")
    assert levels(namespace)[key] == "required"
    after = re.search(r"index (\d+)", shown(namespace)[key])
    assert number
    assert after
    assert after[1] == number[1]


@pytest.mark.parametrize(("level", "word"), [(Level.USE, "use"), (Level.REQUIRE, "required")])
def test_a_level_that_was_written_stays(namespace: Host, level: Level, word: str) -> None:
    add(V4, requests=(request(V4, IpsecProtocol.ESP, Mode.TRANSPORT, level),))
    for value in ("2", "1"):
        kame_sysctl(namespace, f"{INET[1]}={value}")
        assert set(levels(namespace).values()) == {word}


def test_a_policy_added_later_gets_the_level_in_force(namespace: Host) -> None:
    kame_sysctl(namespace, f"{INET6[1]}=2")
    add(V6, requests=(request(V6, IpsecProtocol.ESP, Mode.TRANSPORT),))
    add(V4, requests=(request(V4, IpsecProtocol.ESP, Mode.TRANSPORT),))
    assert levels(namespace)[V6[0], "in"] == "required"
    assert levels(namespace)[V4[0], "in"] == "use"


def test_policies_of_others_are_left_as_they_are(namespace: Host) -> None:
    for level, host in (("use", 1), ("required", 2)):
        words = f"src 192.0.2.{host} dst 192.0.2.9 dir in priority 7"
        words += f" tmpl proto esp mode transport level {level}"
        namespace.run(["ip", "xfrm", "policy", "add", *words.split()], check=True)
    add(V4, requests=(request(V4, IpsecProtocol.ESP, Mode.TRANSPORT),))
    before = shown(namespace)
    kame_sysctl(namespace, "--preset", "linux")
    kame_sysctl(namespace, f"{INET[0]}=0", f"{INET6[0]}=0")
    kame_sysctl(namespace, "--preset", "kame")
    after = shown(namespace)
    assert after.keys() == before.keys()
    for source in ("192.0.2.1", "192.0.2.2"):
        assert after[source, "in"] == before[source, "in"]


# def_policy


@pytest.fixture
def network(two_hosts: TwoHosts) -> Iterator[Host]:
    """Put the test into host ``a`` of two, at 10.0.0.1 and fd00::1."""
    with two_hosts.a.enter():
        yield two_hosts.a


def can_send(family: int, address: str) -> bool:
    """Whether the kernel lets a datagram out; it returns EPERM for what a policy discards."""
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"?", (address, 9))
        except PermissionError:
            return False
        return True


def sends() -> tuple[bool, bool]:
    """Return whether IPv4 and whether IPv6 goes out."""
    return can_send(socket.AF_INET, "10.0.0.2"), can_send(socket.AF_INET6, "fd00::2")


def test_def_policy_0_discards_what_matches_no_policy_of_its_family_alone(network: Host) -> None:
    assert sends() == (True, True)
    kame_sysctl(network, f"{INET[0]}=0")
    assert sends() == (False, True)
    kame_sysctl(network, f"{INET[0]}=1", f"{INET6[0]}=0")
    assert sends() == (True, False)
    kame_sysctl(network, f"{INET[0]}=0")
    assert sends() == (False, False)
    kame_sysctl(network, "--preset", "kame")
    assert sends() == (True, True)


def test_def_policy_0_discards_what_comes_in_too(two_hosts: TwoHosts) -> None:
    a, b = two_hosts
    with b.udp_echo("10.0.0.2") as echo4, b.udp_echo("fd00::2") as echo6:
        assert a.udp_ask("10.0.0.2") == a.udp_ask("fd00::2") == b"?"
        kame_sysctl(b, f"{INET[0]}=0")
        assert a.udp_ask("10.0.0.2", timeout=0.2) is None
        assert a.udp_ask("fd00::2") == b"?"
        assert (len(echo4.received), len(echo6.received)) == (1, 2)


@pytest.mark.parametrize("both", [False, True])
def test_a_policy_lets_pass_what_def_policy_0_would_discard(network: Host, both: bool) -> None:
    add(("10.0.0.1", "10.0.0.2", 32), Direction.OUT)
    names = (INET[0], INET6[0]) if both else (INET[0],)
    kame_sysctl(network, *(f"{name}=0" for name in names))
    assert can_send(socket.AF_INET, "10.0.0.2")
    assert not can_send(socket.AF_INET, "10.0.0.3")


def test_def_policy_0_does_not_exempt_the_loopback_address_of_ipv6(namespace: Host) -> None:
    assert can_send(socket.AF_INET6, "::1")
    kame_sysctl(namespace, f"{INET6[0]}=0")
    assert not can_send(socket.AF_INET6, "::1")
    kame_sysctl(namespace, f"{INET6[0]}=1")
    assert can_send(socket.AF_INET6, "::1")
