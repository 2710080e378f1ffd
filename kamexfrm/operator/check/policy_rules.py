"""Findings about policies: prefixes, requests, order, mirrors, levels, neighbour discovery."""

from collections.abc import Iterable, Iterator, Sequence

from kamexfrm.engine.requests import MAX_ACTING, MAX_REQUESTS
from kamexfrm.model.decide_spd import Spd, first_match
from kamexfrm.model.knobs import Knobs, deflev_field, effective_level
from kamexfrm.model.packet import Packet, Path
from kamexfrm.model.policy import (
    ICMP_UPPERS,
    ULPROTO_ANY,
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SecurityPolicy,
)
from kamexfrm.model.policy_text import format_request
from kamexfrm.model.statement_text import InexpressibleError, policy_statement
from kamexfrm.net import AF_INET, AF_INET6, IPPROTO_ICMPV6, Address
from kamexfrm.operator.check.codes import Finding
from kamexfrm.operator.check.reading import Configuration
from kamexfrm.operator.check.selectors import Index, masked, reverse
from kamexfrm.setkey import statements as s

_PREFIX = {AF_INET: "net.inet.ipsec.", AF_INET6: "net.inet6.ipsec6."}
_LINK_LOCAL, _SOLICITED = Address.parse("fe80::1"), Address.parse("ff02::1:ff00:1")
_ND = (135, 136)


def policy_findings(configuration: Configuration) -> Iterator[Finding]:
    """Yield the findings of all policies."""
    statements = list(configuration.state.policy_statements)
    for statement in statements:
        for code, message, cure in _of_one(statement.policy, configuration.knobs):
            yield _at(statement, code, message, cure)
    yield from _shadowed(statements)
    yield from _mirrors(statements)
    yield from _neighbours(statements, configuration.knobs)
    if configuration.has_variables:
        yield from _closed(statements, configuration)


def _at(statement: s.SpdAdd, code: str, message: str, cure: str) -> Finding:
    return Finding(code, statement.place, statement.end_line, message, cure)


def _of_one(policy: SecurityPolicy, knobs: Knobs) -> Iterator[tuple[str, str, str]]:
    selector, requests = policy.selector, policy.requests
    for address, bits in (
        (selector.source, selector.source_prefix),
        (selector.destination, selector.destination_prefix),
    ):
        number = masked(address, bits) << (address.bits - bits)
        base = Address(address.family, number.to_bytes(len(address.packed), "big"))
        if base != address:
            message = f"{address}/{bits} has bits beyond its prefix; it is kept apart from {base}"
            yield "KX003", message, f"write {base}/{bits}, or {address} alone"
    if MAX_ACTING < len(requests) <= MAX_REQUESTS:
        message = f"{len(requests)} requests: Linux drops every packet that meets this policy"
        yield "KX020", message, f"at most {MAX_ACTING} requests act"
    if _has_ah_inside(requests):
        message = "AH inside ESP or IPComp: Linux cannot receive such packets"
        yield "KX021", message, "write esp before ah: the first request is the innermost header"
    yield from _leaks(policy, knobs)


def _has_ah_inside(requests: Sequence[IpsecRequest]) -> bool:
    inner = False
    for request in requests:
        if request.mode is Mode.TUNNEL:
            inner = False
        if inner and request.protocol is not IpsecProtocol.AH:
            return True
        inner = inner or request.protocol is IpsecProtocol.AH
    return False


def _leaks(policy: SecurityPolicy, knobs: Knobs) -> Iterator[tuple[str, str, str]]:
    family = policy.selector.family
    verb = "leave" if policy.direction is Direction.OUT else "are accepted"
    for request in policy.requests:
        if effective_level(request, family, knobs) is not Level.USE:
            continue
        if request.protocol is IpsecProtocol.IPCOMP:
            continue  # what is not compressed is not in clear for that
        field = deflev_field(request)
        text = format_request(request)
        if request.level is Level.DEFAULT and field:
            name = f"{_PREFIX[family]}{field}"
            message = f"{text}: {name}=1 makes it use, so packets {verb} in clear without an SA"
            yield "KX010", message, f"write require, or set {name}=2"
        elif request.level is Level.USE:
            message = f"{text}: packets {verb} in clear without an SA"
            yield "KX011", message, "write require, unless that is what you want"


# Order


def _ordered(statements: Iterable[s.SpdAdd]) -> list[s.SpdAdd]:
    return sorted(statements, key=lambda statement: statement.policy.priority)


def _shadowed(statements: Sequence[s.SpdAdd]) -> Iterator[Finding]:
    indexes = {direction: Index() for direction in Direction}
    for statement in _ordered(statements):
        policy = statement.policy
        index = indexes[policy.direction]
        there = next(
            (one for one in index.covering(policy.selector) if one.policy.label == policy.label),
            None,
        )
        if there is not None:
            at = f"{there.place.file}:{there.place.line}"
            message = f"no packet meets this policy: that at {at} matches all of them first"
            cure = "put the narrower policy first, or give it prio def + 1"
            yield _at(statement, "KX008", message, cure)
        index.add(statement)


# Both ways


def _shape(requests: Sequence[IpsecRequest], *, turned: bool = False) -> list[tuple[object, ...]]:
    """Return what of the requests must be equal at both ends of a link."""
    ends = ((r.destination, r.source) if turned else (r.source, r.destination) for r in requests)
    return [
        (r.protocol, r.mode, *(end if r.mode is Mode.TUNNEL else ()))
        for r, end in zip(requests, ends, strict=True)
    ]


def _mirrors(statements: Sequence[s.SpdAdd]) -> Iterator[Finding]:
    indexes = {direction: Index() for direction in Direction}
    for statement in statements:
        if statement.policy.type is PolicyType.IPSEC:
            indexes[statement.policy.direction].add(statement)
    other = {Direction.IN: Direction.OUT, Direction.OUT: Direction.IN}
    for statement in statements:
        policy = statement.policy
        if policy.type is not PolicyType.IPSEC or policy.direction not in other:
            continue
        selector = policy.selector
        if selector.upper in ICMP_UPPERS and selector.source_port is not None:
            continue  # the answer has another type
        found = list(indexes[other[policy.direction]].covering(reverse(selector)))
        wanted = _shape(policy.requests, turned=True)
        if any(_shape(one.policy.requests) == wanted for one in found):
            continue
        word = other[policy.direction].name.lower()
        turned = policy._replace(
            selector=reverse(selector),
            direction=other[policy.direction],
            requests=tuple(
                r._replace(source=r.destination, destination=r.source) for r in policy.requests
            ),
        )
        if found:
            at = f"{found[0].place.file}:{found[0].place.line}"
            message = f"the {word} policy at {at} asks for other protection than this one"
        else:
            message = f"there is no {word} policy for the other way"
        yield _at(statement, "KX005", message, f"write {statement_of(turned)}")


def statement_of(policy: SecurityPolicy) -> str:
    """Return the statement of a policy for a cure."""
    try:
        return policy_statement(policy)
    except InexpressibleError:
        return "the other one with both ends exchanged"


# Neighbour discovery, and def_policy 0


def _neighbours(statements: Sequence[s.SpdAdd], knobs: Knobs) -> Iterator[Finding]:
    six = _ordered(each for each in statements if each.policy.selector.family == AF_INET6)
    by_policy = {id(statement.policy): statement for statement in six}
    spd = Spd.of(statement.policy for statement in six)
    told: set[int] = set()
    for statement in six:
        policy = statement.policy
        if policy.direction is Direction.FWD or policy.selector.upper not in (
            ULPROTO_ANY,
            IPPROTO_ICMPV6,
        ):
            continue
        for packet in _solicitations(policy):
            first = first_match(packet, policy.direction, spd)
            if first is None or id(first.policy) in told or not _swallows(first.policy, knobs):
                continue
            told.add(id(first.policy))
            message = (
                "this policy takes neighbour discovery (ICMPv6 135 and 136) too, which then fails"
            )
            cure = (
                "before it: spdadd ::/0 ::/0 icmp6 135,0 -P out prio high none; the same for 136,0"
                " and for in, or kamexfrm exempt nd"
            )
            yield _at(by_policy[id(first.policy)], "KX009", message, cure)


def _solicitations(policy: SecurityPolicy) -> Iterator[Packet]:
    """Yield packets of neighbour discovery that a policy may match, if it covers a whole link."""
    selector = policy.selector
    path = Path.OUT if policy.direction is Direction.OUT else Path.IN
    ends = []
    if _SOLICITED.is_within(selector.destination, selector.destination_prefix):
        source = selector.source if selector.source_prefix else _LINK_LOCAL
        ends.append((source, _SOLICITED))
    shared = min(selector.source_prefix, selector.destination_prefix)
    if 0 < shared < 128 and selector.source.is_within(selector.destination, shared):
        ends.append((selector.source, selector.destination))
    for source, destination in ends:
        for kind in _ND:
            yield Packet(path, source, destination, IPPROTO_ICMPV6, kind, 0)


def _swallows(policy: SecurityPolicy, knobs: Knobs) -> bool:
    if policy.type is PolicyType.DISCARD:
        return True
    return policy.type is PolicyType.IPSEC and any(
        effective_level(request, AF_INET6, knobs) is Level.REQUIRE for request in policy.requests
    )


def _closed(statements: Sequence[s.SpdAdd], configuration: Configuration) -> Iterator[Finding]:
    """Find families that discard all and let neither neighbour discovery nor anything else pass."""
    if not configuration.sources:
        return
    from kamexfrm.errors import Place

    place = Place(configuration.sources[0].file, 1, 1)
    let_pass = [e.policy for e in statements if e.policy.type is PolicyType.NONE]
    for family, name, kinds in (
        (AF_INET, "net.inet.ipsec.def_policy", "IKE, DHCP or loopback"),
        (AF_INET6, "net.inet6.ipsec6.def_policy", "neighbour discovery"),
    ):
        if configuration.knobs.of(family).def_policy:
            continue
        wanted = [p for p in let_pass if p.selector.family == family]
        if family == AF_INET6:
            wanted = [p for p in wanted if p.selector.upper in (ULPROTO_ANY, IPPROTO_ICMPV6)]
        if {Direction.IN, Direction.OUT} <= {policy.direction for policy in wanted}:
            continue
        message = f"{name}=0 discards all else, and no policy lets {kinds} pass"
        cure = "kamexfrm lockdown on does both in the safe order; or add policies of type none"
        yield Finding("KX026", place, 1, message, cure)
