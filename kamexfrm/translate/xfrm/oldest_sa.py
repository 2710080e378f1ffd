"""Which SPI each outbound template names while ``net.key.preferred_oldsa`` is 1. Pure.

KAME sends with the oldest SA (key.c key_do_allocsa_policy()), Linux with the newest
(xfrm_state_look_at()). A template with an SPI is served by that SA alone (xfrm_state_find()), so
the template of each outbound request gets the SPI of its oldest SA. On input the kernel compares
the SPI with that of the packet (xfrm_state_ok()), so inbound templates get none.

A template can name one SPI. A transport request of a policy for many hosts has an SA for each pair
of them, and names none. Neither does one whose SAs serve different packets, by a selector or a mark
of their own.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

from kamexfrm.model.policy import (
    TUNNEL_MODES,
    Direction,
    IpsecRequest,
    PolicyType,
    SecurityPolicy,
)
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.brief_state import BriefState, SaName
from kamexfrm.translate.xfrm.numbers import mode_to_kernel
from kamexfrm.xfrm import Template

#: Interface id, protocol, mode, source, destination and reqid.
_Index = tuple[int, int, int, Address, Address, int]
_NUMBERS = struct.Struct(">IBBII")


def may_name_spi(policy: SecurityPolicy) -> bool:
    """Whether an entry has an outbound request of which both ends are known."""
    if policy.direction is not Direction.OUT or policy.type is not PolicyType.IPSEC:
        return False
    return policy.selector.is_of_two_hosts or any(
        request.mode in TUNNEL_MODES for request in policy.requests
    )


class OldestSas:
    """The oldest SA of each kind in a dump."""

    def __init__(self, states: Iterable[BriefState]) -> None:
        """``states`` are in the kernel's order, the newest first."""
        self._spis: dict[_Index, int] = {}
        for state in states:
            if state.is_usable:
                index = (
                    state.if_id,
                    state.protocol,
                    state.mode,
                    state.source,
                    state.destination,
                    state.reqid,
                )
                narrow = state.is_narrow or self._spis.get(index) == 0
                self._spis[index] = 0 if narrow else state.spi

    @property
    def digest(self) -> int:
        """A checksum: equal ones give equal answers."""
        found = 0
        for (if_id, protocol, mode, source, destination, reqid), spi in self._spis.items():
            numbers = _NUMBERS.pack(if_id, protocol, mode, reqid, spi)
            found ^= zlib.crc32(numbers + source.packed + destination.packed)
        return found

    def names(self) -> Iterator[SaName]:
        """Yield the names of those that templates may name."""
        return ((index[1], index[4], spi) for index, spi in self._spis.items() if spi)

    def spis(
        self,
        policy: SecurityPolicy,
        requests: Sequence[IpsecRequest],
        without_sa: Sequence[IpsecRequest] = (),
    ) -> tuple[int, ...]:
        """Return the SPI that each request of an outbound entry names, 0 for none.

        ``requests`` are the entry's with the reqids of their SAs; ``without_sa`` are tunnels that
        are not installed now.
        """
        selector = policy.selector
        if_id = selector.scope.if_id if selector.scope else 0
        ends: tuple[Address, Address] | None = None
        if selector.is_of_two_hosts:
            ends = selector.source, selector.destination
        found = []
        for request, written in zip(requests, policy.requests, strict=True):
            if written in without_sa:
                found.append(0)
                continue
            if request.mode in TUNNEL_MODES and request.source and request.destination:
                ends = request.source, request.destination
            elif ends and ends[0].family != selector.family:
                # Behind a tunnel of the other family the kernel passes over transport SAs, but
                # answers EEXIST where a template names one.
                found.append(0)
                continue
            mode = mode_to_kernel(request.mode)
            index = ends and (if_id, int(request.protocol), mode, *ends, request.reqid)
            found.append(self._spis.get(index, 0) if index else 0)
        return tuple(found)


def with_spis(templates: tuple[Template, ...], spis: Sequence[int]) -> tuple[Template, ...]:
    """Return templates that name an SPI each; without ``spis`` they name none."""
    if not any(spis):
        return templates
    return tuple(template._replace(spi=spi) for template, spi in zip(templates, spis, strict=True))
