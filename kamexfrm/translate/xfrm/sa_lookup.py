"""Which SAs outbound requests use, and the reqids that follow from it. Pure.

In KAME a request without a reqid uses any SA (key.c key_cmpsaidx()); Linux compares the reqids of
template and SA (xfrm_state_find()). So the template of such a request gets the reqid of the SA that
KAME would use. The policy is rewritten and not the SA: that is one step, touches neither keys nor
replay state, and works with the SAs of other programs too.
"""

import struct
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from kamexfrm.model.policy import (
    TUNNEL_MODES,
    IpsecRequest,
    Mode,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import Address
from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm.any_reqid import is_any_reqid
from kamexfrm.translate.xfrm.brief_state import BriefState
from kamexfrm.translate.xfrm.numbers import mode_to_kernel
from kamexfrm.translate.xfrm.tag import is_mode_any
from kamexfrm.xfrm import XFRM_MODE_BEET, XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, State

_Ends = tuple[Address, Address]
_HEAD = struct.Struct(">BB?I16s16s")

#: The kernel's modes that requests ask for.
_MODES = {XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, XFRM_MODE_BEET}

#: The reqids of the SAs between two ends, each with its head's place by time; newest is highest.
_Heads = dict[int, int]


def is_usable(state: State) -> bool:
    """Whether a state has keys: a larval one only holds an SPI, or stands for an ACQUIRE."""
    return state.spi != 0 and state.is_keyed


class Unserved(NamedTuple):
    """Pairs of hosts whose SAs a request of a policy for many pairs cannot use.

    Linux compares reqids, and a request has one: that of ``reqid``, while ``pairs`` pairs of hosts
    only have SAs of ``others``.
    """

    selector: Selector
    protocol: int
    reqid: int
    others: tuple[int, ...]
    pairs: int


class SaLookup:
    """The SAs of a dump, to be found for requests."""

    def __init__(self, states: Iterable[BriefState]) -> None:
        """``states`` are in the kernel's order, the newest first."""
        self._heads: dict[tuple[int, int, _Ends], _Heads] = {}  # by mode, protocol, ends
        self._pairs: defaultdict[int, list[_Ends]] = defaultdict(list)
        self._chosen: dict[tuple[int, tuple[object, ...]], int] = {}
        #: What requests for many pairs of hosts leave without an SA, as far as was asked.
        self.unserved: dict[tuple[int, tuple[object, ...]], Unserved] = {}
        #: Whether some SA has a reqid.
        self.has_reqids = False
        #: A checksum of all this: equal ones give equal answers. Within a head the order is free.
        self.digest = 0
        made: set[tuple[object, ...]] = set()
        for age, state in enumerate(reversed(list(states))):
            if not state.is_usable or state.mode not in _MODES:
                continue
            if state.if_id:  # it serves the policies of its interface, which name its reqid
                continue
            self.has_reqids |= state.reqid != 0
            ends = (state.source, state.destination)
            key = (state.mode, state.protocol, ends)
            if state.mode == XFRM_MODE_TRANSPORT and key not in self._heads:
                self._pairs[state.protocol].append(ends)
            heads = self._heads.setdefault(key, {})
            # SAs of one declared mode and one reqid share a head, as old as the oldest of them.
            is_any = is_mode_any(state.user)
            head = (state.protocol, ends, state.mode, is_any, state.reqid)
            if head not in made:
                made.add(head)
                heads[state.reqid] = age
                packed = _HEAD.pack(state.protocol, *head[2:], ends[0].packed, ends[1].packed)
                self.digest = zlib.crc32(packed, self.digest)

    def _of(self, mode: Mode, protocol: int, ends: _Ends) -> _Heads:
        return self._heads.get((mode_to_kernel(mode), protocol, ends), {})

    def without_sa(self, requests: Sequence[IpsecRequest]) -> tuple[IpsecRequest, ...]:
        """Return those of some tunnel requests that have no SA."""
        return tuple(r for r in requests if not self._has_sa(r))

    def _has_sa(self, request: IpsecRequest) -> bool:
        heads = self._of(request.mode, request.protocol, _ends_of(request))
        return request.reqid in heads if not is_any_reqid(request) else bool(heads)

    def with_sa_reqids(
        self, policy: SecurityPolicy, without_sa: Sequence[IpsecRequest] = ()
    ) -> tuple[IpsecRequest, ...]:
        """Return an outbound entry's requests, those without a reqid with that of their SA.

        ``without_sa`` are tunnel requests that are left out because they have no SA. For several
        pairs of hosts, a template gets the reqid that most of them have; for one pair, that of
        KAME's choice, the newest head.
        """
        found = []
        ends: _Ends | None = None  # the packet's own
        for request in policy.requests:
            if request in without_sa:
                found.append(request)
                continue
            if request.mode in TUNNEL_MODES:
                ends = _ends_of(request)
            if is_any_reqid(request):
                reqid = self._reqid(request, ends, policy.selector)
                request = request._replace(reqid=reqid)  # noqa: PLW2901
            found.append(request)
        return tuple(found)

    def _reqid(self, request: IpsecRequest, ends: _Ends | None, selector: Selector) -> int:
        protocol = int(request.protocol)
        if request.mode in TUNNEL_MODES:
            assert ends is not None  # noqa: S101
            return _newest(self._of(request.mode, protocol, ends))
        if ends is None and selector.is_of_two_hosts:
            ends = (selector.source, selector.destination)
        if ends is not None:
            return _newest(self._of(Mode.TRANSPORT, protocol, ends))
        key = (protocol, tuple(selector[:4]))
        if key not in self._chosen:
            chosen = self._chosen[key] = self._commonest_reqid(protocol, selector)
            if found := self._unserved(protocol, selector, chosen):
                self.unserved[key] = found
        return self._chosen[key]

    def _unserved(self, protocol: int, selector: Selector, chosen: int) -> Unserved | None:
        """Return which pairs in a selector have no SA of the chosen reqid, None for no such."""
        left = [
            heads
            for ends in self._pairs.get(protocol, ())
            if selector.covers(*ends)
            and chosen not in (heads := self._of(Mode.TRANSPORT, protocol, ends))
        ]
        if not left:
            return None
        others = sorted({reqid for heads in left for reqid in heads})
        return Unserved(selector, protocol, chosen, tuple(others), len(left))

    def _commonest_reqid(self, protocol: int, selector: Selector) -> int:
        """Return the reqid that most of the pairs in a selector have; of equals the newest."""
        pairs: Counter[int] = Counter()
        ages: dict[int, int] = {0: -1}
        for ends in self._pairs.get(protocol, ()):
            if not selector.covers(*ends):
                continue
            for reqid, age in self._of(Mode.TRANSPORT, protocol, ends).items():
                pairs[reqid] += 1
                ages[reqid] = max(age, ages.get(reqid, -1))
        return max(ages, key=lambda reqid: (pairs[reqid], ages[reqid]))


def _ends_of(request: IpsecRequest) -> _Ends:
    source, destination = request.source, request.destination
    assert source is not None and destination is not None  # noqa: S101, PT018  (a tunnel)
    return source, destination


def _newest(heads: _Heads) -> int:
    return max(heads, key=heads.__getitem__, default=0)
