"""The sidecars as events report them: an event about an entry does not carry its own. Pure."""

from collections.abc import Iterable

from kamexfrm.translate.xfrm.policy_from_kernel import is_sidecar, sidecars_of
from kamexfrm.xfrm import (
    XFRM_POLICY_TYPE_MAIN,
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
