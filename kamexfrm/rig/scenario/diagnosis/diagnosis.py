"""Causes of a failed probe, the likeliest first: paths, SAs, policies, counters."""

from collections.abc import Iterator

from kamexfrm.model.counters import meaning_of
from kamexfrm.model.packet import Packet as Flow
from kamexfrm.model.policy import Direction, IpsecRequest, PolicyType
from kamexfrm.net import AF_INET6, IPPROTO_ICMPV6
from kamexfrm.rig.scenario.diagnosis import advice, received_packets
from kamexfrm.rig.scenario.diagnosis.advice import Rank
from kamexfrm.rig.scenario.diagnosis.journey import Journey, no_route, travel, unanswered
from kamexfrm.rig.scenario.diagnosis.peer_comparison import differences
from kamexfrm.rig.scenario.diagnosis.snapshot import (
    Snapshot,
    answer_to,
    quote,
    request_of,
    spell_flow,
)
from kamexfrm.rig.scenario.plan import Probe
from kamexfrm.rig.scenario.stage import wire
from kamexfrm.rig.scenario.stage.scene import Scene

#: Counters of packets that a receiver's policies drop.
_BY_POLICY = ("XfrmInTmplMismatch", "XfrmInNoPols", "XfrmInPolBlock", "XfrmInPolError")


class Diagnosis:
    """Finds the causes of a failed probe; each is a sentence.

    ``moved`` are (host, counter, by how much) of each Xfrm counter that rose; ``outcome`` is what
    happened to the packets, ``expected`` what should have, empty if nothing was expected.
    """

    def __init__(
        self,
        scene: Scene,
        probe: Probe,
        moved: list[tuple[str, str, int]],
        outcome: str,
        expected: str,
    ) -> None:
        self._snapshot = snapshot = Snapshot(scene)
        self._probe = probe
        self._moved = moved
        self._outcome = outcome
        self._expected = expected
        self._found: list[tuple[Rank, str]] = []
        route = snapshot.route(probe.host, probe.destination, probe.source)
        source = probe.source or (route.source if route else "")
        self._journeys: list[Journey] = []
        if source and (":" in source) == (":" in probe.destination):
            self._journeys.append(
                travel(snapshot, probe.host, request_of(probe, source), probe.policies)
            )
            target = snapshot.owner(probe.destination)
            if target is not None:
                self._journeys.append(travel(snapshot, target, answer_to(probe, source)))

    def causes(self) -> tuple[str, ...]:
        """Return all causes, the likeliest first."""
        self._collect()
        certain = any(rank <= Rank.RECEIVER for rank, _ in self._found)
        return tuple(
            dict.fromkeys(text for rank, text in self._found if not (certain and rank is Rank.HINT))
        )

    def cause(self) -> str:
        """Return the likeliest of the causes that were collected, in short; empty for hints."""
        rank, text = self._found[0] if self._found else (Rank.HINT, "")
        return "" if rank is Rank.HINT else text.partition("; ")[0]

    def advice(self) -> str:
        """Return what to do about the likeliest of the causes that were collected."""
        rank = self._found[0][0] if self._found else Rank.HINT
        counters = [counter for _, counter, _ in self._moved]
        return advice.about_probe(self._snapshot.scene.case, rank, counters)

    def _collect(self) -> None:
        if self._outcome != "ok":
            self._paths()
        for breaks, text in differences(self._snapshot):
            self._add(Rank.SA if breaks else Rank.HINT, text)
        for host, counter, by in self._moved:
            self._counter(host, counter)
            self._add(Rank.COUNTER, f"{host}'s {counter} rose by {by}: {meaning_of(counter)}")
        self._senders()
        if self._outcome == "ok" and self._expected in ("lost", "refused"):
            self._receivers()
        self._found.sort(key=lambda cause: cause[0])

    def _add(self, rank: Rank, *texts: str) -> None:
        self._found += [(rank, text) for text in texts if text]

    # Paths

    def _paths(self) -> None:
        """Follow the path of the packets there and back."""
        snapshot, probe = self._snapshot, self._probe
        if snapshot.owner(probe.destination) is None:
            self._add(Rank.PATH, f"no host has the address {probe.destination}")
        if not self._journeys:
            self._add(Rank.PATH, *travel_without_source(snapshot, probe))
        for journey in self._journeys:
            self._add(Rank.PATH, *journey.trouble)
        self._add(Rank.PATH, *unanswered(snapshot.links))
        for packet in (one for packets in snapshot.links.values() for one in packets):
            if "too big" in packet.summary or "fragmentation needed" in packet.summary:
                self._add(Rank.PATH, f"{packet.source} says: {packet.summary}")

        for host in snapshot.hosts:
            self._add(Rank.SA, *received_packets.wrong_encap_ports(self._snapshot, host))

    # Counters

    def _counter(self, host: str, counter: str) -> None:
        """Find the cause of a counter that rose."""
        if counter == "XfrmInNoStates":
            self._add(Rank.SA, *received_packets.unknown_sas(self._snapshot, host))
        elif counter == "XfrmInStateProtoError":
            self._add(Rank.RECEIVER, *received_packets.unreadable(self._snapshot, host))
        elif counter == "XfrmInStateMismatch":
            self._add(Rank.RECEIVER, *received_packets.encapsulations(self._snapshot, host))
        elif counter == "XfrmOutBundleGenError":
            self._add(Rank.SENDER, *self._tunnels(host))
        elif counter in ("XfrmOutPolBlock", "XfrmInPolBlock"):
            direction = Direction.OUT if "Out" in counter else Direction.IN
            self._add(Rank.SENDER, *self._discards(host, direction))
        if counter in _BY_POLICY:
            for journey in self._journeys:
                self._receiver(host, journey.flow)

    def _tunnels(self, host: str) -> Iterator[str]:
        """Yield tunnels of the host's policies whose own or other end it cannot use."""
        for journey in self._journeys:
            policy = self._snapshot.policy(host, Direction.OUT, journey.flow)
            if policy is None:
                continue
            for request in policy.requests:
                if request.source and self._snapshot.owner(str(request.source)) != host:
                    yield (
                        f"{host} sends by {quote(policy)}, but {request.source} is not its address"
                    )
                elif request.destination and not self._snapshot.route(
                    host, str(request.destination)
                ):
                    yield f"{host} has no route to {request.destination}, the end of its tunnel"

    def _discards(self, host: str, direction: Direction) -> Iterator[str]:
        """Name the policy that discards, or def_policy if there is no policy."""
        word = "out" if direction is Direction.OUT else "in"
        knobs = self._snapshot.scene.knobs(host)
        for flow in [journey.flow for journey in self._journeys] + self._neighbours():
            policy = self._snapshot.policy(host, direction, flow)
            if policy is not None and policy.type is PolicyType.DISCARD:
                yield f"{host} discards {spell_flow(flow)} by {quote(policy)}"
            elif policy is None and knobs.of(flow.family).def_policy == 0:
                knob = "net.inet6.ipsec6" if flow.family == AF_INET6 else "net.inet.ipsec"
                yield (
                    f"{host} discards {spell_flow(flow)}: no {word} policy is for it, and "
                    f"{knob}.def_policy is 0; {self._snapshot.others(host, direction)}"
                )

    def _neighbours(self) -> list[Flow]:
        """Return the neighbour discovery packets of a probe over IPv6."""
        flows = [j.flow for j in self._journeys if j.flow.family == AF_INET6]
        return [
            flow._replace(upper=IPPROTO_ICMPV6, source_port=kind, destination_port=0)
            for flow in flows[:1]
            for kind in (135, 136)
        ]

    # Policies

    def _receiver(self, host: str, flow: Flow) -> None:
        """Compare received packets with the inbound policy; find the host that protects them."""
        if self._snapshot.owner(str(flow.source)) == host:
            return
        policy = self._snapshot.policy(host, Direction.IN, flow)
        if policy is None and self._begins(host, flow):
            return
        if policy is None:
            others = self._snapshot.others(host, Direction.IN)
            self._add(
                Rank.RECEIVER, f"{host} has no inbound policy for {spell_flow(flow)}; {others}"
            )
            return
        if policy.type is not PolicyType.IPSEC:
            return
        received = [
            one
            for packets in self._snapshot.links.values()
            for one in packets
            if self._snapshot.owner(one.destination) == host
            or (one.source, one.destination) == (str(flow.source), str(flow.destination))
        ]
        for request in policy.requests:
            self._add(Rank.RECEIVER, received_packets.unmet(self._snapshot, host, request))
            protector = self._protector(host, request, flow)
            if protector and (self._has_policies(protector) or not self._is_protected(flow)):
                self._sender(protector, flow)
        kinds = wire.spell(wire.kinds(received))
        self._add(Rank.RECEIVER, f"{host} takes in by {quote(policy)}; came: {kinds}")

    def _begins(self, host: str, flow: Flow) -> bool:
        """Whether a host is where protection begins: packets reach it in clear."""
        policy = self._snapshot.policy(host, Direction.OUT, flow)
        ends = [request.source for request in policy.requests] if policy else []
        return any(not end or self._snapshot.owner(str(end)) == host for end in ends)

    def _protector(self, host: str, request: IpsecRequest, flow: Flow) -> str:
        """Return the host that should have protected the packets; empty if unknown."""
        for end in (request.source, flow.source):
            owner = self._snapshot.owner(str(end)) if end else None
            # A NAT has the address of the other end, but no SAs.
            if owner and owner != host and (end == flow.source or self._snapshot.sads[owner]):
                return owner
        return ""

    def _has_policies(self, host: str) -> bool:
        """Whether a host has outbound policies or SAs."""
        return bool(self._snapshot.spds[host].outbound or self._snapshot.sads[host])

    def _is_protected(self, flow: Flow) -> bool:
        """Whether some host on the path has all SAs that its policy wants for a packet."""
        for journey in self._journeys:
            for host in journey.hosts if journey.flow == flow else ():
                policy = self._snapshot.policy(host, Direction.OUT, flow)
                requests = policy.requests if policy else ()
                if requests and not any(self._snapshot.gap(host, r, flow) for r in requests):
                    return True
        return False

    def _senders(self) -> None:
        """Report how each host on the path sends, unless all its SAs exist."""
        for journey in self._journeys:
            concerned = [
                host
                for host in journey.hosts
                if self._snapshot.policy(host, Direction.OUT, journey.flow) is not None
            ]
            if self._outcome == "ok" and self._snapshot.spds[journey.hosts[0]].outbound:
                concerned.insert(0, journey.hosts[0])
            for host in concerned:
                self._sender(host, journey.flow)
            if concerned or self._outcome == "refused":
                continue
            senders = [host for host in journey.hosts if self._snapshot.spds[host].outbound]
            for host in senders:
                rank = Rank.SENDER if self._outcome == "ok" else Rank.HINT
                self._sender(host, journey.flow, rank)
            if not senders and any(spd.outbound for spd in self._snapshot.spds.values()):
                name = spell_flow(journey.flow)
                self._add(Rank.HINT, f"no host on the way has an outbound policy for {name}")

    def _receivers(self) -> None:
        """Report by which policies hosts on the path accept what should have been dropped."""
        for journey in self._journeys:
            for host in journey.hosts[1:]:
                policy = self._snapshot.policy(host, Direction.IN, journey.flow)
                if policy is not None:
                    name = spell_flow(journey.flow)
                    self._add(Rank.RECEIVER, f"{host} takes {name} in by {quote(policy)}")
                elif self._has_policies(host):
                    self._receiver(host, journey.flow)

    def _sender(self, host: str, flow: Flow, rank: Rank = Rank.SENDER) -> None:
        policy = self._snapshot.policy(host, Direction.OUT, flow)
        name = spell_flow(flow)
        if self._probe.policies and host == self._probe.host:
            own = ", ".join(self._probe.policies)
            self._add(Rank.HINT, f"{host} sends {name} by its socket's own policy: {own}")
        elif policy is None:
            others = self._snapshot.others(host, Direction.OUT)
            self._add(
                rank, f"{host} sends {name} in clear, it has no outbound policy for it; {others}"
            )
        elif policy.type is PolicyType.NONE:
            self._add(rank, f"{host} sends {name} in clear by {quote(policy)}")
        elif policy.type is PolicyType.DISCARD:
            self._add(rank, f"{host} discards {name} by {quote(policy)}")
        else:
            gaps = [self._snapshot.gap(host, request, flow) for request in policy.requests]
            for gap in filter(None, gaps):
                self._add(rank, f"{host} sends by {quote(policy)}: {gap}")
            if not any(gaps):
                self._add(Rank.HINT, f"{host} sends {name} by {quote(policy)}")


def travel_without_source(snapshot: Snapshot, probe: Probe) -> Iterator[str]:
    """Yield why a host has no address to send from."""
    if snapshot.route(probe.host, probe.destination, probe.source) is None:
        yield no_route(snapshot, probe.host, probe.destination)
