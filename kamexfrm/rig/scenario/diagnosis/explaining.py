"""How KAME's rules treat a packet on a host of the rig, in words.

Policies, SAs and knobs are read from the kernel; ``kamexfrm.model.decide`` decides.
"""

from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.explain import explain_text
from kamexfrm.model.packet import Path
from kamexfrm.rig.scenario.diagnosis.snapshot import request_of
from kamexfrm.rig.scenario.plan import Probe
from kamexfrm.rig.scenario.stage.scene import Scene


def explain(scene: Scene, at: str, source: str, probe: Probe) -> tuple[str, list[str]]:
    """Return how the host ``at`` decides about a probe's packet: the reason, and all its steps.

    The packet is outbound, inbound in clear or forwarded, as the host has its source, its
    destination or neither.
    """
    case = scene.case
    if case.owner(source) == at:
        path = Path.OUT
    elif case.owner(probe.destination) == at:
        path = Path.IN
    else:
        path = Path.FORWARDED
    packet = request_of(probe, source)._replace(path=path)
    spd, sad = scene.spd(at), scene.sad(at)
    sad.sort(key=lambda entry: entry.created)
    decision = decide(packet, Spd.of(spd), sad, scene.knobs(at))
    return decision.reason, explain_text(decision)


def both_ways(scene: Scene, probe: Probe, source: str) -> list[tuple[str, str]]:
    """Return facts for a failure: the decisions of the sender and of the answering host."""
    facts = []
    target = scene.case.owner(probe.destination)
    way = [(probe.host, source, probe.destination)]
    way += [(target, probe.destination, source)] if target else []
    for host, start, end in way:
        if not (start and end) or (":" in start) != (":" in end):
            continue
        turned = Probe(probe.protocol, host, end, probe.port, start, probe.source_port, 1, 0, 0.0)
        text = "\n".join(explain(scene, host, start, turned)[1])
        facts.append((f"{host}, by KAME's rules, sending to {end}", text))
    return facts
