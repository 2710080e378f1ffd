"""The text of a step in the transcript, in one line."""

from typing import assert_never

from kamexfrm.rig.scenario.covering import cover_keys
from kamexfrm.rig.scenario.plan import (
    Explain,
    Kill,
    Probe,
    Run,
    Say,
    Setkey,
    Step,
    Stream,
    Sysctl,
    Wait,
)


def label(step: Step) -> str:
    """Return what a step does, in a line."""
    match step.action:
        case Probe() as probe:
            port = "" if probe.protocol == "ping" else f" port {probe.port}"
            times = f" {probe.count} times" if probe.count > 1 else ""
            own = "".join(f", socket {policy}" for policy in probe.policies)
            return f"{probe.host}: {probe.protocol} {probe.destination}{port}{times}{own}"
        case Explain(at, probe):
            return f"{at}: explain {probe.host} -> {probe.destination} {probe.protocol}"
        case Stream(name, probe, interval):
            return f"{probe.host}: stream {name} to {probe.destination}, one each {interval:g} s"
        case Setkey(hosts, script):
            return f"{', '.join(hosts)}: setkey {script.origin or _first_line(script.text)}"
        case Sysctl(hosts, words):
            return f"{', '.join(hosts)}: sysctl {' '.join(words)}"
        case Run(hosts, command, name):
            return f"{', '.join(hosts)}: {_first_line(command)}" + (f" & ({name})" if name else "")
        case Wait(host, command, name, text):
            return f"wait for {name} to say {text!r}" if name else f"{host}: wait for {command}"
        case Kill(name):
            return f"end {name}"
        case Say(text):
            return text
        case _:
            assert_never(step.action)


def _first_line(text: str) -> str:
    lines = [cover_keys(line).strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "(nothing)"
    more = f" ... ({len(lines)} lines)" if len(lines) > 1 else ""
    return (lines[0] if len(lines[0]) <= 60 else lines[0][:57] + "...") + more
