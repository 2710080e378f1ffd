"""Running cases: hosts up, scripts loaded, steps taken, failures explained; with a listener."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from kamexfrm.errors import KamexfrmError
from kamexfrm.rig.scenario.covering import cover_keys
from kamexfrm.rig.scenario.diagnosis import explaining
from kamexfrm.rig.scenario.diagnosis.advice import change_expectation, correct_line
from kamexfrm.rig.scenario.diagnosis.diagnosis import Diagnosis
from kamexfrm.rig.scenario.plan import Case, Step
from kamexfrm.rig.scenario.report.label import label
from kamexfrm.rig.scenario.result import CaseResult, Failure, StepFailed, StepResult
from kamexfrm.rig.scenario.run import expecting
from kamexfrm.rig.scenario.run import steps as doing
from kamexfrm.rig.scenario.run.observing import Watch
from kamexfrm.rig.scenario.run.refusal import refusal
from kamexfrm.rig.scenario.stage.pcap import Record
from kamexfrm.rig.scenario.stage.scene import Scene
from kamexfrm.setkey.command import main as run_setkey
from kamexfrm.sysctl.command import run as run_sysctl

#: Lines of a fact that are shown; dumps of big databases are cut.
_LONGEST = 60


class Listener(Protocol):
    """Receives the events of a case as it runs."""

    def begin(self, case: Case) -> None:
        """Receive the begin of a case."""

    def step(self, result: StepResult) -> None:
        """Receive the result of a step; number 0 is the setup of the hosts."""

    def end(self, result: CaseResult) -> None:
        """Receive the result of a case."""


class Silent:
    """A listener that ignores all events."""

    def begin(self, case: Case) -> None:
        """Ignore it."""

    def step(self, result: StepResult) -> None:
        """Ignore it."""

    def end(self, result: CaseResult) -> None:
        """Ignore it."""


#: Called before each step, and after the last with None, while the hosts are there.
Pause = Callable[[Scene, Step | None, Failure | None], None]


class Runner:
    """Runs one case after the other; ``pcap`` is a folder for captures of all links.

    ``observe`` is whether results say what each step did on the wires and in the hosts.
    """

    def __init__(
        self,
        listener: Listener | None = None,
        *,
        pcap: Path | None = None,
        pause: Pause | None = None,
        observe: bool = False,
    ) -> None:
        self._listener = listener or Silent()
        self._pcap = pcap
        self._pause = pause
        self._observe = observe

    def run(self, case: Case) -> CaseResult:
        """Run a case and return its result; raises errors of the machine only, not failures."""
        begin = time.monotonic()
        self._listener.begin(case)
        results: list[StepResult] = []
        record = Record(self._pcap, case) if self._pcap else None
        with Scene(case) as scene:
            for take in (self._up, *(self._taker(step) for step in case.steps)):
                result = take(scene, record)
                results.append(result)
                self._listener.step(result)
                if result.failure:
                    break
            if self._pause:
                self._pause(scene, None, results[-1].failure)
            if record:
                record.close()
        done = CaseResult(case, time.monotonic() - begin, tuple(results))
        self._listener.end(done)
        return done

    def _up(self, scene: Scene, record: Record | None) -> StepResult:
        begin = time.monotonic()
        case = scene.case
        failure = None
        seen: list[str] = []
        line = 1
        try:
            scene.raise_hosts()
            for name, plan in case.hosts.items():
                line = plan.line
                seen += furnish(scene, name)
        except StepFailed as error:
            line = error.line or line
            advice = correct_line(case, line, error.message)
            failure = Failure(cover_keys(error.message), error.causes, advice=advice)
        except OSError as error:
            failure = Failure(str(error))
        links = f"{len(case.links)} link{'s' if len(case.links) != 1 else ''}"
        text = f"{', '.join(case.hosts)} up, {links}"
        if record and not failure:
            record.keys(scene)
        return StepResult(0, line, text, "; ".join(seen), time.monotonic() - begin, failure)

    def _taker(self, step: Step) -> "Callable[[Scene, Record | None], StepResult]":
        def take(scene: Scene, record: Record | None) -> StepResult:
            if self._pause:
                self._pause(scene, step, None)
            begin = time.monotonic()
            taken = doing.Taken(scene, step)
            watch = Watch(taken) if self._observe else None
            failure = None
            try:
                taken.take()
                expecting.check(taken)
            except StepFailed as error:
                failure = _explain(taken, error)
            except (TimeoutError, OSError, KamexfrmError) as error:
                failure = _explain(taken, StepFailed(str(error)))
            observed = watch.observation() if watch else None
            if record:
                record.packets(scene)
                record.keys(scene)
            return StepResult(
                step.number,
                step.line,
                label(step),
                cover_keys(", ".join(taken.seen)),
                time.monotonic() - begin,
                failure,
                observed,
            )

        return take


def furnish(scene: Scene, name: str) -> list[str]:
    """Give a host its knobs, encap sockets and setkey script; return the commands' warnings."""
    plan = scene.case.hosts[name]
    warnings: list[str] = []
    if plan.knobs:
        done = scene.sysctl(name, *plan.knobs)
        if done.status:
            raise StepFailed(f"{name}: {done.stderr.strip()}")
        warnings += done.stderr.splitlines()
    for word in plan.encapsulation:
        address, port = word.split()
        try:
            scene.open_encap_socket(name, address, int(port))
        except OSError as error:
            raise StepFailed(f"{name}: udp-encap {word}: {error.strerror}") from None
    if plan.script:
        done = scene.setkey(name, plan.script)
        if done.status:
            said = done.stderr.strip() or done.stdout.strip()
            raise StepFailed(f"{name}: {refusal(said)}")
        warnings += done.stderr.splitlines()
    return warnings


def _explain(taken: doing.Taken, error: StepFailed) -> Failure:
    """Collect causes and facts of a failed step."""
    scene, probe = taken.scene, taken.probe
    moved = taken.moved()
    causes = error.causes
    cause = ""
    place = scene.case, taken.step.line
    if probe is not None:
        expected = taken.step.expectation.outcome
        diagnosis = Diagnosis(scene, probe, moved, taken.outcome, expected)
        causes += diagnosis.causes()
        cause = diagnosis.cause()
        came_out = taken.outcome == "ok" or expecting.met(taken)
        advice = change_expectation(*place) if came_out else diagnosis.advice()
    else:
        advice = correct_line(*place, error.message)
        causes += tuple(f"{host}'s {name} rose by {by}" for host, name, by in moved)
    facts: list[tuple[str, str]] = []
    for link, packets in scene.packets():
        facts.append((f"on {link}", "\n".join(map(str, packets)) or "(no packets)"))
    if taken.output:
        facts.append(("output", "\n".join(taken.output)))
    for name, background in scene.background.items():
        facts.append((f"{name} says", background.text))
    if probe is not None:
        source = probe.source or scene.source_of(probe.host, probe.destination)
        facts += explaining.both_ways(scene, probe, source)
    for name in scene.hosts:
        facts += _host_facts(scene, name)
    shown = tuple((title, _cut(cover_keys(text))) for title, text in facts)
    return Failure(cover_keys(error.message), causes, shown, advice, cause)


def _host_facts(scene: Scene, name: str) -> list[tuple[str, str]]:
    facts = [
        (f"{name}# setkey -D --nokeys", scene.command(name, run_setkey, "-D", "--nokeys").stdout),
        (f"{name}# setkey -DP", scene.command(name, run_setkey, "-DP").stdout),
        (f"{name}# kame-sysctl -a", supported(scene.command(name, run_sysctl, "-a").stdout)),
    ]
    risen = [f"{key} {value}" for key, value in scene.hosts[name].counters().items() if value]
    facts.append((f"{name}'s counters", "\n".join(risen) or "(all 0)"))
    return [(title, text.strip("\n")) for title, text in facts]


def supported(variables: str) -> str:
    """Return what kame-sysctl -a printed without the variables that Linux lacks."""
    lines = variables.splitlines(keepends=True)
    return "".join(line for line in lines if ": unsupported (" not in line)


def _cut(text: str) -> str:
    lines = text.splitlines()
    if len(lines) <= _LONGEST:
        return text
    left = len(lines) - _LONGEST
    return "\n".join([*lines[:_LONGEST], f"... ({left} more lines)"])
