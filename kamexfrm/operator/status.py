"""One look at a namespace: knobs, policies with the SAs that serve them, SAs, and what is wrong."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import UnsupportedError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import SadEntry, SaState
from kamexfrm.model.counters import counter_of
from kamexfrm.model.knobs import Knobs, effective_level
from kamexfrm.model.policy import (
    IPSEC_PROTOCOLS,
    PRIORITY_DEFAULT,
    Direction,
    IpsecRequest,
    Level,
    Mode,
    Owner,
    PolicyType,
    Selector,
    SpdEntry,
)
from kamexfrm.model.policy_text import format_request
from kamexfrm.net import AF_INET, AF_INET6, Address
from kamexfrm.operator import stats
from kamexfrm.sysctl import namespace as knobs_of_namespace
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
from kamexfrm.xfrm import State

#: Comparisons of policies for networks with SAs, at most: status is for people who wait.
_MOST_COMPARED = 2_000_000

#: The share of an SA's hard lifetime after which it is worth a line, without a soft one.
_NEARLY_OVER = 0.9

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


class SaStatus(NamedTuple):
    """An SA with its replay state, errors, and the share of its lifetime that is over, 0 to 1."""

    entry: SadEntry
    state: State
    share: float | None


class Counts(NamedTuple):
    """Policies without automatic ones, those of other programs, those of sockets.

    ``unnamed`` is the number of policies without an SA that are not among the problems.
    """

    policies: int
    foreign: int
    sockets: int
    unnamed: int


class Status(NamedTuple):
    """All of a namespace, problems first."""

    problems: tuple[Problem, ...]
    knobs: Knobs
    policies: tuple[PolicyStatus, ...]
    sas: tuple[SaStatus, ...]
    counters: dict[str, int]
    counts: Counts


def look(kernel: Kernel, most: int | None = None) -> Status:
    """Return the status of the namespace, with so many policies and problems of them at ``most``.

    Raises KamexfrmError.
    """
    engine = Engine(kernel)
    now = time.time()
    read = knobs_of_namespace.read(kernel)
    states = [s for s in kernel.states() if s.protocol in IPSEC_PROTOCOLS]
    sas = tuple(_sa(state, now) for state in states)
    finder = _Finder(sas, read.knobs)
    entries = sorted(engine.spd(), key=lambda e: e.kernel_priority)
    ours = [entry for entry in entries if not entry.socket]
    who = _daemon(ours)
    shown = ours if most is None else [entry for entry in ours if not entry.twin][:most]
    policies = tuple(
        PolicyStatus(at, entry, _owner(entry, who), finder.served(entry))
        for at, entry in enumerate(shown, 1)
    )
    counters: dict[str, int] = {}
    with suppress(UnsupportedError):
        counters = {n: v for n, v in stats.read(kernel).counters.items() if v}
    unserved = [entry for entry in ours if finder.lacks_sa(entry)]
    problems = (
        *_of_knobs(read, ours),
        *_of_forged(ours),
        *chain.from_iterable(_of_policy(e, finder.served(e)) for e in unserved[:most]),
        *_of_sas(sas, now),
        *_of_counters(counters),
    )
    counts = Counts(
        sum(not entry.twin for entry in ours),
        sum(entry.owner is not Owner.OURS for entry in ours),
        len(entries) - len(ours),
        len(unserved) - len(unserved[:most]),
    )
    return Status(problems, read.knobs, policies, sas, counters, counts)


# SAs


def _sa(state: State, now: float) -> SaStatus:
    entry = sad_entry_from_kernel(state, now)
    hard = entry.association.hard
    shares = []
    if hard.addtime and entry.created:
        shares.append((now - entry.created) / hard.addtime)
    if hard.bytes:
        shares.append(entry.bytes / hard.bytes)
    if hard.allocations:
        shares.append(entry.packets / hard.allocations)
    return SaStatus(entry, state, min(1.0, max(shares)) if shares else None)


class _Finder:
    """Finds the SAs for requests, the newest first."""

    def __init__(self, sas: Iterable[SaStatus], knobs: Knobs) -> None:
        self._knobs = knobs
        self._by_ends: dict[tuple[int, Address, Address], list[SadEntry]] = {}
        self._budget = _MOST_COMPARED
        for sa in sas:
            association = sa.entry.association
            if sa.entry.state in (SaState.LARVAL, SaState.DEAD):
                continue
            ends = int(association.protocol), association.source, association.destination
            self._by_ends.setdefault(ends, []).append(sa.entry)

    def served(self, entry: SpdEntry) -> tuple[Served, ...]:
        """Return the requests of a policy with the SAs that serve them, one for a pair of hosts."""
        policy = entry.policy
        if policy.type is not PolicyType.IPSEC or policy.direction is Direction.FWD:
            return ()
        family, outbound = policy.selector.family, policy.direction is Direction.OUT
        found = []
        for request in policy.requests:
            heads = self._heads(request, policy.selector)
            sas = [sa for sas in heads if (sa := _first(sas, request, outbound))]
            level = effective_level(request, family, self._knobs).name.lower()
            spi = sas[0].association.spi if sas else None
            found.append(Served(format_request(request), level, spi, len(sas)))
        return tuple(found)

    def lacks_sa(self, entry: SpdEntry) -> bool:
        """Whether a request of an outbound policy has no SA."""
        policy = entry.policy
        if policy.direction is not Direction.OUT or policy.type is not PolicyType.IPSEC:
            return False
        if not self._by_ends:
            return True
        return not all(
            any(_first(sas, request, True) for sas in self._heads(request, policy.selector))
            for request in policy.requests
        )

    def _heads(self, request: IpsecRequest, selector: Selector) -> Iterable[list[SadEntry]]:
        """Return the SAs of each pair of hosts that a request is about."""
        if not self._by_ends:
            return ()
        protocol = int(request.protocol)
        source, source_bits, destination, destination_bits = selector[:4]
        if request.mode is Mode.TUNNEL and request.source and request.destination:
            source, destination = request.source, request.destination
        elif not source_bits == destination_bits == source.bits:
            self._budget -= len(self._by_ends)
            if self._budget < 0:
                return ()
            return (
                sas
                for (number, here, there), sas in self._by_ends.items()
                if number == protocol
                and here.family == source.family
                and selector.covers(here, there)
            )
        return (self._by_ends.get((protocol, source, destination), []),)


def _first(sas: list[SadEntry], request: IpsecRequest, outbound: bool) -> SadEntry | None:
    """Return the newest of some SAs that serves a request; KAME compares no reqid on input."""
    return next((sa for sa in sas if _serves(sa, request, outbound)), None)


def _serves(entry: SadEntry, request: IpsecRequest, compares_reqid: bool) -> bool:
    association = entry.association
    mode = entry.kernel_mode if association.mode is Mode.ANY else association.mode
    if mode is not request.mode:
        return False
    unique = request.level is Level.UNIQUE and request.reqid and compares_reqid
    return not unique or association.reqid == request.reqid


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


def _daemon(entries: Sequence[SpdEntry]) -> str:
    """Return the IKE daemons of this network namespace, where there are foreign entries."""
    if not any(entry.owner is Owner.FOREIGN for entry in entries):
        return ""
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


def _of_knobs(read: knobs_of_namespace.State, entries: Sequence[SpdEntry]) -> Iterator[Problem]:
    if read.warning:
        text = read.warning.removeprefix("warning: ")
        yield Problem("error", text, "kame-sysctl net.inet.ipsec.def_policy=...")
    for family, word in ((AF_INET, "IPv4"), (AF_INET6, "IPv6")):
        if read.knobs.of(family).def_policy:
            continue
        exempt = any(
            entry.policy.type is PolicyType.NONE and entry.policy.selector.family == family
            for entry in entries
        )
        if not exempt:
            yield Problem(
                "warning",
                f"def_policy is 0 for {word} and no policy of action none exempts anything",
                "kamexfrm exempt nd dhcp ike loopback, or kame-sysctl ...def_policy=1",
            )


def _of_forged(entries: Iterable[SpdEntry]) -> Iterator[Problem]:
    for entry in entries:
        if entry.owner is Owner.FORGED:
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


def _of_sas(sas: Sequence[SaStatus], now: float) -> Iterator[Problem]:
    for entry, state, share in sas:
        name = f"SA 0x{entry.association.spi:x} to {entry.association.destination}"
        errors = state.statistics
        if entry.state is SaState.DYING or (share or 0) >= _NEARLY_OVER:
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
