"""Exemptions and lockdown: what is discarded, what passes, and in which order it is written."""

import errno
import json
import socket
from collections.abc import Callable, Sequence

import pytest
from click.testing import CliRunner, Result
from pyroute2 import IPRoute

from kamexfrm.cli.command import main
from kamexfrm.engine import requests
from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KernelError
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Failure
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.policy import Direction, PolicyType
from kamexfrm.operator import exempt
from kamexfrm.rig.condition import until
from kamexfrm.setkey.parser import Parser
from kamexfrm.setkey.statements import SpdAdd
from kamexfrm.xfrm import Operation
from tests.operator.schemas import valid

PORT = 7777

#: Where struct xfrm_userpolicy_info has the protocol of its selector.
PROTO = 44

#: Two addresses of the loopback interface.
IFA_F_TENTATIVE = 0x40
HERE, THERE = "::1", "fd00::1"


def is_tentative(flags: int) -> bool:
    return flags & IFA_F_TENTATIVE != 0


def policies(text: str) -> set[tuple[object, ...]]:
    return {
        (s.policy.selector, s.policy.direction) for s in Parser(text, "t") if isinstance(s, SpdAdd)
    }


def passes(port: int = PORT) -> bool:
    """Whether a UDP packet from and to a port arrives over the loopback interface."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver,
    ):
        sender.bind((HERE, port))
        receiver.bind((THERE, port))
        receiver.settimeout(10)
        try:
            sender.sendto(b"x", (THERE, port))
        except PermissionError:  # the kernel's answer to the sender of what is discarded
            return False
        return receiver.recv(1) == b"x"


def run(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == status, done.output
    return done


@pytest.fixture
def loopback(real_kernel: NetlinkKernel) -> None:
    """Bring the namespace's loopback interface up."""
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
        ip.addr("add", index=1, address=THERE, prefixlen=128)
        until(lambda: not list(ip.get_addr(family=socket.AF_INET6, flags=is_tentative)))


@pytest.mark.usefixtures("loopback")
def test_a_lockdown_discards_all_but_what_is_exempt() -> None:
    assert passes()
    run("lockdown", "on", "nd")
    assert not passes()
    run("exempt", f"udp:{PORT}")
    assert passes()
    assert not passes(PORT + 1)
    run("exempt", "--delete", f"udp:{PORT}")
    assert not passes()
    run("exempt", f"udp:{PORT}", "loopback")
    assert passes()
    run("lockdown", "off")
    assert passes()


@pytest.mark.usefixtures("real_kernel")
def test_the_documents_say_what_is_in_force() -> None:
    assert valid(json.loads(run("lockdown", "--json").output)) == {
        "schema": "kamexfrm/lockdown/1",
        "inet": False,
        "inet6": False,
        "exempt": [],
    }
    first = valid(json.loads(run("exempt", "ssh", "dhcp", "tcp:80", "--json").output))
    assert first["added"] == 12
    again = valid(json.loads(run("exempt", "dhcp", "ssh", "--json").output))
    assert again["added"] == 0
    assert again["exempt"] == ["dhcp", "ssh", "tcp:80"]
    assert valid(json.loads(run("lockdown", "on", "nd", "--json").output))["inet"]
    off = valid(json.loads(run("lockdown", "off", "--json").output))
    assert (off["inet"], off["inet6"], off["exempt"]) == (False, False, [])


def test_neighbour_discovery_dhcp_and_ike_are_what_their_rfcs_say() -> None:
    found = {
        (p.selector, p.direction)
        for name in ("nd", "dhcp", "ike")
        for p in exempt.exemption(name).policies
    }
    wanted = """
        spdadd ::/0 ::/0 icmp6 135,0 -P in none; spdadd ::/0 ::/0 icmp6 135,0 -P out none;
        spdadd ::/0 ::/0 icmp6 136,0 -P in none; spdadd ::/0 ::/0 icmp6 136,0 -P out none;
        spdadd ::/0 ::/0 icmp6 133,0 -P out none; spdadd ::/0 ::/0 icmp6 134,0 -P in none;
        spdadd 0.0.0.0/0[68] 0.0.0.0/0[67] udp -P out none;
        spdadd 0.0.0.0/0[67] 0.0.0.0/0[68] udp -P in none;
        spdadd ::/0[546] ::/0[547] udp -P out none;
        spdadd 0.0.0.0/0[500] 0.0.0.0/0 udp -P out none;
        spdadd ::/0 ::/0[4500] udp -P in none;
    """
    assert policies(wanted) <= found


def test_a_service_is_behind_policies_that_protect_it_and_ike_before_them(
    kernel_of_kind: Callable[[str], FakeKernel],
) -> None:
    engine = Engine(kernel_of_kind("fake"))
    exempt.add(engine, [exempt.exemption("ssh"), exempt.exemption("ike")])
    [protected] = Parser("spdadd 0.0.0.0/0 0.0.0.0/0 any -P in ipsec esp/transport//require;", "t")
    assert isinstance(protected, SpdAdd)
    engine.submit(requests.SpdAdd(protected.policy))
    ordered = sorted(engine.spd(), key=lambda e: e.kernel_priority)
    found = [e.policy for e in ordered if e.policy.direction is Direction.IN]
    at = next(i for i, p in enumerate(found) if p.type is PolicyType.IPSEC)
    assert {p.selector.destination_port for p in found[:at]} == {500, 4500}
    assert {p.selector.destination_port for p in found[at + 1 :]} == {22}


class Full(FakeKernel):
    """A kernel that has no room for policies for TCP."""

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        """Refuse those, and carry out the others in order."""
        failures = []
        for at, operation in enumerate(operations):
            if operation.payload[PROTO : PROTO + 1] == bytes((socket.IPPROTO_TCP,)):
                failures.append(Failure(at, KernelError(errno.ENOMEM)))
            else:
                failures += [Failure(at, f.error) for f in super().apply([operation])]
        return failures


def test_nothing_is_closed_where_an_exemption_is_refused() -> None:
    engine = Engine(Full())
    with pytest.raises(KernelError):
        exempt.close(engine, [exempt.exemption("nd"), exempt.exemption("ssh")])
    assert engine.knobs().inet.def_policy == 1
    assert exempt.close(Engine(FakeKernel()), [exempt.exemption("ssh")])


@pytest.mark.usefixtures("real_kernel")
def test_an_ssh_session_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "fe80::9%eth0 4000 fe80::1%eth0 2222")
    refused = run("lockdown", "on", status=1)
    assert "to fe80::1 port 2222, would be cut off: add ssh:2222" in refused.output
    assert not json.loads(run("lockdown", "--json").output)["inet6"]
    run("lockdown", "on", "nd", "ssh:2222")
    run("lockdown", "off")
    run("lockdown", "on", "--force")


@pytest.mark.usefixtures("real_kernel")
@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("exempt", "dhpc"), 1, "did you mean dhcp?"),
        (("exempt", "tcp"), 1, "a port from 1 to 65535 is missing, as in tcp:8080"),
        (("exempt", "udp:0x10"), 1, "a port from 1 to 65535"),
        (("exempt", "nd:3"), 1, "nd takes no port"),
        (("exempt", "--delete"), 2, "say what is no longer exempt"),
        (("lockdown", "off", "nd"), 2, "WHAT belongs to lockdown on"),
    ],
)
def test_a_mistake_is_named(words: tuple[str, ...], status: int, text: str) -> None:
    assert text in run(*words, status=status).output
