"""Findings about SAs and policies together, and about the two ends of a link."""

from collections import defaultdict
from collections.abc import Iterator

from kamexfrm.model.association import SecurityAssociation
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
from kamexfrm.model.policy_text import format_request
from kamexfrm.model.sa_comparison import differing
from kamexfrm.net import AF_INET6, Address
from kamexfrm.operator.check.codes import Finding
from kamexfrm.operator.check.policy_rules import statement_of
from kamexfrm.operator.check.reading import Configuration

_Ends = tuple[Address, Address]


class _Associations:
    """The SAs of a configuration by protocol and ends."""

    def __init__(self, configuration: Configuration) -> None:
        self.used: set[int] = set()
        self._all: dict[tuple[IpsecProtocol, Address, Address], list[SecurityAssociation]]
        self._all = defaultdict(list)
        self._of: dict[IpsecProtocol, list[SecurityAssociation]] = defaultdict(list)
        for sa, _ in configuration.state.sa_statements:
            self._all[sa.protocol, sa.source, sa.destination].append(sa)
            self._of[sa.protocol].append(sa)

    def between(self, protocol: IpsecProtocol, ends: _Ends) -> list[SecurityAssociation]:
        return self._all.get((protocol, *ends), [])

    def serving(
        self, request: IpsecRequest, ends: _Ends | None, selector: Selector
    ) -> list[SecurityAssociation]:
        """Return the SAs that a request may use."""
        if ends is None and _is_of_hosts(selector):
            ends = (selector.source, selector.destination)
        if ends is None:
            found = [
                sa
                for sa in self._of[request.protocol]
                if selector.covers(sa.source, sa.destination)
            ]
        else:
            found = self.between(request.protocol, ends)
        return [
            sa
            for sa in found
            if sa.mode in (Mode.ANY, request.mode)
            and (request.level is not Level.UNIQUE or request.reqid in (0, sa.reqid))
        ]


def _is_of_hosts(selector: Selector) -> bool:
    bits = selector.source.bits
    return selector.source_prefix == selector.destination_prefix == bits


def pair_findings(configuration: Configuration) -> Iterator[Finding]:
    """Yield what SAs and policies lack of each other; nothing about files without SAs."""
    associations = _Associations(configuration)
    state = configuration.state
    if not state.sa_statements:
        return
    yield from _unserved(configuration, associations)
    has_policies = any(p.type is PolicyType.IPSEC for p in state.policies)
    for sa, statement in state.sa_statements:
        name = sa.protocol.name.lower()
        if not _is_group(sa.destination) and not associations.between(
            sa.protocol, (sa.destination, sa.source)
        ):
            message = f"there is no {name} SA from {sa.destination} to {sa.source}"
            cure = "add the SA for the other way, with a key and an SPI of its own"
            yield Finding("KX004", statement.place, statement.end_line, message, cure)
        if has_policies and id(sa) not in associations.used:
            message = f"no policy uses this {name} SA"
            cure = "compare protocol, mode, addresses and -u with the requests of the policies"
            yield Finding("KX007", statement.place, statement.end_line, message, cure)


def _is_group(address: Address) -> bool:
    """Whether an address is of a multicast group, from which nothing comes back."""
    first = address.packed[0]
    return first == 0xFF if address.family == AF_INET6 else first >> 4 == 0xE


def _unserved(configuration: Configuration, associations: _Associations) -> Iterator[Finding]:
    for statement in configuration.state.policy_statements:
        policy = statement.policy
        ends: _Ends | None = None
        for request in policy.requests:
            if request.mode is Mode.TUNNEL and request.source and request.destination:
                ends = (request.source, request.destination)
            found = associations.serving(request, ends, policy.selector)
            associations.used.update(map(id, found))
            if found:
                continue
            text = format_request(request)
            message = f"no SA of these files can serve {text}{_why(request, ends, associations)}"
            cure = "add one, or leave it to key management on purpose: # kamexfrm: ignore KX006"
            yield Finding("KX006", statement.place, statement.end_line, message, cure)


def _why(request: IpsecRequest, ends: _Ends | None, associations: _Associations) -> str:
    if ends is None:
        return ""
    near = associations.between(request.protocol, ends)
    if not near:
        return ""
    sa = near[0]
    if sa.mode not in (Mode.ANY, request.mode):
        return f": that with SPI {sa.spi:#x} is for mode {sa.mode.name.lower()}"
    return f": that with SPI {sa.spi:#x} has reqid {sa.reqid}"


# The peer


def peer_findings(here: Configuration, there: Configuration) -> Iterator[Finding]:
    """Yield what the files of one end lack of the other's, or have otherwise."""
    theirs = {sa.id: sa for sa, _ in there.state.sa_statements}
    for sa, statement in here.state.sa_statements:
        name = f"{sa.protocol.name.lower()} SA to {sa.destination} with SPI {sa.spi:#x}"
        other = theirs.get(sa.id)
        if other is None:
            message, cure = f"the peer has no {name}", "both ends have the same SAs"
            yield Finding("KX027", statement.place, statement.end_line, message, cure)
            continue
        for what in differing(sa, other):
            message = f"the peer's {name} has different {what}"
            yield Finding(
                "KX027", statement.place, statement.end_line, message, "make both the same"
            )
    yield from _unmet(here, there)
    mine = {sa.id for sa, _ in here.state.sa_statements}
    for sa, statement in there.state.sa_statements:
        if sa.id not in mine:
            name = f"{sa.protocol.name.lower()} SA to {sa.destination} with SPI {sa.spi:#x}"
            message = f"this {name} of the peer is not in the files that are checked"
            yield Finding(
                "KX027", statement.place, statement.end_line, message, "both have the same SAs"
            )


def _unmet(here: Configuration, there: Configuration) -> Iterator[Finding]:
    other = {Direction.IN: Direction.OUT, Direction.OUT: Direction.IN}
    theirs = {(p.selector, p.direction): p for p in there.state.policies}
    for statement in here.state.policy_statements:
        policy = statement.policy
        if policy.type is not PolicyType.IPSEC or policy.direction not in other:
            continue
        word = other[policy.direction].name.lower()
        found = theirs.get((policy.selector, other[policy.direction]))
        wanted = policy._replace(direction=other[policy.direction])
        cure = f"at the peer: {statement_of(wanted)}"
        if found is None:
            message = f"the peer has no {word} policy of this selector"
        elif _asked(found) != _asked(policy):
            message = f"the peer's {word} policy of this selector asks for other protection"
        else:
            continue
        yield Finding("KX028", statement.place, statement.end_line, message, cure)


def _asked(policy: SecurityPolicy) -> list[tuple[object, ...]]:
    if policy.type is not PolicyType.IPSEC:
        return [(policy.type,)]
    return [
        (r.protocol, r.mode, *((r.source, r.destination) if r.mode is Mode.TUNNEL else ()))
        for r in policy.requests
    ]
