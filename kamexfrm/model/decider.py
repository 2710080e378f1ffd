"""KAME's decision about one packet, as a pure function: the reference for what the kernel does.

Which KAME: what ipsec(4) documents, else the last KAME, else the KAME of the time of that page.
Nothing here reads a clock, a route or a socket: the rate limit of an ACQUIRE that is due, and the
route of a packet that is sent, are not part of it.
"""

from collections.abc import Iterable, Sequence
from typing import assert_never

from kamexfrm.model.association import SadEntry
from kamexfrm.model.decide_input import decide_input
from kamexfrm.model.decide_output import decide_output
from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decision import Decision, ForwardDecision, Verdict
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.packet import Packet, Path, SocketPolicies
from kamexfrm.model.policy import SecurityPolicy, SpdEntry


def decide(
    packet: Packet,
    spd: Spd | Iterable[SpdEntry | SecurityPolicy],
    sad: Sequence[SadEntry] = (),
    knobs: Knobs = Knobs(),  # noqa: B008 - an immutable tuple
    socket: SocketPolicies | None = None,
) -> Decision:
    """Decide what KAME does with a packet, and why.

    The SPD may be given as the list of its entries, in the order in which they match.
    The SAD is in the order of creation. The socket is the one that sends or is to receive; a
    forwarded packet has none. The kind of decision follows ``packet.path``.

    >>> from kamexfrm.net import Address
    >>> here, there = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
    >>> esp = IpsecRequest(IpsecProtocol.ESP, Mode.TRANSPORT, Level.REQUIRE)
    >>> between = Selector(here, 32, there, 32)
    >>> spd = Spd.of([SecurityPolicy(between, Direction.OUT, PolicyType.IPSEC, (esp,))])
    >>> sa = SecurityAssociation(here, there, IpsecProtocol.ESP, spi=0x1000)
    >>> decision = decide(Packet(Path.OUT, here, there, upper=17), spd, [sad_entry(sa)])
    >>> decision.verdict.name, [f"{layer.spi:#x}" for layer in decision.bundle]
    ('PROTECTED', ['0x1000'])
    """
    # Differs on Linux: IPv4 loopback is exempt there. KAME exempts nothing: neither loopback,
    # multicast, neighbour discovery nor IKE.
    if not isinstance(spd, Spd):
        spd = Spd.of(spd)
    match packet.path:
        case Path.OUT:
            return decide_output(packet, spd, sad, knobs, socket)
        case Path.IN:
            return decide_input(packet, spd, sad, knobs, socket)
        case Path.FORWARDED:
            arrival = decide_input(packet, spd, sad, knobs)
            if arrival.verdict is Verdict.REJECTED:
                return ForwardDecision(arrival, None)
            return ForwardDecision(arrival, decide_output(packet, spd, sad, knobs))
        case _:
            assert_never(packet.path)
