"""Why a packet did not fare as expected: SAs compared, counters read, routes walked, policies."""

import itertools
from collections.abc import Iterator

from kamexfrm.model.association import Key, SadEntry, SecurityAssociation
from kamexfrm.model.policy import (
    Direction,
    IpsecRequest,
    Mode,
    PolicyType,
    SecurityPolicy,
    SpdEntry,
)
from kamexfrm.net import IPPROTO_AH, IPPROTO_ESP, Address
from kamexfrm.rig import wiring
from kamexfrm.rig.packet import Packet
from kamexfrm.rig.scenario import wire
from kamexfrm.rig.scenario.plan import Probe
from kamexfrm.rig.scenario.scene import Scene

#: What a counter means (Linux Documentation/networking/xfrm_proc.rst), in the rig's words.
MEANINGS = {
    "XfrmInError": "an error that has no counter of its own on input",
    "XfrmInBufferError": "no memory on input",
    "XfrmInHdrError": "a broken IPsec header",
    "XfrmInNoStates": "a protected packet came for which there is no SA",
    "XfrmInStateProtoError": "a packet could not be authenticated or decrypted",
    "XfrmInStateModeError": "an SA's mode does not fit what was inside",
    "XfrmInStateSeqError": "an old or repeated sequence number: the replay window refused it",
    "XfrmInStateExpired": "an SA's lifetime is over",
    "XfrmInStateMismatch": "the UDP encapsulation is not the SA's",
    "XfrmInStateInvalid": "an SA that is not valid",
    "XfrmInTmplMismatch": "the inbound policy wants other protection than the packet had",
    "XfrmInNoPols": "no inbound policy lets the packet in",
    "XfrmInPolBlock": "an inbound policy or def_policy discards it",
    "XfrmInPolError": "an inbound policy could not be applied",
    "XfrmOutError": "an error that has no counter of its own on output",
    "XfrmOutBundleGenError": "no bundle of SAs could be made of the policy",
    "XfrmOutBundleCheckError": "a bundle of SAs is no longer good",
    "XfrmOutNoStates": "the outbound policy insists on an SA that is not there",
    "XfrmOutStateProtoError": "a packet could not be encrypted",
    "XfrmOutStateModeError": "an SA's mode does not fit the packet",
    "XfrmOutStateSeqError": "an SA has no sequence numbers left",
    "XfrmOutStateExpired": "an SA's lifetime is over",
    "XfrmOutPolBlock": "an outbound policy or def_policy discards it",
    "XfrmOutPolDead": "an outbound policy is gone",
    "XfrmOutPolError": "an outbound policy could not be applied",
    "XfrmFwdHdrError": "a packet to be forwarded cannot be: its policy or its header",
    "XfrmOutStateInvalid": "an SA that is not valid",
    "XfrmAcquireError": "nobody listens for requests of new SAs",
}


class Diagnosis:
    """Looks for causes once a probe has failed; each is a sentence."""

    def __init__(
        self, scene: Scene, probe: Probe, moved: list[tuple[str, str, int]], outcome: str
    ) -> None:
        self._scene = scene
        self._probe = probe
        self._moved = moved
        self._outcome = outcome
        self._sads = {name: scene.sad(name) for name in scene.hosts}
        self._spds = {name: scene.spd(name) for name in scene.hosts}
        self._packets = [one for _, packets in scene.packets() for one in packets]
        route = scene.hosts[probe.host].call(wiring.find_route, probe.destination, probe.source)
        self._source = probe.source or (route[1] if route else "")

    def causes(self) -> tuple[str, ...]:
        """Return what is found, most telling first."""
        found: list[str] = []
        if self._outcome != "ok":
            found += self._routes()
        found += self._differences()
        for host, counter, by in self._moved:
            meaning = MEANINGS.get(counter, "see the kernel's xfrm_proc.rst")
            found += self._details(host, counter)
            found.append(f"{host}'s {counter} rose by {by}: {meaning}")
        found += self._policies()
        return tuple(dict.fromkeys(found))

    # Routes

    def _routes(self) -> Iterator[str]:
        """Walk there and back again as packets would."""
        target = self._scene.case.owner(self._probe.destination)
        if target is None:
            yield f"no host has the address {self._probe.destination}"
        yield from self._walk(self._probe.host, self._probe.destination)
        if target is not None and self._source:
            yield from self._walk(target, self._source)

    def _walk(self, start: str, destination: str) -> Iterator[str]:
        here, way = start, [start]
        while self._scene.case.owner(destination) != here and len(way) <= len(self._scene.hosts):
            route = self._scene.hosts[here].call(wiring.find_route, destination)
            if route is None:
                yield f"{here} has no route to {destination}"
                return
            if not route[0]:
                return
            following = self._scene.case.owner(route[0])
            if following is None:
                yield f"{here}'s gateway {route[0]} to {destination} is no host's address"
                return
            key = "net.ipv6.conf.all.forwarding" if ":" in destination else "net.ipv4.ip_forward"
            at_target = self._scene.case.owner(destination) == following
            if not at_target and self._scene.hosts[following].sysctl(key) == "0":
                yield f"{following} does not forward ({key} is 0)"
                return
            here = following
            way.append(here)

    # SAs

    def _differences(self) -> Iterator[str]:
        """Compare what two hosts hold of the same SA."""
        for left, right in itertools.combinations(self._sads, 2):
            theirs = {entry.association.id: entry.association for entry in self._sads[right]}
            for entry in self._sads[left]:
                other = theirs.get(entry.association.id)
                if other is not None:
                    for what in _differing(entry.association, other):
                        yield f"{left} and {right} have different {what} for {name_sa(other)}"

    def _details(self, host: str, counter: str) -> Iterator[str]:
        if counter == "XfrmInNoStates":
            yield from self._unknown_sas(host)
        elif counter == "XfrmInStateProtoError":
            for packet in self._received(host):
                yield (
                    f"{host} could not authenticate or decrypt {_security(packet)} from "
                    f"{packet.source}: other keys or algorithms?"
                )
        elif counter == "XfrmOutNoStates":
            yield from self._missing_sas(host)
        elif counter in ("XfrmInTmplMismatch", "XfrmInNoPols"):
            yield from self._unfit(host)

    def _received(self, host: str) -> Iterator[Packet]:
        """Yield protected packets for an address of the host."""
        for packet in self._packets:
            if packet.spi is not None and self._scene.case.owner(packet.destination) == host:
                yield packet

    def _unknown_sas(self, host: str) -> Iterator[str]:
        for packet in self._received(host):
            known = [e.association for e in self._sads[host]]
            if any(
                one.spi == packet.spi and str(one.destination) == packet.destination
                for one in known
            ):
                continue
            same = [one for one in known if one.spi == packet.spi]
            hint = f"it has {', '.join(map(name_sa, same or known))}" if known else "it has none"
            yield f"{host} has no SA {_security(packet)} to {packet.destination}; {hint}"

    def _missing_sas(self, host: str) -> Iterator[str]:
        for source, destination in self._flows():
            for entry in self._matching(host, Direction.OUT, source, destination):
                for request in entry.policy.requests:
                    gap = self._gap(host, request, source, destination)
                    if gap:
                        yield f"{host} sends by {spell_policy(entry.policy)}: {gap}"

    def _gap(self, host: str, request: IpsecRequest, source: str, destination: str) -> str:
        """Say what is wrong with the SAs for a request; empty when one is fit."""
        ends = str(request.source or source), str(request.destination or destination)
        protocol = request.protocol.name.lower()
        all_sas = [e for e in self._sads[host] if e.association.protocol == request.protocol]
        between = [e for e in all_sas if _ends(e) == ends]
        if not between:
            others = ", ".join(name_sa(e.association) for e in all_sas)
            text = f"there is no {protocol} SA from {ends[0]} to {ends[1]}"
            return f"{text}; there is {others}" if others else text
        for entry in between:
            association = entry.association
            mode = entry.kernel_mode if association.mode is Mode.ANY else association.mode
            if mode != request.mode:
                reason = f"its mode is {mode.name.lower()}"
            elif association.reqid != request.reqid:
                wanted = f"unique:{request.reqid}" if request.reqid else "one without an id"
                reason = f"its id is {association.reqid}, the policy wants {wanted}"
            else:
                return ""
        return f"{name_sa(association)} does not fit: {reason}"

    # Policies

    def _flows(self) -> Iterator[tuple[str, str]]:
        yield self._source, self._probe.destination
        yield self._probe.destination, self._source

    def _matching(
        self, host: str, direction: Direction, source: str, destination: str
    ) -> list[SpdEntry]:
        if not (source and destination):
            return []  # the sender has no route, so no address of its own
        return [
            entry
            for entry in self._spds[host]
            if entry.policy.direction is direction
            and not entry.socket
            and _matches(entry.policy, source, destination)
        ]

    def _unfit(self, host: str) -> Iterator[str]:
        came = [one for one in self._packets if not wire.is_housekeeping(one)]
        for source, destination in self._flows():
            for direction in (Direction.IN, Direction.FWD):
                for entry in self._matching(host, direction, source, destination)[:1]:
                    if entry.policy.type is PolicyType.IPSEC:
                        kinds = wire.spell(wire.kinds(came))
                        yield f"{host} takes in by {spell_policy(entry.policy)}; came: {kinds}"

    def _policies(self) -> Iterator[str]:
        """Say which outbound policies the packets met, when clear text is in question."""
        if not any(wire.kind_of(one) == "clear" for one in self._packets if one.protocols):
            return
        for source, destination in self._flows():
            if not source:
                continue
            found = False
            for host in self._scene.hosts:
                for entry in self._matching(host, Direction.OUT, source, destination)[:1]:
                    found = True
                    for request in entry.policy.requests:
                        gap = self._gap(host, request, source, destination)
                        if gap:
                            yield f"{host} sends by {spell_policy(entry.policy)}: {gap}"
            if not found and any(self._spds.values()):
                there = [
                    f"{host}: {spell_policy(entry.policy)}"
                    for host, spd in self._spds.items()
                    for entry in spd
                    if entry.policy.direction is Direction.OUT and not entry.socket
                ]
                hint = f"; there is {'; '.join(there[:3])}" if there else ""
                yield f"no outbound policy of any host is for {source} > {destination}{hint}"


def name_sa(association: SecurityAssociation) -> str:
    """Return ``esp 0x1001 10.0.0.1 > 10.0.0.2``."""
    protocol = association.protocol.name.lower()
    return f"{protocol} {association.spi:#x} {association.source} > {association.destination}"


def spell_policy(policy: SecurityPolicy) -> str:
    """Return a policy in a few words of setkey's language."""
    selector = policy.selector
    requests = " ".join(
        f"{one.protocol.name.lower()}/{one.mode.name.lower()}/"
        + (f"{one.source}-{one.destination}" if one.source else "")
        + f"/{one.level.name.lower()}"
        for one in policy.requests
    )
    ends = (
        f"{selector.source}/{selector.source_prefix} "
        f"{selector.destination}/{selector.destination_prefix}"
    )
    kind = policy.type.name.lower()
    return f"`{ends} -P {policy.direction.name.lower()} {kind} {requests}'".replace(" '", "'")


def _security(packet: Packet) -> str:
    number = next((p for p in packet.protocols if p in (IPPROTO_ESP, IPPROTO_AH)), 0)
    return f"{'ah' if number == IPPROTO_AH else 'esp'} {packet.spi:#x}"


def _ends(entry: SadEntry) -> tuple[str, str]:
    return str(entry.association.source), str(entry.association.destination)


def _differing(left: SecurityAssociation, right: SecurityAssociation) -> Iterator[str]:
    """Name what two hosts' halves of an SA differ in; never a key's bytes."""
    pairs: tuple[tuple[str, Key | None, Key | None], ...] = (
        ("encryption", left.encryption, right.encryption),
        ("authentication", left.authentication, right.authentication),
        ("compression", left.compression, right.compression),
    )
    for what, one, other in pairs:
        names = [key.algorithm.name if key and key.algorithm else "none" for key in (one, other)]
        if names[0] != names[1]:
            yield f"{what} algorithms ({names[0]} and {names[1]})"
        elif one and other and one.material != other.material:
            yield f"{what} keys"
        elif one and other and one.icv_bits != other.icv_bits:
            yield f"{what} lengths ({one.icv_bits} and {other.icv_bits} bits)"
    if left.source != right.source:
        yield f"sources ({left.source} and {right.source})"
    if left.mode != right.mode and Mode.ANY not in (left.mode, right.mode):
        yield f"modes ({left.mode.name.lower()} and {right.mode.name.lower()})"
    if left.esn != right.esn:
        yield "sequence numbers (-esn on one side)"
    if bool(left.nat_traversal) != bool(right.nat_traversal):
        yield "encapsulations (in UDP on one side)"


def _matches(policy: SecurityPolicy, source: str, destination: str) -> bool:
    """Whether a policy's addresses hold a packet's; ports and upper layers are passed over."""
    selector = policy.selector
    return _within(selector.source, selector.source_prefix, source) and _within(
        selector.destination, selector.destination_prefix, destination
    )


def _within(network: Address, prefix: int, text: str) -> bool:
    address = Address.parse(text)
    if address.family != network.family:
        return False
    shift = network.bits - prefix
    return (
        int.from_bytes(address.packed, "big") >> shift
        == int.from_bytes(network.packed, "big") >> shift
    )
