"""The hub: which client receives what, once each, of requests and of all changes."""

import dataclasses
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from kamexfrm import pfkey
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob, SpdAdd
from kamexfrm.errors import KamexfrmError
from kamexfrm.hub import Client, Hub
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Event
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.association import Lifetime
from kamexfrm.model.knobs import knob
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
)
from kamexfrm.net import Address
from kamexfrm.pfkey import SadbType
from kamexfrm.rig import Namespace
from kamexfrm.translate.pfkey.parts import stamped
from kamexfrm.translate.pfkey.policy import policy_to_extension
from kamexfrm.translate.pfkey.sa_to_message import sa_id_to_message, sa_to_message
from kamexfrm.translate.pfkey.spd import (
    selector_to_extensions,
    spd_entry_from_message,
    spd_id_to_message,
)
from kamexfrm.xfrm import XFRMNLGRP_SA, XfrmMsg
from tests.hub.pfkey_samples import (
    DUMP,
    FLUSH,
    PID,
    PROMISC,
    REGISTER,
    SPD_DUMP,
    SPD_FLUSH,
    A,
    B,
    add_policy,
    add_sa,
    association,
    delete_policy,
    message,
    policy,
    received,
)

GETSPI = pfkey.encode(
    stamped(sa_to_message(association(0x2000), SadbType.SADB_GETSPI, sadb_flags=0), seq=1, pid=PID)
)
GET = pfkey.encode(
    stamped(sa_id_to_message(SadbType.SADB_GET, A, association().id), seq=1, pid=PID)
)
DELETE = pfkey.encode(
    stamped(sa_id_to_message(SadbType.SADB_DELETE, A, association().id), seq=1, pid=PID)
)


@pytest.fixture
def fake() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def hub(fake: FakeKernel) -> Iterator[Hub]:
    """Give a hub on a kernel in memory, which has ESP."""
    made = Hub(fake)
    yield made
    made.close()


@pytest.fixture
def real(real_kernel: NetlinkKernel) -> Iterator[Hub]:
    """Give a hub on a new namespace, which this process is in."""
    made = Hub(real_kernel)
    yield made
    made.close()


def ask(client: Client, request: bytes) -> list[str]:
    client.send(request)
    return received(client)


def ip(*words: str) -> None:
    subprocess.run(["ip", "xfrm", *words], check=True)


def scribbled(record: Any) -> Any:
    """Return a message, or a part of one, with values in all fields that are to be ignored."""
    changes: dict[str, Any] = {}
    for name in (field.name for field in dataclasses.fields(record)):
        value = getattr(record, name)
        match value:
            case int() if name.startswith("reserved") or name == "sequence":
                changes[name] = 0xCD
            case bytes() if name.startswith("reserved"):
                changes[name] = b"\xcd" * len(value)
            case tuple() if name in ("extensions", "requests"):
                changes[name] = tuple(map(scribbled, value))
            case pfkey.Sockaddr():
                changes[name] = dataclasses.replace(value, zero=b"\xcd" * 8)
            case _:
                pass
    return dataclasses.replace(record, **changes)


def written(hub: Hub, requests: list[bytes]) -> list[bytes]:
    """Return what a new client of a hub is answered."""
    client = hub.attach()
    for request in requests:
        client.send(request)
    return list(iter(client.receive, None))


def test_fields_that_a_program_leaves_unwritten_are_ignored() -> None:
    # libipsec, setkey and racoon send such members as they find them in memory.
    tunnel = policy(mode=Mode.TUNNEL)
    changes = [add_sa(association()), add_policy(tunnel), delete_policy(tunnel), GETSPI, DELETE]
    messy = []
    for request in changes:
        message = scribbled(pfkey.decode(request))
        messy.append(pfkey.encode(dataclasses.replace(message, reserved=0)))
    assert not set(messy) & set(changes)
    clean, other = (Hub(FakeKernel(lambda: 1e9), lambda: 1e9) for _ in range(2))
    answers = written(clean, changes)
    assert written(other, messy) == answers
    assert not any(pfkey.decode(answer).errno for answer in answers)


class TestRequests:
    def test_the_sender_and_all_others_receive_a_change_once_with_its_numbers(
        self, hub: Hub
    ) -> None:
        sender, other = hub.attach(), hub.attach()
        assert ask(sender, add_sa(association(), seq=7)) == ["ADD 7"]
        assert received(other) == ["ADD 7"]
        assert ask(sender, DELETE) == ["DELETE 1"]
        assert received(other) == ["DELETE 1"]

    def test_a_query_is_answered_to_the_sender_alone(self, hub: Hub) -> None:
        sender, other = hub.attach(), hub.attach()
        ask(sender, add_sa(association()))
        received(other)
        assert ask(sender, GET) == ["GET 1"]
        assert ask(sender, DUMP) == ["DUMP 0"]
        assert ask(sender, GETSPI) == ["GETSPI 1"]
        assert ask(sender, add_sa(association())) == ["ADD errno 17 1"]
        assert received(other) == []

    def test_a_larval_sa_is_completed_by_update(self, hub: Hub) -> None:
        sender = hub.attach()
        assert ask(sender, GETSPI) == ["GETSPI 1"]
        assert ask(sender, add_sa(association(0x2000))) == ["ADD errno 17 1"]
        update = add_sa(association(0x2000), type_=SadbType.SADB_UPDATE)
        assert ask(sender, update) == ["UPDATE 1"]
        (entry,) = hub.engine.sad()
        assert entry.association.encryption is not None

    def test_an_update_of_a_mature_sa_takes_the_lifetimes(self, hub: Hub) -> None:
        sender = hub.attach()
        ask(sender, add_sa(association()))
        longer = association()._replace(hard=Lifetime(addtime=100))
        assert ask(sender, add_sa(longer, type_=SadbType.SADB_UPDATE)) == ["UPDATE 1"]
        (entry,) = hub.engine.sad()
        assert entry.association.hard.addtime == 100

    def test_an_update_that_moves_a_policy_is_answered_with_what_it_is_now(self, hub: Hub) -> None:
        sender, other = hub.attach(), hub.attach()
        last = policy(2)._replace(priority=2**32 - 1)
        for wanted in (last, policy()._replace(priority=1 << 31)):
            ask(sender, add_policy(wanted))
        received(other)
        moved = last._replace(selector=policy().selector, lifetime=7200)
        sender.send(add_policy(moved, type_=SadbType.SADB_X_SPDUPDATE))
        for client in (sender, other):
            answer = client.receive()
            assert answer is not None
            assert spd_entry_from_message(pfkey.decode(answer)).policy == moved
            assert client.receive() is None

    def test_a_flush_is_answered_once_and_broadcast_if_it_removed_something(self, hub: Hub) -> None:
        sender, other = hub.attach(), hub.attach()
        assert ask(sender, FLUSH) == ["FLUSH 1"]
        assert received(other) == []
        ask(sender, add_sa(association()))
        received(other)
        assert ask(sender, FLUSH) == ["FLUSH 1"]
        assert received(other) == ["FLUSH 1"]

    def test_registered_clients_receive_registrations(self, hub: Hub) -> None:
        first, second, other = hub.attach(), hub.attach(), hub.attach()
        assert ask(first, REGISTER) == ["REGISTER 1"]
        assert ask(first, REGISTER) == ["REGISTER errno 17 1"]
        assert ask(second, message(SadbType.SADB_REGISTER, 2)) == ["REGISTER 1"]
        assert received(first) == ["REGISTER 1"]
        assert received(other) == []

    def test_a_promiscuous_client_receives_requests_and_all_that_others_receive(
        self, hub: Hub
    ) -> None:
        sender, curious = hub.attach(), hub.attach()
        assert ask(curious, PROMISC) == ["X_PROMISC 1", "X_PROMISC 1"]
        assert received(sender) == ["X_PROMISC 1"]
        assert ask(sender, DUMP) == ["DUMP errno 2 1"]
        assert received(curious) == ["DUMP 1", "DUMP errno 2 1"]

    @pytest.mark.parametrize(
        "type_",
        [
            SadbType.SADB_EXPIRE,
            SadbType.SADB_X_SPDEXPIRE,
            SadbType.SADB_X_SPDACQUIRE,
            SadbType.SADB_X_NAT_T_NEW_MAPPING,
        ],
    )
    def test_messages_that_only_the_kernel_sends_are_refused(
        self, hub: Hub, type_: SadbType
    ) -> None:
        assert ask(hub.attach(), message(type_, 3)) == [f"{type_.name[5:]} errno 95 1"]

    def test_a_negative_acquire_is_not_answered(self, hub: Hub) -> None:
        assert ask(hub.attach(), message(SadbType.SADB_ACQUIRE, 3, errno=110)) == []

    @pytest.mark.parametrize(
        ("data", "number"),
        [
            (b"", 90),
            (DUMP[:8], 90),
            (DUMP + bytes(8), 90),
            (b"\1" + DUMP[1:], 22),
            (DUMP[:1] + b"\0" + DUMP[2:], 22),
            (DUMP[:1] + b"\x19" + DUMP[2:], 22),
            (DUMP[:6] + b"\1" + DUMP[7:], 22),
        ],
    )
    def test_what_has_no_header_is_refused_at_once(
        self, hub: Hub, data: bytes, number: int
    ) -> None:
        client = hub.attach()
        with pytest.raises(KamexfrmError) as refused:
            client.send(data)
        assert refused.value.errno == number
        assert not client.pending

    def test_a_closed_client_receives_nothing(self, hub: Hub) -> None:
        sender, other = hub.attach(), hub.attach()
        other.close()
        ask(sender, add_sa(association()))
        assert not other.pending


class TestPolicies:
    def test_the_reply_to_spdadd_has_the_kernels_id(self, real: Hub) -> None:
        sender = real.attach()
        sender.send(add_policy(policy()))
        wire = sender.receive()
        assert wire is not None
        shown = spd_entry_from_message(pfkey.decode(wire))
        (entry,) = real.engine.spd()
        assert shown.id == entry.id != 0
        get = pfkey.encode(
            stamped(spd_id_to_message(SadbType.SADB_X_SPDGET, entry.id), seq=2, pid=PID)
        )
        assert ask(sender, get) == ["X_SPDGET 2"]
        gone = stamped(spd_id_to_message(SadbType.SADB_X_SPDDELETE2, entry.id), seq=3, pid=PID)
        assert ask(sender, pfkey.encode(gone)) == ["X_SPDDELETE2 3"]
        assert ask(sender, pfkey.encode(gone)) == ["X_SPDDELETE2 errno 2 3"]

    @pytest.mark.parametrize("words", [("if_id", "7"), ("mark", "5")])
    def test_a_foreign_entry_is_read_and_deleted_by_id(
        self, real: Hub, words: tuple[str, ...]
    ) -> None:
        sender, other = real.attach(), real.attach()
        ends = ["src", "10.0.0.1/32", "dst", "10.0.0.2/32", "dir", "out"]
        ip("policy", "add", *ends, *words)
        real.process_events()
        assert len(received(sender)) == len(received(other)) == 1
        (entry,) = real.engine.spd()
        get = pfkey.encode(
            stamped(spd_id_to_message(SadbType.SADB_X_SPDGET, entry.id), seq=2, pid=PID)
        )
        sender.send(get)
        wire = sender.receive()
        assert wire is not None
        # PF_KEY has no words for a mark or an interface.
        plain = entry.policy.selector._replace(scope=None)
        shown = entry._replace(policy=entry.policy._replace(selector=plain), interface=0)
        assert spd_entry_from_message(pfkey.decode(wire)) == shown
        gone = stamped(spd_id_to_message(SadbType.SADB_X_SPDDELETE2, entry.id), seq=3, pid=PID)
        assert ask(sender, pfkey.encode(gone)) == ["X_SPDDELETE2 3"]
        assert received(other) == ["X_SPDDELETE2 3"]
        assert list(real.engine.spd()) == []
        assert ask(sender, get) == ["X_SPDGET errno 2 2"]

    def test_an_in_entry_is_one_entry(self, real: Hub) -> None:
        sender = real.attach()
        assert ask(sender, add_policy(policy(direction=Direction.IN))) == ["X_SPDADD 1"]
        assert ask(sender, add_policy(policy(direction=Direction.FWD))) == ["X_SPDADD 1"]
        assert len(list(real.engine.spd())) == 2

    def test_an_explicit_fwd_entry_takes_over_a_twin_and_is_broadcast_as_added(
        self, real: Hub
    ) -> None:
        sender, other = real.attach(), real.attach()
        kernel = NetlinkKernel()
        engine = Engine(kernel)
        engine.submit(SpdAdd(policy(direction=Direction.IN)))
        engine.flush()
        kernel.close()
        real.process_events()
        assert len(received(sender)) == len(received(other)) == 2
        assert ask(sender, add_policy(policy(direction=Direction.FWD), seq=9)) == ["X_SPDADD 9"]
        assert received(other) == ["X_SPDADD 9"]
        assert ask(sender, delete_policy(policy(direction=Direction.IN))) == ["X_SPDDELETE 1"]
        assert received(other) == ["X_SPDDELETE 1"]
        assert [entry.twin for entry in real.engine.spd()] == [False]

    def test_a_twin_that_goes_with_its_entry_is_broadcast_to_all_but_the_sender(
        self, real: Hub
    ) -> None:
        sender, other = real.attach(), real.attach()
        real.engine.submit(SpdAdd(policy(direction=Direction.IN)))
        real.engine.flush()
        real.process_events()
        assert ask(sender, delete_policy(policy(direction=Direction.IN), seq=5)) == [
            "X_SPDDELETE 5"
        ]
        assert received(other) == ["X_SPDDELETE 5", "X_SPDDELETE 0 pid 0"]

    def test_what_serves_the_engine_alone_is_not_broadcast(self, real: Hub) -> None:
        sender, other = real.attach(), real.attach()
        tunnel = policy(level=Level.USE, mode=Mode.TUNNEL)
        sender.send(add_policy(tunnel))
        wire = sender.receive()
        assert wire is not None
        assert spd_entry_from_message(pfkey.decode(wire)).policy == tunnel
        assert received(sender) == []
        assert received(other) == ["X_SPDADD 1"]
        assert ask(other, SPD_DUMP) == ["X_SPDDUMP 0"]
        assert ask(sender, delete_policy(tunnel)) == ["X_SPDDELETE 1"]
        assert received(other) == ["X_SPDDELETE 1"]

    def test_level_default_is_default(self, real: Hub) -> None:
        sender = real.attach()
        sender.send(add_policy(policy(level=Level.DEFAULT)))
        wire = sender.receive()
        assert wire is not None
        (request,) = spd_entry_from_message(pfkey.decode(wire)).policy.requests
        assert request.level is Level.DEFAULT

    def test_a_flush_under_def_policy_0_is_one_flush(self, real: Hub) -> None:
        sender, other = real.attach(), real.attach()
        real.engine.submit(SetKnob(knob("net.inet.ipsec.def_policy"), 0))
        real.engine.flush()
        assert ask(sender, SPD_FLUSH) == ["X_SPDFLUSH 1"]
        assert received(other) == []
        for number in range(3):
            ask(sender, add_policy(policy(number)))
        received(other)
        assert ask(sender, SPD_FLUSH) == ["X_SPDFLUSH 1"]
        assert received(other) == ["X_SPDFLUSH 1"]
        assert list(real.engine.spd()) == []
        assert real.engine.knobs().inet.def_policy == 0


class TestMigrate:
    @staticmethod
    def moving(old: tuple[Address, Address], new: tuple[Address, Address]) -> bytes:
        entry = policy(mode=Mode.TUNNEL)
        requests = tuple(
            IpsecRequest(IpsecProtocol.ESP, Mode.TUNNEL, Level.REQUIRE, 0, *ends)
            for ends in (old, new)
        )
        moved = policy_to_extension(PolicyType.IPSEC, Direction.OUT, requests)
        extensions = (*selector_to_extensions(entry.selector), moved)
        request = pfkey.SadbMsg(SadbType.SADB_X_MIGRATE, extensions=extensions)
        return pfkey.encode(stamped(request, seq=4, pid=PID))

    def test_a_tunnel_migrates_to_other_addresses_and_all_receive_it_once(self, real: Hub) -> None:
        sender, other = real.attach(), real.attach()
        ask(sender, add_policy(policy(mode=Mode.TUNNEL)))
        received(other)
        there = Address.parse("192.0.2.3"), Address.parse("192.0.2.4")
        assert ask(sender, self.moving((A, B), there)) == ["X_MIGRATE 4"]
        assert received(other) == ["X_MIGRATE 4"]
        (entry,) = real.engine.spd()
        (request,) = entry.policy.requests
        assert (request.source, request.destination) == there
        assert request.level is Level.REQUIRE

    def test_what_the_kernel_refuses_is_refused(self, real: Hub) -> None:
        sender, other = real.attach(), real.attach()
        there = Address.parse("192.0.2.3"), Address.parse("192.0.2.4")
        (answer,) = ask(sender, self.moving((A, B), there))
        assert answer.startswith("X_MIGRATE errno ")
        ask(sender, add_policy(policy(mode=Mode.TUNNEL)))
        received(other)
        (answer,) = ask(sender, self.moving(there, (A, B)))
        assert answer.startswith("X_MIGRATE errno ")
        assert received(other) == []


class TestOtherPrograms:
    def test_a_change_by_any_process_is_received_by_all_once(self, real: Hub) -> None:
        clients = [real.attach() for _ in range(3)]
        ip("policy", "add", "src", "10.0.0.0/8", "dst", "10.1.0.0/16", "dir", "out")
        ip("policy", "update", "src", "10.0.0.0/8", "dst", "10.1.0.0/16", "dir", "out")
        ip("policy", "delete", "src", "10.0.0.0/8", "dst", "10.1.0.0/16", "dir", "out")
        ip("policy", "add", "src", "10.0.0.0/8", "dst", "10.1.0.0/16", "dir", "out")
        ip("policy", "flush")
        real.process_events()
        for client in clients:
            types = [text.split()[0] for text in received(client)]
            assert types == [
                "X_SPDADD",
                "X_SPDUPDATE",
                "X_SPDDELETE",
                "X_SPDADD",
                "X_SPDFLUSH",
            ]

    def test_a_change_of_another_hub_is_broadcast_with_its_clients_entry(self, real: Hub) -> None:
        client = real.attach()
        kernel = NetlinkKernel()
        second = Hub(kernel)
        ask(second.attach(), add_policy(policy(), seq=77))
        real.process_events()
        client_heard = received(client)
        assert [text.split()[0] for text in client_heard] == ["X_SPDADD"]
        second.close()
        kernel.close()

    def test_what_happened_before_the_first_client_is_not_broadcast(self, real: Hub) -> None:
        ip("policy", "add", "src", "10.0.0.0/8", "dir", "out")
        client = real.attach()
        real.process_events()
        assert received(client) == []
        ip("policy", "flush")
        real.process_events()
        assert len(received(client)) == 1

    @pytest.mark.not_unit("makes network namespaces")
    def test_a_hub_can_be_that_of_another_namespace(self) -> None:
        mine, other = Namespace(), Namespace()
        with mine.enter():
            kernel = NetlinkKernel(other.fileno())
            hub = Hub(kernel)
            client = hub.attach()
            assert ask(client, add_policy(policy())) == ["X_SPDADD 1"]
            here = NetlinkKernel()
            assert here.spd_info().out_count == 0
            here.close()
            with other.enter():
                ip("policy", "flush")
            hub.process_events()
            assert len(received(client)) == 1
            hub.close()
            kernel.close()
        other.close()
        mine.close()

    def test_the_end_of_a_policy_is_sent_to_registered_clients(self, fake: FakeKernel) -> None:
        now = [1000.0]
        fake = FakeKernel(lambda: now[0])
        hub = Hub(fake, lambda: now[0])
        registered, other = hub.attach(), hub.attach()
        ask(registered, REGISTER)
        ask(registered, add_policy(policy()._replace(lifetime=5)))
        received(other)
        now[0] += 6
        fake.policies()
        hub.process_events()
        assert received(registered) == ["X_SPDEXPIRE 0 pid 0"]
        assert received(other) == []

    def test_an_sa_that_expires_is_sent_with_its_algorithms(self) -> None:
        now = [1000.0]
        fake = FakeKernel(lambda: now[0])
        hub = Hub(fake, lambda: now[0])
        registered = hub.attach()
        ask(registered, REGISTER)
        ask(registered, add_sa(association()._replace(hard=Lifetime(addtime=5))))
        now[0] += 6
        fake.policies()
        hub.process_events()
        wire = registered.receive()
        assert wire is not None
        expire = pfkey.decode(wire)
        assert expire.type is SadbType.SADB_EXPIRE
        assert (expire.require(pfkey.Sa).auth, expire.require(pfkey.Sa).encrypt) == (3, 12)
        assert expire.get(pfkey.KeyEncrypt) is None

    def test_an_event_that_cannot_be_read_does_no_harm(self, hub: Hub, fake: FakeKernel) -> None:
        client = hub.attach()
        fake._broadcast(XFRMNLGRP_SA, Event(XfrmMsg.NEWSA, b"short", 1, 0))
        fake._broadcast(XFRMNLGRP_SA, Event(0x77, b"", 1, 0))
        hub.process_events()
        assert received(client) == []
        assert ask(client, add_sa(association())) == ["ADD 1"]


@pytest.mark.parametrize("type_", [PolicyType.ENTRUST, PolicyType.BYPASS])
def test_types_for_sockets_are_refused_in_the_spd(hub: Hub, type_: PolicyType) -> None:
    wanted = policy()._replace(type=type_, requests=())
    assert ask(hub.attach(), add_policy(wanted)) == ["X_SPDADD errno 22 1"]


def test_addresses_of_two_families_are_refused(hub: Hub) -> None:
    mixed = association()._replace(source=Address.parse("fd00::1"))
    assert ask(hub.attach(), add_sa(mixed)) == ["ADD errno 22 1"]
    assert list(hub.engine.sad()) == []
