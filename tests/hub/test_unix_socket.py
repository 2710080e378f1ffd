"""A client behind a Unix socket: what passes, what each end sees of the other, who waits."""

import socket
from collections.abc import Iterator

import pytest

from kamexfrm.hub import Hub
from kamexfrm.hub.unix_socket import TURN, UnixSocketClient
from kamexfrm.kernel.fake import FakeKernel
from tests.hub.pfkey_samples import (
    DUMP,
    SPD_DUMP,
    add_policy,
    add_sa,
    association,
    policy,
    received,
    short,
)


class Pair:
    """A served socket and its program's end."""

    def __init__(self, hub: Hub) -> None:
        ours, self.program = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.program.setblocking(False)
        self.served = UnixSocketClient(hub, ours)

    def read_all(self) -> list[str]:
        found: list[str] = []
        while True:
            try:
                wire = self.program.recv(1 << 16)
            except BlockingIOError:
                return found
            found.append(short(wire))

    def close(self) -> None:
        self.program.close()
        self.served.close()


@pytest.fixture
def hub() -> Hub:
    return Hub(FakeKernel())


@pytest.fixture
def pair(hub: Hub) -> Iterator[Pair]:
    made = Pair(hub)
    yield made
    made.close()


def test_replies_are_there_once_the_requests_are_read(pair: Pair) -> None:
    pair.program.send(DUMP)
    pair.program.send(add_sa(association()))
    pair.served.read()
    assert pair.read_all() == ["DUMP errno 2 1", "ADD 1"]


def test_what_others_cause_is_sent_when_it_is_written(hub: Hub, pair: Pair) -> None:
    other = hub.attach()
    other.send(add_sa(association()))
    assert pair.served.dirty
    assert pair.read_all() == []
    pair.served.write()
    assert not pair.served.dirty
    assert pair.read_all() == ["ADD 1"]


def test_nonsense_and_empty_messages_are_ignored(pair: Pair) -> None:
    for data in (b"", b"nonsense", bytes(64), DUMP):
        pair.program.send(data)
    pair.served.read()
    assert not pair.served.gone
    assert pair.read_all() == ["DUMP errno 2 1"]


def test_a_turn_serves_so_many_requests(hub: Hub, pair: Pair) -> None:
    other = hub.attach()
    for spi in range(TURN + 5):
        pair.program.send(add_sa(association(0x1000 + spi)))
    pair.served.read()
    assert len(received(other)) == TURN
    pair.served.read()
    assert len(received(other)) == 5


def test_the_end_is_seen_after_the_last_request(hub: Hub, pair: Pair) -> None:
    other = hub.attach()
    pair.program.send(DUMP)
    pair.served.read()  # the answer stays unread: closing then resets the connection
    pair.program.send(add_sa(association()))
    pair.program.close()
    pair.served.read()
    assert received(other) == ["ADD 1"]
    pair.served.read()
    assert pair.served.gone
    pair.served.write()


@pytest.mark.not_unit("takes seconds")
def test_a_dump_waits_for_its_reader(hub: Hub, pair: Pair) -> None:
    client = hub.attach()
    count = 3000
    for number in range(count):
        client.send(add_policy(policy(number)))
        received(client)
        pair.served.client.receive()
    pair.program.send(SPD_DUMP)
    pair.served.read()
    assert pair.served.writable
    got = pair.read_all()
    assert 0 < len(got) < count
    while pair.served.writable:
        pair.served.write()
        got += pair.read_all()
    got += pair.read_all()
    assert got == [f"X_SPDDUMP {number}" for number in (*range(1, count), 0)]


def test_lost_messages_are_not_reported(hub: Hub, pair: Pair) -> None:
    client = hub.attach()
    hub.bus.memory.queue_bytes = 1000
    for spi in range(20):
        client.send(add_sa(association(0x1000 + spi)))
        received(client)
    pair.served.write()
    got = pair.read_all()
    assert 0 < len(got) < 20
    pair.program.send(DUMP)
    pair.served.read()
    assert pair.read_all()[-1] == "DUMP 0"
