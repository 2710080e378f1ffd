"""One look at a namespace: knobs, policies with the SAs that serve them, SAs, and what is wrong."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

from kamexfrm.errors import UnsupportedError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import SaState
from kamexfrm.model.counters import counter_of
from kamexfrm.model.knobs import Knobs, effective_level
from kamexfrm.model.policy import (
    PRIORITY_DEFAULT,
    Owner,
    SpdEntry,
)
from kamexfrm.model.policy_text import format_request
from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.operator import stats
from kamexfrm.operator.status_sad import NEARLY_OVER, Sad, SaStatus
from kamexfrm.operator.status_spd import Spd
from kamexfrm.sysctl import namespace as knobs_of_namespace

#: Names of IKE daemons' processes, and what their policies are called.
_DAEMONS = {
    "charon": "strongSwan",
    "charon-systemd": "strongSwan",
    "pluto": "Libreswan",
    "iked": "OpenIKED",
    "racoon": "racoon",
}


class Problem(NamedTuple):
    """Something that is wrong or about to be: ``severity`` is error, warning or note."""

    severity: str
    text: str
    cure: str


class Served(NamedTuple):
    """A request of a policy, the level it has now, and the SA that serves it now, if there is one.

    ``several`` is the number of SAs, for a policy whose packets may use more than one.
    """

    request: str
    level: str
    spi: int | None
    several: int


class PolicyStatus(NamedTuple):
    """A policy in its place in the order of matching, with what serves it."""

    position: int
    entry: SpdEntry
    owner: str
    served: tuple[Served, ...]


class Counts(NamedTuple):
    """Policies without automatic ones, those of other programs, those of sockets, and SAs.

    ``unnamed`` is the number of policies without an SA that are not among the problems.
    """

    policies: int
    foreign: int
    sockets: int
    sas: int
    unnamed: int


class Status(NamedTuple):
    """All of a namespace, problems first. ``policies`` and ``sas`` can be read once."""

    problems: tuple[Problem, ...]
    knobs: Knobs
    policies: Iterator[PolicyStatus]
    sas: Iterator[SaStatus]
    counters: dict[str, int]
    counts: Counts


def look(kernel: Kernel, most: int | None = None) -> Status:
    """Return the status of the namespace, with so many policies and problems of them at ``most``.

    Raises KamexfrmError.
    """
    now = time.time()
    read = knobs_of_namespace.read(kernel)
    prefers_old = read.knobs.preferred_oldsa == 1
    sad, spd = Sad(kernel, now, prefers_old=prefers_old), Spd(kernel)
    unserved = spd.unserved(sad, sys.maxsize if most is None else most)
    who = _daemon() if spd.has_owner(Owner.FOREIGN) else ""
    counters: dict[str, int] = {}
    with suppress(UnsupportedError):
        counters = {n: v for n, v in stats.read(kernel).counters.items() if v}
    problems = (
        *_of_knobs(read, spd),
        *_of_forged(spd.iter_forged()),
        *chain.from_iterable(_of_policy(e, _served(e, sad, read.knobs)) for e in unserved.first),
        *_of_sas(sad.iter_noteworthy()),
        *_of_counters(counters),
    )
    shown = spd if most is None else spd.first(most)
    policies = (
        PolicyStatus(at, entry, _owner(entry, who), _served(entry, sad, read.knobs))
        for at, entry in enumerate(shown, 1)
    )
    missing = unserved.total - len(unserved.first)
    counts = Counts(spd.written, spd.foreign, spd.sockets, len(sad), missing)
    return Status(problems, read.knobs, policies, iter(sad), counters, counts)


def _served(entry: SpdEntry, sad: Sad, knobs: Knobs) -> tuple[Served, ...]:
    """Return the requests of a policy with the SAs that serve them."""
    family = entry.policy.selector.family
    return tuple(
        Served(
            format_request(request),
            effective_level(request, family, knobs).name.lower(),
            spis[0] if spis else None,
            len(spis),
        )
        for request, spis in sad.serving(entry)
    )


# Owners


def _owner(entry: SpdEntry, daemon: str) -> str:
    """Return whose an entry is: ours, or the program that probably made it."""
    match entry.owner:
        case Owner.OURS:
            return "kamexfrm"
        case Owner.NEWER:
            return "a later version of kamexfrm"
        case Owner.FORGED:
            return "another program (it stands in the place of def_policy's block)"
        case _:
            pass
    if daemon:
        return f"probably {daemon}"
    reqids = [request.reqid for request in entry.policy.requests if request.reqid]
    if reqids and 0 < entry.policy.priority < 0x100000:
        return "probably strongSwan"
    if entry.policy.priority >= PRIORITY_DEFAULT - 0x1000:
        return "probably a program with AF_KEY"
    return "probably ip xfrm"


def _daemon() -> str:
    """Return the IKE daemons of this network namespace."""
    found = set()
    here = os.readlink("/proc/thread-self/ns/net")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                name = _DAEMONS.get(file.read().strip())
            if name and os.readlink(f"/proc/{pid}/ns/net") == here:
                found.add(name)
    return " or ".join(sorted(found))


# Problems


def _of_knobs(read: knobs_of_namespace.State, spd: Spd) -> Iterator[Problem]:
    if read.warning:
        text = read.warning.removeprefix("warning: ")
        yield Problem("error", text, "kame-sysctl net.inet.ipsec.def_policy=...")
    for family, word in ((AF_INET, "IPv4"), (AF_INET6, "IPv6")):
        if not (read.knobs.of(family).def_policy or spd.exempts(family)):
            yield Problem(
                "warning",
                f"def_policy is 0 for {word} and no policy of action none exempts anything",
                "kamexfrm exempt nd dhcp ike loopback, or kame-sysctl ...def_policy=1",
            )


def _of_forged(entries: Iterable[SpdEntry]) -> Iterator[Problem]:
    for entry in entries:
        yield Problem(
            "error",
            f"spid={entry.id} has the mark of def_policy's block and is none",
            "any write of a variable replaces it: kame-sysctl ...def_policy=0",
        )


def _of_policy(entry: SpdEntry, served: Iterable[Served]) -> Iterator[Problem]:
    """Yield what becomes of the packets of an outbound policy that lacks an SA."""
    selector = entry.policy.selector
    ends = f"{selector.source}/{selector.source_prefix} to "
    ends += f"{selector.destination}/{selector.destination_prefix}"
    for each in served:
        if each.spi is None:
            leaks = each.level == "use"
            does = "leave in clear" if leaks else "are dropped"
            cure = "add the SA, or start the IKE daemon"
            yield Problem(
                "warning",
                f"packets from {ends} {does}: {each.request} (spid={entry.id}) has no SA",
                cure + ("; level require would hold them back" if leaks else ""),
            )


def _of_counters(counters: dict[str, int]) -> Iterator[Problem]:
    for name, value in counters.items():
        counter = counter_of(name)
        yield Problem("note", f"{value} {counter.words}", counter.cure)


def _of_sas(sas: Iterable[SaStatus]) -> Iterator[Problem]:
    for entry, state, share in sas:
        name = f"SA 0x{entry.association.spi:x} to {entry.association.destination}"
        errors = state.statistics
        if entry.state is SaState.DYING or (share or 0) >= NEARLY_OVER:
            yield Problem("warning", f"{name} ends soon", "rekey, or add the next SA")
        if errors.integrity_failed:
            yield Problem(
                "warning",
                f"{name}: {errors.integrity_failed} packets failed authentication",
                "compare the keys of both ends: kamexfrm check FILE --peer FILE",
            )
        if errors.replay or errors.replay_window:
            count = errors.replay + errors.replay_window
            yield Problem(
                "warning",
                f"{name}: {count} packets were repeated or too old",
                "make the window larger (-r), or add both ends' SAs anew together",
            )
