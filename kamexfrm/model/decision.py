"""What KAME decides about a packet, as data: a verdict, its rule and each step to it.

``decider`` builds these; ``explain`` prints them.
"""

from enum import Enum, auto
from typing import NamedTuple

from kamexfrm.lazy import printed_by
from kamexfrm.model.association import SadEntry
from kamexfrm.model.knobs import Knob
from kamexfrm.model.packet import SocketRule
from kamexfrm.model.policy import IpsecProtocol, IpsecRequest, Level, Mode, SecurityPolicy
from kamexfrm.net import Address


class Verdict(Enum):
    """What happens to a packet: the first three on output, the last two on input."""

    CLEAR = "sent in clear"
    PROTECTED = "sent protected"
    DROPPED = "dropped"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Rule(Enum):
    """The rule that gave the verdict, for programs; ``reason`` says it in words."""

    NO_PROTECTION_ASKED = auto()  # none, bypass, or def_policy 1
    DISCARD = auto()  # discard, or def_policy 0
    BYPASS_WITHOUT_PRIVILEGE = auto()  # the policy lookup fails
    NO_REQUESTS = auto()  # ipsec with an empty list
    APPLIED = auto()
    NOTHING_APPLIED = auto()  # each request is use and has no SA
    TRANSPORT_NOT_FORWARDED = auto()  # IPv6 forwards with tunnels only
    SA_MISSING = auto()
    NO_SUCH_SA = auto()  # input: the packet's SPI is unknown
    SA_NOT_TUNNEL = auto()  # input: IP in IP under a transport SA
    NO_TUNNEL_ENTRY = auto()  # input: no inbound entry has such a tunnel
    DEMANDS_MET = auto()
    DEMANDS_UNMET = auto()


class EntryPolicy(NamedTuple):
    """An SPD entry matched: its place in the order of matching (from 1) and its id (0: none)."""

    position: int
    policy: SecurityPolicy
    id: int = 0


class OwnPolicy(NamedTuple):
    """The socket's own policy is in force."""

    rule: SocketRule
    privileged: bool


class DefaultPolicy(NamedTuple):
    """No entry matched: def_policy of the packet's family."""

    knob: Knob
    value: int


class NoPolicy(NamedTuple):
    """The lookup failed: an unprivileged socket holds bypass and no entry matched."""

    errno: int


Governing = EntryPolicy | OwnPolicy | DefaultPolicy | NoPolicy


class SaIndex(NamedTuple):
    """What an outbound request searches for in the SAD; reqid 0 means any (KAME secasindex)."""

    protocol: IpsecProtocol
    mode: Mode
    reqid: int
    source: Address
    destination: Address


class Outcome(Enum):
    """What happened to one request: the first five on output, the last three on input."""

    APPLIED = "applied"
    SKIPPED = "skipped"
    MISSING = "missing"
    PASSED_OVER = "not looked at"  # IPv6 forwarding: before the first tunnel
    NOT_REACHED = "not reached"  # an earlier request was missing
    MET = "met"
    UNMET = "not met"
    NOT_ASKED = "not asked for"


class RequestResult(NamedTuple):
    """One request: its level in force (and the knob it came from), what was sought and found.

    ``sought`` and ``entry`` are of output only.
    """

    request: IpsecRequest
    level: Level
    outcome: Outcome
    knob: Knob | None = None
    sought: SaIndex | None = None
    entry: SadEntry | None = None


class Layer(NamedTuple):
    """One IPsec header of a packet sent, with the addresses of the IP header before it."""

    protocol: IpsecProtocol
    mode: Mode
    source: Address
    destination: Address
    spi: int


class Marks(NamedTuple):
    """What KAME stores about a packet's protection: three flags of the mbuf.

    M_DECRYPTED, M_AUTHIPHDR and M_AUTHIPDGM.
    """

    decrypted: bool = False
    header_authenticated: bool = False
    datagram_authenticated: bool = False


#: Printed as the chain of reasons.
_text = printed_by("kamexfrm.model.explain", "decision_text")


class OutputDecision(NamedTuple):
    """A packet leaving: CLEAR, PROTECTED or DROPPED.

    ``acquires`` are due, subject to the rate limit; ``spd_acquire`` is an SADB_X_SPDACQUIRE.
    ``errno`` is what the sender gets, 0 for success. ``admin_prohibited``: an ICMPv6 destination
    unreachable goes to ourselves. ``counters`` are fields of struct ipsecstat, one by one.
    """

    verdict: Verdict
    rule: Rule
    governing: Governing
    reason: str
    results: tuple[RequestResult, ...] = ()
    errno: int = 0
    spd_acquire: bool = False
    admin_prohibited: bool = False
    counters: tuple[str, ...] = ()

    @property
    def bundle(self) -> tuple[Layer, ...]:
        """The headers of the packet as sent, the innermost first; empty unless PROTECTED."""
        if self.verdict is not Verdict.PROTECTED:
            return ()
        layers = []
        for result in self.results:
            if result.outcome is Outcome.APPLIED and result.sought and result.entry:
                protocol, mode, _, source, destination = result.sought
                spi = result.entry.association.spi
                layers.append(Layer(protocol, mode, source, destination, spi))
        return tuple(layers)

    @property
    def acquires(self) -> tuple[SaIndex, ...]:
        """The SAs requested from key management, in order; level use requests them as well."""
        return tuple(
            result.sought
            for result in self.results
            if result.outcome in (Outcome.SKIPPED, Outcome.MISSING) and result.sought
        )

    def __str__(self) -> str:
        return _text(self)


class InputDecision(NamedTuple):
    """A packet arriving: ACCEPTED or REJECTED, without an error to anyone.

    ``governing`` is None where the packet is rejected before any policy applies. ``counters`` are
    those of the policy and the SA lookup, without those of the transforms.
    """

    verdict: Verdict
    rule: Rule
    governing: Governing | None
    reason: str
    results: tuple[RequestResult, ...] = ()
    marks: Marks = Marks()
    counters: tuple[str, ...] = ()

    def __str__(self) -> str:
        return _text(self)


class ForwardDecision(NamedTuple):
    """A packet in transit: ``departure`` is None where it is rejected on arrival."""

    arrival: InputDecision
    departure: OutputDecision | None

    @property
    def verdict(self) -> Verdict:
        """REJECTED on arrival, else what the outbound policy says."""
        return self.arrival.verdict if self.departure is None else self.departure.verdict

    @property
    def rule(self) -> Rule:
        """The rule of the verdict."""
        return self.arrival.rule if self.departure is None else self.departure.rule

    @property
    def reason(self) -> str:
        """The reason of the verdict, in words."""
        return self.arrival.reason if self.departure is None else self.departure.reason

    @property
    def counters(self) -> tuple[str, ...]:
        """The counters of both halves."""
        return self.arrival.counters + (self.departure.counters if self.departure else ())

    def __str__(self) -> str:
        return _text(self)


Decision = OutputDecision | InputDecision | ForwardDecision
