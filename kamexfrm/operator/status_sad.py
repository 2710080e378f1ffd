"""The SAs of a namespace for its status: which serve a request, and which are worth a word.

Fifty thousand of them are read as messages; only what is shown becomes objects.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import SadEntry
from kamexfrm.model.policy import (
    IPSEC_PROTOCOLS,
    Direction,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    Selector,
    SpdEntry,
)
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.brief_state import brief_states
from kamexfrm.translate.xfrm.numbers import mode_from_kernel
from kamexfrm.translate.xfrm.sa_from_kernel import is_dying, sad_entry_from_kernel
from kamexfrm.translate.xfrm.tag import is_mode_any
from kamexfrm.xfrm import LifetimeConfig, LifetimeCurrent, State, decode_state
from kamexfrm.xfrm.structs import USERSA_INFO

#: Comparisons of policies for networks with SAs, at most: status is for people who wait.
_MOST_COMPARED = 2_000_000

#: The share of an SA's hard lifetime after which it is worth a line, without a soft one.
NEARLY_OVER = 0.9

_at = USERSA_INFO.offset
_ERRORS = slice(_at("replay_window_errors"), _at("sequence"))
_NO_ERRORS = bytes(_ERRORS.stop - _ERRORS.start)
_USER = struct.Struct(f"={_at('selector.user')}xI").unpack_from
_LIFE = struct.Struct(f"={_at('lifetime.soft_bytes')}x8Q4Q").unpack_from


class SaStatus(NamedTuple):
    """An SA with its replay state, errors, and the share of its lifetime that is over, 0 to 1."""

    entry: SadEntry
    state: State
    share: float | None


class _Head(NamedTuple):
    """What requests compare of an SA."""

    mode: Mode
    reqid: int
    spi: int


class Sad:
    """The SAs of a namespace at ``now``, in seconds since the epoch.

    With ``prefers_old`` requests whose ends are known are served by the oldest, else by the newest.
    """

    def __init__(self, kernel: Kernel, now: float, *, prefers_old: bool = False) -> None:
        self._now = now
        self._prefers_old = prefers_old
        self._payloads: list[bytes] = []
        self._by_ends: dict[tuple[int, Address, Address], list[_Head]] = {}
        self._budget = _MOST_COMPARED
        for state, payload in brief_states(kernel.state_runs()):
            if state.protocol not in IPSEC_PROTOCOLS:
                continue
            self._payloads.append(payload)
            if state.is_usable:
                ends = state.protocol, state.source, state.destination
                head = _Head(mode_from_kernel(state.mode), state.reqid, state.spi)
                self._by_ends.setdefault(ends, []).append(head)

    def __len__(self) -> int:
        return len(self._payloads)

    def __iter__(self) -> Iterator[SaStatus]:
        """Yield all SAs, the newest first."""
        return map(self._status, self._payloads)

    def iter_noteworthy(self) -> Iterator[SaStatus]:
        """Yield the SAs that may end soon, and those with errors."""
        return map(self._status, filter(self._is_noteworthy, self._payloads))

    def _is_noteworthy(self, payload: bytes) -> bool:
        if payload[_ERRORS] != _NO_ERRORS:
            return True
        words = _LIFE(payload)
        limits, current = LifetimeConfig(*words[:8]), LifetimeCurrent(*words[8:])
        if is_mode_any(_USER(payload)[0]) and limits.hard_add:
            return True  # it may be older than the kernel says
        shares = (
            (current.bytes, limits.hard_bytes),
            (current.packets, limits.hard_packets),
            (self._now - current.add_time, limits.hard_add),
        )
        return is_dying(limits, current, self._now) or any(
            limit and value >= limit * NEARLY_OVER for value, limit in shares
        )

    def _status(self, payload: bytes) -> SaStatus:
        state = decode_state(payload)
        entry = sad_entry_from_kernel(state, self._now)
        hard = entry.association.hard
        shares = []
        if hard.addtime and entry.created:
            shares.append((self._now - entry.created) / hard.addtime)
        if hard.bytes:
            shares.append(entry.bytes / hard.bytes)
        if hard.allocations:
            shares.append(entry.packets / hard.allocations)
        return SaStatus(entry, state, min(1.0, max(shares)) if shares else None)

    # What serves a policy

    def serving(self, entry: SpdEntry) -> Iterator[tuple[IpsecRequest, list[int]]]:
        """Yield the requests of a policy with the SPIs that serve them, one for a pair of hosts."""
        policy = entry.policy
        if policy.type is not PolicyType.IPSEC or policy.direction is Direction.FWD:
            return
        outbound = policy.direction is Direction.OUT
        for request in policy.requests:
            heads = self._heads(request, policy.selector)
            named = policy.selector.is_of_two_hosts or _ends_of(request) is not None
            if self._prefers_old and outbound and named:
                heads = (sas[::-1] for sas in heads)
            found = (_first(sas, request, outbound) for sas in heads)
            yield request, [head.spi for head in found if head]

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

    def depends_on_selector(self, entry: SpdEntry) -> bool:
        """Whether lacks_sa() says another thing of the same requests with another selector."""
        policy = entry.policy
        if policy.direction is not Direction.OUT or policy.type is not PolicyType.IPSEC:
            return False
        return bool(self._by_ends) and not all(map(_ends_of, policy.requests))

    def _heads(self, request: IpsecRequest, selector: Selector) -> Iterable[list[_Head]]:
        """Return the SAs of each pair of hosts that a request is about."""
        if not self._by_ends:
            return ()
        protocol = int(request.protocol)
        source, source_bits, destination, destination_bits = selector[:4]
        if ends := _ends_of(request):
            source, destination = ends
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


def _ends_of(request: IpsecRequest) -> tuple[Address, Address] | None:
    """Return the addresses of the SA that a request names itself."""
    if request.mode is Mode.TUNNEL and request.source and request.destination:
        return request.source, request.destination
    return None


def _first(sas: list[_Head], request: IpsecRequest, outbound: bool) -> _Head | None:
    """Return the first of some SAs that serves a request; KAME compares no reqid on input."""
    reqid = request.reqid if request.level is Level.UNIQUE and outbound else 0
    return next(
        (sa for sa in sas if sa.mode is request.mode and (not reqid or sa.reqid == reqid)), None
    )
