"""kamexfrmd --encap: addresses, peers, ports that are taken. Packets are in tests/dataplane."""

import contextlib
import errno
import socket

import pytest

from kamexfrm.command_line import UsageError
from kamexfrm.errors import KernelError
from kamexfrm.hub.event_loop import EventLoop
from kamexfrm.kamexfrmd.command import Options, main
from kamexfrm.kamexfrmd.encap import Encap, Peer, open_encap, parse_encap, peers_of
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.model.association import NatTraversal
from kamexfrm.model.policy import Mode
from kamexfrm.translate.xfrm.sa_to_kernel import sa_to_kernel
from tests.engine.engine_samples import A, B, association


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("4500", ["0.0.0.0:4500", "[::]:4500"]),
        ("192.0.2.1:4500", ["192.0.2.1:4500"]),
        ("[2001:db8::1]:1", ["[2001:db8::1]:1"]),
    ],
)
def test_an_address_is_read_and_shown(text: str, shown: list[str]) -> None:
    assert [str(at) for at in parse_encap(text)] == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "65536", "x", "1.2.3.4", "1.2.3.4:", "2001:db8::1:4500", "[1.2.3.4]:4500"),
        *("host:4500", "[::1]4500", "4500:1.2.3.4", "٤٥٠٠"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--encap"):
        parse_encap(text)


def test_peers_are_the_ends_of_sas_in_udp() -> None:
    nat = NatTraversal(4500, 1234)
    states = [
        sa_to_kernel(association(1, Mode.TRANSPORT, nat_traversal=nat), Mode.TRANSPORT),
        sa_to_kernel(association(2), Mode.TUNNEL),
    ]
    assert peers_of(states) == {Peer(A, 4500, B, 1234)}


@pytest.mark.usefixtures("namespace")
def test_a_port_that_an_ike_daemon_has_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 4500))
        (at,) = parse_encap("127.0.0.1:4500")
        with pytest.raises(KernelError, match="IKE daemon") as caught:
            open_encap(at)
        assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.usefixtures("namespace")
def test_what_cannot_be_opened_leaves_none_open() -> None:
    log: list[str] = []
    addresses = [*parse_encap("127.0.0.1:4500"), *parse_encap("192.0.2.77:4500")]
    for _ in range(2):
        with pytest.raises(KernelError, match=r"192\.0\.2\.77:4500"):
            Encap(FakeKernel(), addresses, EventLoop(), log.append)
    assert log == []
    with contextlib.closing(open_encap(addresses[0])):
        pass


@pytest.mark.parametrize(
    "arguments",
    [
        ("--once", "--encap=4500"),
        ("--keepalive=20",),
        ("--encap=4500", "--keepalive=-1"),
        ("--encap=4500", "--keepalive=soon"),
        ("--encap=4500", "--keepalive=86401"),
        ("--encap=nowhere",),
    ],
)
def test_options_that_make_no_sense_are_usage(arguments: tuple[str, ...]) -> None:
    assert main(list(arguments)) == 2


def test_sockets_are_given_one_by_one() -> None:
    options = Options(["--encap", "4500", "--encap=192.0.2.1:4501", "--keepalive", "0"])
    assert [at.port for at in options.encap] == [4500, 4500, 4501]
    assert options.keepalive == 0
