"""The shadow table: both databases as last known, to find the changes whose events were lost.

The kernel drops events when they come faster than they are read. Listeners then need exactly the
differences from what they know. So the hub keeps the last message of each policy and each SA,
undecoded: some 400 bytes an entry, 20 MB for 50,000 policies.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

from kamexfrm.kernel.interface import Event as KernelEvent
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.policy import IPSEC_PROTOCOLS
from kamexfrm.translate.xfrm.policy_from_kernel import is_ordinary, is_sidecar
from kamexfrm.translate.xfrm.tag import SIDECAR_IF_ID
from kamexfrm.xfrm import (
    DeletedPolicy,
    DeletedState,
    Expire,
    Policy,
    PolicyExpire,
    PolicyFlush,
    PolicyId,
    State,
    StateFlush,
    StateId,
    XfrmMsg,
    decode_policy,
    decode_state,
    encode_deleted_policy,
    encode_deleted_state,
    has_keys,
    lasting_policy,
    lasting_state,
    policy_index,
    state_name,
)
from kamexfrm.xfrm import Event as XfrmEvent
from kamexfrm.xfrm.structs import U32

#: How FLUSHSA names all protocols: as ``ip xfrm`` does, and all three of IPsec.
_EVERY, _IPSEC = 0, 255

K = TypeVar("K", int, bytes)


def _name(state: State) -> bytes:
    destination = state.destination.packed.ljust(16, b"\0")
    return destination + state.spi.to_bytes(4, "big") + bytes((state.protocol,))


class ShadowTable:
    """Policies by index and SAs by name, as payloads of NEWPOLICY and NEWSA."""

    def __init__(self) -> None:
        self._policies: dict[int, bytes] = {}
        self._states: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        """Return how many policies and SAs there are."""
        return len(self._policies) + len(self._states)

    def holds_policies(self) -> bool:
        """Whether there is a policy that PF_KEY shows."""
        return any(is_ordinary(decode_policy(payload)) for payload in self._policies.values())

    def sidecars(self) -> list[Policy]:
        """Return the sidecars among the policies."""
        mark = U32.pack(SIDECAR_IF_ID)
        found = (decode_policy(raw) for raw in self._policies.values() if mark in raw)
        return [policy for policy in found if is_sidecar(policy)]

    def complete(self, state: State) -> State:
        """Return the state of an EXPIRE with algorithms and encapsulation, which that lacks."""
        payload = self._states.get(_name(state))
        if payload is None:
            return state
        known = decode_state(payload)
        return state._replace(
            authentication=known.authentication,
            encryption=known.encryption,
            compression=known.compression,
            aead=known.aead,
            encap=known.encap,
        )

    def clear_policies(self) -> None:
        """Forget all policies, after a flush."""
        self._policies.clear()

    def apply(self, raw: KernelEvent, decoded: XfrmEvent) -> bool:
        """Apply an event; return whether it changes anything. Raises WireError."""
        match decoded:
            case DeletedPolicy(_, policy) | PolicyExpire(policy, hard=1):
                return self._policies.pop(policy.index, None) is not None
            case PolicyFlush(policy_type) if not policy_type:
                self._policies.clear()
            case DeletedState(_, state) | Expire(state, hard=1):
                return self._states.pop(_name(state), None) is not None
            case StateFlush(protocol):
                self._flush_states(protocol)
            case _ if raw.type in (XfrmMsg.NEWPOLICY, XfrmMsg.UPDPOLICY):
                index = policy_index(raw.payload)
                return _replace(self._policies, index, raw.payload, lasting_policy)
            case _ if raw.type in (XfrmMsg.NEWSA, XfrmMsg.UPDSA):
                return _replace(self._states, state_name(raw.payload), raw.payload, lasting_state)
            case _:
                pass
        return True

    def _flush_states(self, protocol: int) -> None:
        gone = IPSEC_PROTOCOLS if protocol == _IPSEC else (protocol,)
        self._states = {
            name: payload
            for name, payload in self._states.items()
            if protocol != _EVERY and name[-1] not in gone
        }

    def resync(self, kernel: Kernel) -> Iterator[KernelEvent]:
        """Read the kernel again; return the events that all differences would have caused.

        The kernel has been read when this returns, the differences are made as they are iterated
        over. Raises KernelError.
        """
        policies = {policy_index(raw): raw for raw in kernel.raw_policies()}
        # Larval SAs have no event.
        states = {state_name(raw): raw for raw in kernel.raw_states() if has_keys(raw)}
        before = self._policies, self._states
        self._policies, self._states = policies, states
        return _differences(*before, policies, states)


def _replace(
    known: dict[K, bytes], name: K, payload: bytes, lasting: Callable[[bytes], object]
) -> bool:
    before = known.get(name)
    known[name] = payload
    return before is None or (before != payload and lasting(before) != lasting(payload))


def _differences(
    old_policies: dict[int, bytes],
    old_states: dict[bytes, bytes],
    policies: dict[int, bytes],
    states: dict[bytes, bytes],
) -> Iterator[KernelEvent]:
    for index, payload in old_policies.items():
        if index not in policies:
            yield _event(XfrmMsg.DELPOLICY, _gone_policy(payload))
    for name, payload in old_states.items():
        if name not in states:
            yield _event(XfrmMsg.DELSA, _gone_state(payload))
    yield from _changes(
        old_policies, policies, lasting_policy, XfrmMsg.NEWPOLICY, XfrmMsg.UPDPOLICY
    )
    yield from _changes(old_states, states, lasting_state, XfrmMsg.NEWSA, XfrmMsg.UPDSA)


def _changes(
    before: dict[K, bytes],
    now: dict[K, bytes],
    lasting: Callable[[bytes], object],
    added: XfrmMsg,
    changed: XfrmMsg,
) -> Iterator[KernelEvent]:
    # The kernel lists the newest first; events come oldest first.
    for name, payload in reversed(now.items()):
        old = before.get(name)
        if old is None:
            yield _event(added, payload)
        elif old != payload and lasting(old) != lasting(payload):
            yield _event(changed, payload)


def _event(type_: int, payload: bytes) -> KernelEvent:
    return KernelEvent(type_, payload, 0, 0)


def _gone_policy(payload: bytes) -> bytes:
    policy = decode_policy(payload)
    id = PolicyId(policy.selector, index=0, direction=policy.direction)
    return encode_deleted_policy(DeletedPolicy(id, policy))


def _gone_state(payload: bytes) -> bytes:
    state = decode_state(payload)
    id = StateId(state.destination, state.spi, state.protocol, state.family)
    return encode_deleted_state(DeletedState(id, state))
