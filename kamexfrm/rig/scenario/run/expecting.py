"""Checking the results of a step against its expectations."""

import contextlib

from kamexfrm.rig.condition import until
from kamexfrm.rig.scenario.plan import Expectation, Kill, Probe, Run, Setkey, Sysctl
from kamexfrm.rig.scenario.result import StepFailed
from kamexfrm.rig.scenario.run.refusal import refusal
from kamexfrm.rig.scenario.run.steps import Taken
from kamexfrm.rig.scenario.stage import wire
from kamexfrm.rig.scenario.stage.scene import Counted

#: Counters may rise late: seconds to wait for one that must.
_COUNTER_PATIENCE = 1.0


def check(taken: Taken) -> None:
    """Check the results of a step against its expectations; raises StepFailed."""
    wanted = taken.step.expectation
    _check_outcome(taken, wanted)
    if wanted.wire is not None:
        _check_wire(taken, wanted.wire)
    _check_sas(taken, wanted)
    for host, name, by in wanted.counters:
        _check_counter(taken, host, name, by)
    if wanted.outcome == "ok" and isinstance(taken.step.action, Probe) and not wanted.errors:
        listed = {(host, name) for host, name, _ in wanted.counters}
        for host, name, by in taken.moved():
            if (host, name) not in listed:
                raise StepFailed(f"answered, but {host}'s {name} rose by {by}")
    text = " ".join(" ".join(taken.output).split())
    for word in wanted.output:
        if " ".join(word.split()) not in text:
            raise StepFailed(f"the output has no {word!r}: {text[:300] or '(none)'}")
    for word in wanted.absent:
        if " ".join(word.split()) in text:
            raise StepFailed(f"the output has {word!r}")


def met(taken: Taken) -> bool:
    """Whether a probe's packets came out as expected, whatever else was expected of the step."""
    wanted = taken.step.expectation.outcome
    answers = {"lost": ("lost", "refused")}.get(wanted, (wanted,))
    return not wanted or taken.outcome in answers


def _check_outcome(taken: Taken, wanted: Expectation) -> None:
    if isinstance(taken.step.action, Probe | Kill):
        if not met(taken):
            reason = f" ({taken.reason})" if taken.reason else ""
            raise StepFailed(f"{taken.outcome or 'ended'}{reason}, expected {wanted.outcome}")
    elif isinstance(taken.step.action, Setkey | Sysctl | Run):
        if wanted.status is not None:
            if taken.status != wanted.status:
                raise StepFailed(
                    f"status {taken.status}, expected {wanted.status}: {_last_lines(taken)}"
                )
        elif (taken.status != 0) != (wanted.outcome == "refused"):
            if taken.status and isinstance(taken.step.action, Setkey):
                raise StepFailed(refusal("\n".join(taken.output)))
            what = f"status {taken.status}" if taken.status else "done"
            raise StepFailed(f"{what}, expected {wanted.outcome or 'ok'}: {_last_lines(taken)}")


def _last_lines(taken: Taken) -> str:
    return "\n".join(line.rstrip() for line in taken.output[-6:]) or "(no output)"


def _check_wire(taken: Taken, wanted: tuple[str, ...]) -> None:
    link = taken.link
    if not link:
        raise StepFailed("wire: on which link? the scenario has no watch, the step no on")
    found = taken.kinds(link)
    if set(found) != set(wanted):
        raise StepFailed(f"on {link} was {wire.spell(found)}, expected {wire.spell(wanted)}")


def _check_sas(taken: Taken, wanted: Expectation) -> None:
    if not wanted.moves and not wanted.rests:
        return
    now = taken.scene.count()
    for moves, sas in ((True, wanted.moves), (False, wanted.rests)):
        for host, protocol, spi in sas:
            old = _packets(taken.before, host, protocol, spi)
            new = _packets(now, host, protocol, spi)
            if new is None:
                raise StepFailed(f"{host} has no SA {protocol} {spi:#x}")
            if (new > (old or 0)) != moves:
                what = "did not move" if moves else "moved"
                raise StepFailed(f"{host}'s SA {protocol} {spi:#x} {what}")


def _check_counter(taken: Taken, host: str, name: str, by: int) -> None:
    before = taken.before.counters[host].get(name)
    if before is None:
        raise StepFailed(f"{host}'s kernel has no counter {name}")
    with contextlib.suppress(TimeoutError):
        until(
            lambda: taken.scene.hosts[host].counters()[name] >= before + max(by, 1),
            _COUNTER_PATIENCE,
        )
    rose = taken.scene.hosts[host].counters()[name] - before
    if rose < 1 or (by and rose != by):
        what = f"rose by {rose}" if rose else "did not rise"
        wanted = f"{by}" if by else "1 or more"
        raise StepFailed(f"{host}'s {name} {what}, expected {wanted}")
    taken.seen.append(f"{host}: {name} +{rose}")


def _packets(counted: Counted, host: str, protocol: str, spi: int) -> int | None:
    """Return the packets of a host's SAs with that SPI, None when it has none."""
    found = [
        entry.packets
        for entry in counted.sads[host]
        if entry.association.spi == spi
        and protocol in ("", entry.association.protocol.name.lower())
    ]
    return sum(found) if found else None
