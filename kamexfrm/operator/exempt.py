"""Exemptions: policies that let go on what a host needs where def_policy 0 discards the rest.

They are ordinary entries of action ``none``. What comes before all IPsec (neighbour discovery,
DHCP, IKE, loopback) has a priority above ``high``, so that a policy for ``any`` does not swallow
it. A service is behind all other policies, below ``low``: where a policy protects it, it stays
protected.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob, SpdAdd, SpdDelete
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.decision import Verdict
from kamexfrm.model.knobs import knob
from kamexfrm.model.packet import Packet, Path
from kamexfrm.model.policy import (
    PRIORITY_HIGH,
    PRIORITY_LOW,
    Direction,
    PolicyType,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Address,
)
from kamexfrm.spelling import hints

#: Priorities of exemptions, and of nothing else that this program makes.
BEFORE_ALL, BEHIND_ALL = PRIORITY_HIGH - 1, PRIORITY_LOW + 1

#: What can be exempted, and what each is.
KINDS = {
    "nd": "IPv6 neighbour discovery, router discovery and multicast listener reports",
    "dhcp": "DHCP and DHCPv6, as a client",
    "ike": "IKE on UDP ports 500 and 4500",
    "loopback": "127.0.0.0/8 and ::1",
    "icmp": "ICMP and ICMPv6 errors",
    "ssh": "an SSH server, ssh:PORT where it is not port 22",
    "tcp": "a TCP server at tcp:PORT",
    "udp": "a UDP server at udp:PORT",
}

#: What ``lockdown on`` exempts where nothing is named.
USUAL = ("nd", "dhcp", "ike", "loopback")

#: ICMPv6 types of RFC 4861 (solicitations and advertisements) and of RFC 2710 and 3810 (listeners).
_ND = (133, 134, 135, 136)
_MLD = (130, 131, 132, 143)
#: Types of errors (RFC 792, RFC 4443).
_ICMP_ERRORS = (3, 11, 12)
_ICMPV6_ERRORS = (1, 2, 3, 4)
_SSH = 22

_DEF_POLICY = {
    AF_INET: knob("net.inet.ipsec.def_policy"),
    AF_INET6: knob("net.inet6.ipsec6.def_policy"),
}


class Exemption(NamedTuple):
    """What is exempted, as named on the command line, and the policies that do it."""

    name: str
    policies: tuple[SecurityPolicy, ...]


class Lockdown(NamedTuple):
    """Which families discard what no policy lets pass, and the names of what is exempt."""

    inet: bool
    inet6: bool
    exempt: tuple[str, ...]


def exemption(name: str) -> Exemption:
    """Return what a name of KINDS stands for, with ``:PORT`` for a service.

    Raises KamexfrmError.
    """
    kind, colon, port = name.partition(":")
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise KamexfrmError("; ".join((f"{name!r}: exempt one of {known}", *hints(kind, KINDS))))
    if kind in ("ssh", "tcp", "udp"):
        number = _port(name, port if colon else "" if kind != "ssh" else str(_SSH))
        upper = IPPROTO_UDP if kind == "udp" else IPPROTO_TCP
        return Exemption(name, tuple(_both_families(upper, None, number, BEHIND_ALL)))
    if colon:
        raise KamexfrmError(f"{name!r}: {kind} takes no port")
    return Exemption(name, tuple(_FIXED[kind]()))


def _port(name: str, digits: str) -> int:
    if digits.isascii() and digits.isdecimal() and 0 < int(digits[:6]) <= 0xFFFF:
        return int(digits)
    raise KamexfrmError(
        f"{name!r}: a port from 1 to 65535 is missing, as in {name.split(':')[0]}:8080"
    )


def _any(family: int) -> tuple[Address, int]:
    return Address(family, bytes(4 if family == AF_INET else 16)), 0


def _pair(
    family: int, upper: int, theirs: int | None, ours: int | None, priority: int
) -> Iterator[SecurityPolicy]:
    """Yield the policies of a flow between any addresses: to our port in, from it out."""
    either = _any(family)
    for direction, source, destination in (
        (Direction.IN, theirs, ours),
        (Direction.OUT, ours, theirs),
    ):
        selector = Selector(*either, *either, upper, source, destination)
        yield SecurityPolicy(selector, direction, PolicyType.NONE, priority=priority)


def _both_families(
    upper: int, theirs: int | None, ours: int | None, priority: int
) -> Iterator[SecurityPolicy]:
    for family in (AF_INET, AF_INET6):
        yield from _pair(family, upper, theirs, ours, priority)


def _typed(family: int, upper: int, types: Iterable[int]) -> Iterator[SecurityPolicy]:
    """Yield the policies of some ICMP types in both directions, with any code (``135,0``)."""
    either = _any(family)
    for number in types:
        selector = Selector(*either, *either, upper, number, None)
        for direction in (Direction.IN, Direction.OUT):
            yield SecurityPolicy(selector, direction, PolicyType.NONE, priority=BEFORE_ALL)


def _nd() -> Iterator[SecurityPolicy]:
    yield from _typed(AF_INET6, IPPROTO_ICMPV6, (*_ND, *_MLD))


def _icmp() -> Iterator[SecurityPolicy]:
    yield from _typed(AF_INET, IPPROTO_ICMP, _ICMP_ERRORS)
    yield from _typed(AF_INET6, IPPROTO_ICMPV6, _ICMPV6_ERRORS)


def _dhcp() -> Iterator[SecurityPolicy]:
    yield from _pair(AF_INET, IPPROTO_UDP, 67, 68, BEFORE_ALL)
    yield from _pair(AF_INET6, IPPROTO_UDP, 547, 546, BEFORE_ALL)


def _ike() -> Iterator[SecurityPolicy]:
    for port in (500, 4500):
        yield from _both_families(IPPROTO_UDP, None, port, BEFORE_ALL)


def _loopback() -> Iterator[SecurityPolicy]:
    for text, prefix in (("127.0.0.0", 8), ("::1", 128)):
        address = Address.parse(text)
        selector = Selector(address, prefix, address, prefix)
        for direction in (Direction.IN, Direction.OUT):
            yield SecurityPolicy(selector, direction, PolicyType.NONE, priority=BEFORE_ALL)


_FIXED = {"nd": _nd, "dhcp": _dhcp, "ike": _ike, "loopback": _loopback, "icmp": _icmp}


# What is there, and what is changed


def exemptions(engine: Engine) -> tuple[SecurityPolicy, ...]:
    """Return the exemptions in force, of whatever kind; raises KernelError."""
    return tuple(
        entry.policy
        for entry in engine.spd()
        if entry.policy.type is PolicyType.NONE
        and entry.policy.priority in (BEFORE_ALL, BEHIND_ALL)
        and not (entry.twin or entry.socket)
    )


def state(engine: Engine) -> Lockdown:
    """Return what def_policy is in force, and the exemptions; raises KamexfrmError."""
    knobs = engine.knobs()
    names = names_in_force(exemptions(engine))
    return Lockdown(knobs.inet.def_policy == 0, knobs.inet6.def_policy == 0, names)


def names_in_force(policies: Iterable[SecurityPolicy]) -> tuple[str, ...]:
    """Return the names of what some policies exempt wholly, in KINDS' order, services last."""
    there = set(policies)
    fixed = [name for name, make in _FIXED.items() if there.issuperset(make())]
    services = {_service(p.selector) for p in there if p.priority == BEHIND_ALL}
    whole = [n for n in services if n and there.issuperset(exemption(n).policies)]
    return (*fixed, *sorted(whole))


def _service(selector: Selector) -> str:
    """Return the name of the service that an inbound exemption lets in, else ""."""
    upper, port = selector.upper, selector.destination_port
    if port is None or upper not in (IPPROTO_TCP, IPPROTO_UDP):
        return ""
    if (upper, port) == (IPPROTO_TCP, _SSH):
        return "ssh"
    return f"{'tcp' if upper == IPPROTO_TCP else 'udp'}:{port}"


def unreachable_session(engine: Engine, wanted: Sequence[Exemption]) -> str:
    """Return the local ``ADDRESS port N`` of this SSH session if a lockdown would cut it, or "".

    sshd(8) says in SSH_CONNECTION between which addresses and ports the session is. Raises
    KernelError.
    """
    words = os.environ.get("SSH_CONNECTION", "").split()
    if len(words) != 4:
        return ""
    try:
        theirs, here = (Address.parse(word.partition("%")[0]) for word in (words[0], words[2]))
        ports = int(words[3]), int(words[1])
    except ValueError:
        return ""
    added = [policy for each in wanted for policy in each.policies]
    spd = Spd.of([*(e for e in engine.spd() if not e.socket), *added])
    knobs = engine.knobs()
    for each in _DEF_POLICY.values():
        knobs = knobs.replace(each, 0)
    answer = Packet(Path.OUT, here, theirs, IPPROTO_TCP, *ports)
    if decide(answer, spd, list(engine.sad()), knobs).verdict is not Verdict.DROPPED:
        return ""
    return f"{here} port {ports[0]}"


def add(engine: Engine, wanted: Sequence[Exemption]) -> tuple[SecurityPolicy, ...]:
    """Add the exemptions that are not there; return their policies.

    Raises KamexfrmError where one is rejected; those before it stay.
    """
    there = set(exemptions(engine))
    missing = dict.fromkeys(p for each in wanted for p in each.policies if p not in there)
    for policy in missing:
        engine.submit(SpdAdd(policy, twin=False))
    engine.flush()
    return tuple(missing)


def remove(engine: Engine, unwanted: Sequence[SecurityPolicy]) -> tuple[SecurityPolicy, ...]:
    """Delete those of some exemptions that are there; return them. Raises KamexfrmError."""
    there = set(exemptions(engine))
    found = tuple(policy for policy in unwanted if policy in there)
    for policy in found:
        engine.submit(SpdDelete(policy.selector, policy.direction))
    engine.flush()
    return found


def close(engine: Engine, wanted: Sequence[Exemption]) -> tuple[SecurityPolicy, ...]:
    """Exempt, then set def_policy to 0 in both families; return what was added.

    Raises KamexfrmError; def_policy is only written once all exemptions are in force.
    """
    added = add(engine, wanted)
    _write_default(engine, 0)
    return added


def open_up(engine: Engine) -> tuple[SecurityPolicy, ...]:
    """Set def_policy to 1 in both families, then delete all exemptions; return those.

    Raises KamexfrmError.
    """
    _write_default(engine, 1)
    return remove(engine, exemptions(engine))


def _write_default(engine: Engine, value: int) -> None:
    for each in _DEF_POLICY.values():
        engine.submit(SetKnob(each, value))
    engine.flush()
