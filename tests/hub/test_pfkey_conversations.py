"""Random conversations with AF_KEY and with our own sockets: the same words on both sides."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

import kamexfrm
from kamexfrm import pfkey
from kamexfrm.pfkey import SadbMsg, SadbType
from kamexfrm.rig import Namespace
from tests.hub.pfkey_conversations import PLACES, Conversation
from tests.hub.pfkey_recording import (
    LINUX,
    LISTENERS,
    PfKey,
    masked,
    receive_from_the_kernel,
    receive_from_us,
)
from tests.hub.pfkey_samples import FLUSH, PROMISC, REGISTER, SPD_FLUSH

pytestmark = [pytest.mark.dataplane, pytest.mark.usefixtures("af_key")]

_CONVERSATIONS = 60
_REQUESTS = 14
_DUMPS = (SadbType.SADB_DUMP, SadbType.SADB_X_SPDDUMP)
_BY_ID = (SadbType.SADB_X_SPDGET, SadbType.SADB_X_SPDDELETE2)

Answer = tuple[int, tuple[tuple[SadbMsg | bytes, ...], ...]]


class Side:
    """Four sockets of one make, in a namespace of their own."""

    def __init__(self, make: Callable[[], PfKey], receive: Callable[[PfKey], bytes | None]) -> None:
        self._receive = receive
        self._namespace = Namespace()
        with self._namespace.enter():
            self._sockets = {name: make() for name in LISTENERS}
        self._ids: list[int] = []
        self._sockets["registered"].send(REGISTER)
        self._sockets["promiscuous"].send(PROMISC)
        self.forget()

    def close(self) -> None:
        for made in self._sockets.values():
            made.close()
        self._namespace.close()

    def forget(self) -> None:
        """Begin again."""
        for flush in (FLUSH, SPD_FLUSH):
            self._sockets["sender"].send(flush)
        for name in LISTENERS:
            self._received(name)
        self._ids.clear()

    def answer(self, request: SadbMsg) -> Answer:
        """Return the errno of send() for a request, and what each socket received."""
        number = 0
        try:
            self._sockets["sender"].send(pfkey.encode(self._with_id(request), LINUX))
        except OSError as error:
            number = error.errno or 0
        received = [self._received(name) for name in LISTENERS]
        for wire in received[0]:
            policy = pfkey.decode(wire, LINUX).get(pfkey.Policy)
            if policy is not None and policy.id and policy.id not in self._ids:
                self._ids.insert(0, policy.id)
        return number, tuple(tuple(self._comparable(request, each)) for each in received)

    def _with_id(self, request: SadbMsg) -> SadbMsg:
        if request.type not in _BY_ID:
            return request
        (policy,) = request.extensions
        assert isinstance(policy, pfkey.Policy)
        known: dict[int, int] = dict(zip(PLACES, self._ids, strict=False))
        return replace(request, extensions=(replace(policy, id=known.get(policy.id, 99999)),))

    def _received(self, name: str) -> list[bytes]:
        return list(iter(lambda: self._receive(self._sockets[name]), None))

    @staticmethod
    def _comparable(request: SadbMsg, received: list[bytes]) -> Iterator[SadbMsg | bytes]:
        messages = [masked("", wire) for wire in received]
        if request.type in _DUMPS:
            # Our policies move within the kernel's list when they make room for others.
            messages = [replace(m, seq=0) if isinstance(m, SadbMsg) else m for m in messages]
            messages.sort(key=repr)
        for message in messages:
            if isinstance(message, SadbMsg):
                yield replace(message, extensions=tuple(map(_unsaid, message.extensions)))
            else:
                yield message


def _unsaid(extension: pfkey.Extension) -> pfkey.Extension:
    """Return an extension without what the two say differently on purpose, or of chance.

    AF_KEY sends a copy's state when an SA is updated; and which ids the policies have.
    """
    match extension:
        case pfkey.Sa(state=pfkey.SadbSastate.SADB_SASTATE_DEAD):
            return replace(extension, state=pfkey.SadbSastate.SADB_SASTATE_MATURE)
        case pfkey.Policy():
            return replace(extension, id=0)
        case _:
            return extension


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    with contextlib.ExitStack() as stack:
        theirs = Side(lambda: socket.socket(15, socket.SOCK_RAW, 2), receive_from_the_kernel)
        stack.callback(theirs.close)
        ours = Side(kamexfrm.PfKeySocket, receive_from_us)
        stack.callback(ours.close)
        yield theirs, ours


@pytest.mark.parametrize("seed", range(4))
def test_our_answers_are_those_of_af_key(sides: tuple[Side, Side], seed: int) -> None:
    said = 0
    for number in range(_CONVERSATIONS):
        conversation = Conversation(seed * _CONVERSATIONS + number)
        for side in sides:
            side.forget()
        requests = []
        for _ in range(_REQUESTS):
            requests.append(conversation.request())
            theirs, ours = (side.answer(requests[-1]) for side in sides)
            assert ours == theirs, "\n".join(map(str, requests))
            said += any(
                message.extensions for message in theirs[1][0] if isinstance(message, SadbMsg)
            )
    assert said > _CONVERSATIONS * _REQUESTS / 3  # most is taken, not refused
