"""What of a namespace is ours, to be put back: after a refusal, or when nobody confirms a change.

Foreign entries are in it and are never touched. What cannot be put back is when a policy was last
used, if it was written over or deleted meanwhile, and an SA's counts of errors.
"""

import contextlib
from collections.abc import Iterable, Sequence
from itertools import chain
from os import urandom
from typing import NamedTuple

from kamexfrm.engine.routes import renewal
from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.policy import IPSEC_PROTOCOLS
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.policy_from_kernel import spd_entry_from_kernel
from kamexfrm.translate.xfrm.rewrite import delete_by_index, moved
from kamexfrm.translate.xfrm.sa_restart import exchanged, is_same
from kamexfrm.translate.xfrm.sa_to_kernel import replay_ahead, replay_esn_ahead
from kamexfrm.translate.xfrm.standing_policy import full_name, is_tagged
from kamexfrm.xfrm import (
    XFRM_POLICY_FWD,
    AsyncEvent,
    Default,
    Operation,
    Policy,
    Run,
    State,
    StateId,
    XfrmMsg,
    decode_policy,
    decode_state,
    encode_async_event,
    encode_default,
    encode_policy,
    encode_state,
    encode_state_id,
    lasting_policy,
)


class Snapshot(NamedTuple):
    """A namespace's databases as messages, with its own default (None before Linux 5.14).

    ``larval_lifetime`` is in seconds. There are keys in it.
    """

    policies: tuple[Run, ...]
    states: tuple[Run, ...]
    default: Default | None
    larval_lifetime: int


def take(kernel: Kernel, policies: Sequence[Run] | None = None) -> Snapshot:
    """Return a snapshot, with a dump of the policies that was just read; raises KernelError."""
    default = None
    with contextlib.suppress(KernelError):
        default = kernel.default()
    return Snapshot(
        tuple(kernel.policy_runs() if policies is None else policies),
        tuple(kernel.state_runs()),
        default,
        kernel.larval_lifetime(),
    )


def put_back(kernel: Kernel, snapshot: Snapshot, now: int) -> None:
    """Bring what is ours to what a snapshot says; raises the first KernelError, once all is tried.

    What has not changed is not touched. SAs come before the policies that need them, what has to
    go goes last. ``now`` is in seconds since the epoch.
    """
    states, late_states = _states(_payloads(snapshot.states), kernel.raw_states())
    policies, late_policies = _policies(_payloads(snapshot.policies), kernel.raw_policies(), now)
    operations = [*states, *policies]
    with contextlib.suppress(KernelError):
        if snapshot.default is not None and kernel.default() != snapshot.default:
            operations.append(Operation(XfrmMsg.SETDEFAULT, encode_default(snapshot.default)))
    if kernel.larval_lifetime() != snapshot.larval_lifetime:
        kernel.set_larval_lifetime(snapshot.larval_lifetime)
    operations += [*late_policies, *late_states]
    if operations:
        failures = kernel.apply([*operations, *renewal(kernel)])
        if failures:
            raise failures[0].error


def _payloads(runs: Iterable[Run]) -> Iterable[bytes]:
    return chain.from_iterable(run.payloads() for run in runs)


_Name = tuple[bytes, int]


def _ours(payloads: Iterable[bytes]) -> dict[_Name, bytes]:
    """Return the policies with our tag by their names: entries, sidecars, catch-alls, marker."""
    found = {}
    for payload in payloads:
        name = full_name(payload)
        if name[1] <= XFRM_POLICY_FWD and is_tagged(payload):
            found[name] = payload
    return found


def _policies(
    then: Iterable[bytes], today: Iterable[bytes], now: int
) -> tuple[list[Operation], list[Operation]]:
    """Return what writes the policies that were there, and what deletes the others."""
    before, after = _ours(then), _ours(today)
    lost = [
        decode_policy(payload)
        for name, payload in before.items()
        if name not in after or lasting_policy(after[name]) != lasting_policy(payload)
    ]
    lost.sort(key=lambda policy: policy.priority)
    writes = [step for policy in lost for step in _written_again(policy, now)]
    more = [decode_policy(payload) for name, payload in after.items() if name not in before]
    more.sort(key=lambda policy: -policy.priority)
    return writes, [delete_by_index(policy) for policy in more]


def _written_again(policy: Policy, now: int) -> list[Operation]:
    """Return what writes a policy with the lifetime that it has left, and its index."""
    entry = spd_entry_from_kernel(policy)
    if entry.policy.lifetime or entry.policy.validtime:
        return moved((policy,), policy.priority, now)
    return [Operation(XfrmMsg.UPDPOLICY, encode_policy(policy))]


def _id_of(state: State) -> StateId:
    return StateId(state.destination, state.spi, state.protocol, state.family, mark=state.mark)


def _of_statements(payloads: Iterable[bytes]) -> dict[StateId, State]:
    """Return the SAs that statements made."""
    states = map(decode_state, payloads)
    return {
        _id_of(state): state
        for state in states
        if state.protocol in IPSEC_PROTOCOLS and tags.is_of_statement(state.selector.user)
    }


def _states(
    then: Iterable[bytes], today: Iterable[bytes]
) -> tuple[list[Operation], list[Operation]]:
    """Return what makes the SAs that were there, and what deletes the others."""
    before, after = _of_statements(then), _of_statements(today)
    operations: list[Operation] = []
    for id, state in before.items():
        there = after.get(id)
        if there is not None and there.mode == state.mode and is_same(there, state):
            if there.lifetime != state.lifetime:
                operations.append(Operation(XfrmMsg.UPDSA, encode_state(state)))
            continue
        again = _made_again(state, id)
        operations += again if there is None else exchanged(there, again, urandom)
    gone = [id for id in after if id not in before]
    return operations, [Operation(XfrmMsg.DELSA, encode_state_id(id)) for id in gone]


def _made_again(state: State, id: StateId) -> list[Operation]:
    """Return what makes an SA with its counters; its outgoing numbers have jumped ahead."""
    again = state._replace(
        replay=state.replay and replay_ahead(state.replay),
        replay_esn=state.replay_esn and replay_esn_ahead(state.replay_esn),
    )
    counters = AsyncEvent(id, state.source, lifetime=state.current, if_id=state.if_id)
    return [
        Operation(XfrmMsg.NEWSA, encode_state(again)),
        Operation(XfrmMsg.NEWAE, encode_async_event(counters)),
    ]
