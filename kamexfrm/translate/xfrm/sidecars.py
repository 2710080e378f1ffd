"""The sidecars as events report them: an event about an entry does not carry its own. Pure."""

from collections.abc import Iterable

from kamexfrm.net import Address
from kamexfrm.translate.xfrm.policy_from_kernel import SidecarOf, is_sidecar, sidecars_of
from kamexfrm.translate.xfrm.policy_name import sidecar_selector
from kamexfrm.translate.xfrm.tag import read_share
from kamexfrm.xfrm import (
    XFRM_MODE_TUNNEL,
    XFRM_POLICY_TYPE_MAIN,
    Acquire,
    DeletedPolicy,
    Event,
    Policy,
    PolicyFlush,
    Selector,
)


class Sidecars:
    """The sidecars that exist and existed, by selector.

    A sidecar is written before its entry, and may be gone when the entry's deletion is reported.
    """

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._known = sidecars_of(policies)

    def apply_event(self, event: Event) -> None:
        """Update from an event, before it is translated."""
        match event:
            case Policy() if is_sidecar(event):
                self._known[event.selector] = event
            case DeletedPolicy(_, policy) if is_sidecar(policy):
                self._known[policy.selector] = policy
            case PolicyFlush(policy_type) if policy_type in (None, XFRM_POLICY_TYPE_MAIN):
                self._known.clear()
            case _:
                pass

    def of(self, selector: Selector) -> Policy | None:
        """Return the last sidecar with a selector."""
        return self._known.get(selector)


def acquired_ends(acquire: Acquire, sidecar_of: SidecarOf) -> tuple[Address, Address]:
    """Return source and destination of the SA that an ACQUIRE is about.

    For a tunnel request that is swapped out, the kernel's event has the packet's addresses; those
    of the request are in the sidecar, at the same place in the list.
    """
    ends = acquire.source, acquire.destination
    same = [t for t in acquire.policy.templates if t.protocol == acquire.protocol]
    if any(t.mode == XFRM_MODE_TUNNEL and (t.source, t.destination) == ends for t in same):
        return ends
    triggers = [
        at
        for at, template in enumerate(acquire.policy.templates)
        if template in same and (share := read_share(template.share)) and share.trigger
    ]
    sidecar = sidecar_of(sidecar_selector(acquire.policy)) if triggers else None
    if sidecar is None or len(sidecar.templates) <= triggers[0]:
        return ends
    written = sidecar.templates[triggers[0]]
    return written.source, written.destination
