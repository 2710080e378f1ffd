"""Policies and states, ways to send them, and what to expect of them."""

import errno
import selectors
from collections.abc import Callable, Iterable
from typing import Any

from kamexfrm.kernel.interface import Event, Events, Kernel
from kamexfrm.net import Address
from kamexfrm.xfrm import (
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Operation,
    Policy,
    PolicyId,
    Selector,
    State,
    StateId,
    Template,
    XfrmMsg,
    encode_policy,
    encode_policy_flush,
    encode_policy_id,
    encode_state,
    encode_state_id,
)

IN, OUT, FWD = 0, 1, 2
A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
A6, B6 = Address.parse("fd00::1"), Address.parse("fd00::2")
ANY, ANY6 = Address.unspecified(2), Address.unspecified(10)

AUTH = AuthAlgorithm("hmac(sha1)", bytes(range(20)), 160, 96)
CRYPT = Algorithm("cbc(aes)", bytes(range(16)), 128)
DEFLATE = Algorithm("deflate", b"", 0)
GCM = AeadAlgorithm("rfc4106(gcm(aes))", bytes(range(20)), 160, 128)

#: Fields of state() for protocols other than ESP.
AH: dict[str, Any] = {"protocol": 51, "encryption": None}
COMP: dict[str, Any] = {
    "protocol": 108,
    "authentication": None,
    "encryption": None,
    "compression": DEFLATE,
}

#: A refusal as tests compare it: position, errno's name, extended ACK text.
Rejected = tuple[int, str, str]


def selector(source: Address = A, destination: Address = B, **fields: Any) -> Selector:
    fields.setdefault("source_prefix", source.bits)
    fields.setdefault("destination_prefix", destination.bits)
    return Selector(destination, source, family=source.family, **fields)


def numbered(number: int) -> Selector:
    """Return one of 65536 different selectors."""
    return selector(destination=Address(2, bytes((10, 9, number >> 8, number & 255))))


def policy(of: Selector | None = None, direction: int = OUT, **fields: Any) -> Policy:
    return Policy(of or selector(), direction, **fields)


def template(**fields: Any) -> Template:
    plain: dict[str, Any] = {
        "destination": ANY,
        "source": ANY,
        "protocol": 50,
        "mode": 0,
        "family": 2,
    }
    return Template(**{**plain, **fields})


def state(**fields: Any) -> State:
    plain: dict[str, Any] = {
        "selector": Selector(ANY, ANY, family=2),
        "destination": B,
        "spi": 0x1000,
        "protocol": 50,
        "source": A,
        "family": 2,
        "authentication": AUTH,
        "encryption": CRYPT,
    }
    return State(**{**plain, **fields})


def new(of: Policy) -> Operation:
    return Operation(XfrmMsg.NEWPOLICY, encode_policy(of))


def update(of: Policy) -> Operation:
    return Operation(XfrmMsg.UPDPOLICY, encode_policy(of))


def named(of: Policy, **fields: Any) -> PolicyId:
    return PolicyId(
        of.selector, index=0, direction=of.direction, if_id=of.if_id, mark=of.mark
    )._replace(**fields)


def delete(of: Policy, **fields: Any) -> Operation:
    return Operation(XfrmMsg.DELPOLICY, encode_policy_id(named(of, **fields)))


def flush(policy_type: int | None = None) -> Operation:
    return Operation(XfrmMsg.FLUSHPOLICY, encode_policy_flush(policy_type))


def new_state(of: State) -> Operation:
    return Operation(XfrmMsg.NEWSA, encode_state(of))


def update_state(of: State) -> Operation:
    return Operation(XfrmMsg.UPDSA, encode_state(of))


def state_id(of: State) -> StateId:
    return StateId(of.destination, of.spi, of.protocol, of.family)


def delete_state(of: State) -> Operation:
    return Operation(XfrmMsg.DELSA, encode_state_id(state_id(of)))


def refusals(kernel: Kernel, *operations: Operation) -> list[Rejected]:
    return [
        (f.position, errno.errorcode[f.error.errno], f.error.reason)
        for f in kernel.apply(operations)
    ]


def must(kernel: Kernel, *operations: Operation) -> None:
    assert refusals(kernel, *operations) == []


def without_time(of: Policy) -> Policy:
    return of._replace(current=of.current._replace(add_time=0))


def hear(events: Events, enough: Callable[[list[Event]], bool], deadline: float = 5) -> list[Event]:
    """Return the events that come until they are enough; those so far at the deadline."""
    heard: list[Event] = []
    with selectors.DefaultSelector() as ready:
        ready.register(events.fileno(), selectors.EVENT_READ)
        while not enough(heard) and ready.select(deadline):
            heard += events.receive()
    return heard


def heard(events: Events, count: int) -> list[Event]:
    found = hear(events, lambda so_far: len(so_far) >= count)
    assert len(found) == count
    assert events.receive() == []
    return found


def destinations(policies: Iterable[Policy]) -> list[int]:
    return [int.from_bytes(p.selector.destination.packed[2:], "big") for p in policies]
