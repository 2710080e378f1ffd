"""PF_KEY on a kernel that has ESP: what only it can take, and what it asks for."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

import kamexfrm
from kamexfrm import pfkey
from kamexfrm.algorithms import Kind, by_name
from kamexfrm.model.association import Key
from kamexfrm.model.policy import Mode, Selector
from kamexfrm.net import Address
from kamexfrm.pfkey import SadbEalg, SadbType
from kamexfrm.rig import TwoHosts
from kamexfrm.translate.pfkey.parts import stamped
from kamexfrm.translate.pfkey.sa_to_message import sa_to_message
from tests.hub.pfkey_samples import (
    PID,
    REGISTER,
    add_policy,
    add_sa,
    association,
    message,
    policy,
    short,
)

pytestmark = pytest.mark.dataplane


@pytest.fixture
def made(two_hosts: TwoHosts) -> Iterator["kamexfrm.PfKeySocket"]:
    with two_hosts[0].enter(), kamexfrm.PfKeySocket() as one:
        one.settimeout(20)
        yield one


def ask(made: "kamexfrm.PfKeySocket", request: bytes) -> pfkey.SadbMsg:
    made.send(request)
    return pfkey.decode(made.recv())


def test_aes_gcm_and_esn_are_taken_by_add_and_act(made: "kamexfrm.PfKeySocket") -> None:
    offered = ask(made, REGISTER).require(pfkey.SupportedEncrypt).algorithms
    assert SadbEalg.SADB_X_EALG_AES_GCM_ICV16 in [algorithm.id for algorithm in offered]
    gcm = Key(by_name(Kind.AEAD, "aes-gcm-16"), bytes(range(20)))
    wanted = association()._replace(
        encryption=gcm, authentication=None, esn=True, replay_window=64, mode=Mode.TUNNEL
    )
    reply = ask(made, add_sa(wanted))
    assert (reply.errno, reply.require(pfkey.Sa).encrypt) == (0, 20)
    assert reply.require(pfkey.KeyEncrypt).key.data == bytes(range(20))
    shown = subprocess.run(
        ["ip", "-d", "xfrm", "state"], capture_output=True, text=True, check=True
    ).stdout
    assert "rfc4106(gcm(aes))" in shown
    assert "esn" in shown
    assert "replay_window 64" in shown


def test_an_acquire_comes_to_registered_clients_and_getspi_and_add_answer_it(
    made: "kamexfrm.PfKeySocket",
) -> None:
    here, there = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
    with kamexfrm.PfKeySocket() as other:
        other.setblocking(False)
        ask(made, REGISTER)
        ask(made, add_policy(policy()._replace(selector=Selector(here, 32, there, 32))))
        assert short(other.recv()) == "X_SPDADD 1"
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
            contextlib.suppress(OSError),
        ):
            sender.sendto(b"?", ("10.0.0.2", 9))
        acquire = pfkey.decode(made.recv())
        assert acquire.type is SadbType.SADB_ACQUIRE
        with pytest.raises(BlockingIOError):
            other.recv()
        wanted = association(0x2000)._replace(source=here, destination=there)
        getspi = stamped(
            sa_to_message(wanted, SadbType.SADB_GETSPI, sadb_flags=0), seq=acquire.seq, pid=PID
        )
        assert ask(made, pfkey.encode(getspi)).require(pfkey.Sa).spi == 0x2000
        done = ask(made, add_sa(wanted, acquire.seq, SadbType.SADB_UPDATE))
        assert (done.type, done.errno, done.seq) == (SadbType.SADB_UPDATE, 0, acquire.seq)
        dumped = ask(made, message(SadbType.SADB_DUMP))
        assert (dumped.seq, dumped.require(pfkey.Sa).spi) == (0, 0x2000)


def test_without_registered_clients_the_kernel_finds_no_key_manager(
    made: "kamexfrm.PfKeySocket",
) -> None:
    here, there = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
    ask(made, add_policy(policy()._replace(selector=Selector(here, 32, there, 32))))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        contextlib.suppress(OSError),
    ):
        sender.sendto(b"?", ("10.0.0.2", 9))
    assert ask(made, message(SadbType.SADB_DUMP)).errno == 2  # no larval SA was left
