"""Kernel objects without what is only kamexfrm's: its tags, times, counters and numbers."""

from collections.abc import Iterable
from typing import NamedTuple

from kamexfrm.errors import Place
from kamexfrm.translate.xfrm.policy_from_kernel import is_ordinary
from kamexfrm.xfrm import (
    ANY_ALGORITHM,
    LifetimeConfig,
    LifetimeCurrent,
    Policy,
    Selector,
    State,
)
from kamexfrm.xfrm.state_parts import Statistics


class Remark(NamedTuple):
    """What could not be translated; the place is empty for what has none."""

    place: Place | None
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


class Objects(NamedTuple):
    """States in the order in which they were added, policies in that of matching."""

    states: tuple[State, ...]
    policies: tuple[Policy, ...]
    remarks: tuple[Remark, ...] = ()


def plain_policy(policy: Policy) -> Policy:
    """Return a policy without tags, index, times and counters."""
    life = policy.lifetime
    return policy._replace(
        index=0,
        share=0,
        current=LifetimeCurrent(),
        lifetime=LifetimeConfig(
            hard_add=life.hard_add,
            soft_add=life.soft_add,
            hard_use=life.hard_use,
            soft_use=life.soft_use,
        ),
        templates=tuple(
            t._replace(share=0, aalgos=ANY_ALGORITHM, ealgos=ANY_ALGORITHM, calgos=ANY_ALGORITHM)
            for t in policy.templates
        ),
    )


def plain_state(state: State) -> State:
    """Return a state without tags, times, counters and what the kernel adds by itself."""
    esn = state.replay_esn
    return state._replace(
        selector=state.selector._replace(user=0),
        current=LifetimeCurrent(),
        statistics=Statistics(),
        care_of_address=None,
        replay=None,
        replay_esn=esn
        and esn._replace(bitmap=(0,) * len(esn.bitmap), oseq=0, seq=0, oseq_hi=0, seq_hi=0),
        last_used=0,
        event_timer=None,
        replay_threshold=None,
        sequence=0,
        attributes=(),
    )


def is_narrow(selector: Selector) -> bool:
    """Whether a state's selector is not the one that the kernel makes for all packets."""
    return bool(
        selector.source_prefix
        or selector.destination_prefix
        or selector.protocol
        or selector.interface
    )


def ordinary(policies: Iterable[Policy]) -> list[Policy]:
    """Return the policies of a dump that are an administrator's, in the order of matching."""
    kept = [p for p in policies if p.direction <= _LAST_DIRECTION and is_ordinary(p)]
    kept.sort(key=lambda policy: (policy.direction, policy.priority))
    return [plain_policy(policy) for policy in kept]


_LAST_DIRECTION = 2  # XFRM_POLICY_FWD; those of sockets come behind it
