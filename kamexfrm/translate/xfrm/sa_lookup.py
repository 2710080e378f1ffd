"""Which SAs serve which outbound requests, and the reqids that follow from it. Pure.

To KAME a request without a number takes any SA (key.c key_cmpsaidx()); Linux wants the reqids of
template and SA to be equal (xfrm_state_find()). So the template of such a request is given the
reqid of the SA that KAME would take. The policy is bent and not the SA: it is rewritten in one
step, touches neither keys nor replay state, and serves SAs that others made.
"""

import struct
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from kamexfrm.model.policy import (
    Direction,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.tag import is_mode_any
from kamexfrm.xfrm import XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, State

_Ends = tuple[Address, Address]
_HEAD = struct.Struct(">B??I16s16s")

#: The reqids of the SAs between two ends, the newest head's last, by when the head was made.
_Heads = dict[int, int]


def is_any_reqid(request: IpsecRequest) -> bool:
    """Whether a request takes an SA of any reqid."""
    return request.level is not Level.UNIQUE and not request.reqid


def has_any_reqid(policy: SecurityPolicy) -> bool:
    """Whether an entry has outbound requests that take SAs of any reqid."""
    return (
        policy.direction is Direction.OUT
        and policy.type is PolicyType.IPSEC
        and any(map(is_any_reqid, policy.requests))
    )


def is_usable(state: State) -> bool:
    """Whether a state has keys: a larval one only holds an SPI, or stands for an ACQUIRE."""
    return state.spi != 0 and state.is_keyed


class SaLookup:
    """What the SAs of a dump can serve."""

    def __init__(self, states: Iterable[State]) -> None:
        """``states`` are in the kernel's order, the newest first."""
        self._tunnels: dict[tuple[int, _Ends], _Heads] = {}
        self._transports: dict[tuple[int, _Ends], _Heads] = {}
        self._pairs: defaultdict[int, list[_Ends]] = defaultdict(list)
        self._chosen: dict[tuple[int, tuple[object, ...]], int] = {}
        #: Whether some SA has a reqid.
        self.has_reqids = False
        #: A checksum of all this: equal ones serve alike. The SAs of a head may change places.
        self.digest = 0
        made: set[tuple[object, ...]] = set()
        for age, state in enumerate(reversed(list(states))):
            if not is_usable(state) or state.mode not in (XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL):
                continue
            self.has_reqids |= state.reqid != 0
            ends = (state.source, state.destination)
            tunnel = state.mode == XFRM_MODE_TUNNEL
            table = self._tunnels if tunnel else self._transports
            if not tunnel and (state.protocol, ends) not in table:
                self._pairs[state.protocol].append(ends)
            heads = table.setdefault((state.protocol, ends), {})
            # SAs of one declared mode and one reqid share a head, as old as the oldest of them.
            head = (state.protocol, ends, tunnel, is_mode_any(state.selector.user), state.reqid)
            if head not in made:
                made.add(head)
                heads[state.reqid] = age
                packed = _HEAD.pack(state.protocol, *head[2:], ends[0].packed, ends[1].packed)
                self.digest = zlib.crc32(packed, self.digest)

    def without_sa(self, requests: Sequence[IpsecRequest]) -> tuple[IpsecRequest, ...]:
        """Return those of some tunnel requests that no SA serves."""
        return tuple(r for r in requests if not self._serves(r))

    def _serves(self, request: IpsecRequest) -> bool:
        heads = self._tunnels.get((request.protocol, _ends_of(request)), {})
        return request.reqid in heads if not is_any_reqid(request) else bool(heads)

    def with_sa_reqids(
        self, policy: SecurityPolicy, missing: Sequence[IpsecRequest] = ()
    ) -> tuple[IpsecRequest, ...]:
        """Return an outbound entry's requests, those without a number with that of their SA.

        ``missing`` are tunnel requests that are left out for want of an SA. What one template has
        to say for several pairs of hosts is the reqid that serves most of them; for one pair it is
        that of KAME's choice, the newest head.
        """
        found = []
        ends: _Ends | None = None  # the packet's own
        for request in policy.requests:
            if request in missing:
                found.append(request)
                continue
            if request.mode is Mode.TUNNEL:
                ends = _ends_of(request)
            if is_any_reqid(request):
                number = self._number(request, ends, policy.selector)
                request = request._replace(reqid=number)  # noqa: PLW2901
            found.append(request)
        return tuple(found)

    def _number(self, request: IpsecRequest, ends: _Ends | None, selector: Selector) -> int:
        protocol = int(request.protocol)
        if request.mode is Mode.TUNNEL:
            assert ends is not None  # noqa: S101
            return _newest(self._tunnels.get((protocol, ends), {}))
        if ends is None and selector.source_prefix == selector.destination_prefix == (
            selector.source.bits
        ):
            ends = (selector.source, selector.destination)
        if ends is not None:
            return _newest(self._transports.get((protocol, ends), {}))
        key = (protocol, tuple(selector[:4]))
        if key not in self._chosen:
            self._chosen[key] = self._most_wanted(protocol, selector)
        return self._chosen[key]

    def _most_wanted(self, protocol: int, selector: Selector) -> int:
        """Return the reqid that serves most of the pairs in a selector; of equals the newest."""
        pairs: Counter[int] = Counter()
        ages: dict[int, int] = {0: -1}
        for ends in self._pairs.get(protocol, ()):
            if not selector.covers(*ends):
                continue
            for number, age in self._transports[protocol, ends].items():
                pairs[number] += 1
                ages[number] = max(age, ages.get(number, -1))
        return max(ages, key=lambda number: (pairs[number], ages[number]))


def _ends_of(request: IpsecRequest) -> _Ends:
    source, destination = request.source, request.destination
    assert source is not None and destination is not None  # noqa: S101, PT018  (a tunnel)
    return source, destination


def _newest(heads: _Heads) -> int:
    return max(heads, key=heads.__getitem__, default=0)
