"""Hosts and links: what can be done in them, and that nothing of them stays."""

import os
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from kamexfrm.rig import Gateways, Host, Namespace, Rig, TwoHosts, until

HELD = """
import sys
from kamexfrm.rig import two_hosts
with two_hosts() as (a, b):
    a.start(["sh", "-c", "setsid sleep 1000 & exec sleep 1000"])
    b.start(["sleep", "1000"])
    print(a.namespace.identity, b.namespace.identity, flush=True)
    sys.stdin.read()
"""


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def processes_in(identities: list[str]) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            inside = os.readlink(path / "ns/net") in identities
            if inside and path.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(path.name)
        except OSError:
            continue
    return found


def test_hosts_on_a_link_reach_each_other_at_once_by_both_families(two_hosts: TwoHosts) -> None:
    a, b = two_hosts
    assert a.ping("10.0.0.2")
    assert a.ping("fd00::2")
    assert b.ping("10.0.0.1", count=3, payload=b"x" * 1000)
    assert b.ping("fd00::1", source="fd00::2")


def test_no_answer_is_no_ping(two_hosts: TwoHosts) -> None:
    assert not two_hosts.a.ping("10.0.0.9", timeout=0.05)
    assert not two_hosts.a.ping("192.0.2.1", timeout=0.05)


def test_hosts_behind_gateways_reach_each_other_by_both_families(gateways: Gateways) -> None:
    assert gateways.h1.ping("10.2.0.2")
    assert gateways.h2.ping("fd01::2")


def test_a_udp_echo_answers_with_what_it_heard(two_hosts: TwoHosts) -> None:
    a, b = two_hosts
    for address in ("10.0.0.2", "fd00::2"):
        with b.udp_echo(address) as echo:
            assert a.udp_ask(address, payload=b"marker") == b"marker"
            assert echo.received == [b"marker"]
    assert a.udp_ask("10.0.0.2", timeout=0.05) is None


def test_a_program_runs_in_its_host_with_input_output_and_status(two_hosts: TwoHosts) -> None:
    script = 'cat; echo trouble >&2; readlink /proc/self/ns/net; echo "$WORD"; exit 7'
    done = two_hosts.a.run(
        ["sh", "-c", script], input="in\n", environment={"WORD": "w", "PATH": os.environ["PATH"]}
    )
    assert done.stdout == f"in\n{two_hosts.a.namespace.identity}\nw\n"
    assert done.stderr == "trouble\n"
    assert done.status == 7


def test_a_program_that_fails_raises_when_asked_to(two_hosts: TwoHosts) -> None:
    with pytest.raises(AssertionError, match="trouble"):
        two_hosts.a.run(["sh", "-c", "echo trouble >&2; exit 1"], check=True)


def test_a_program_past_its_deadline_is_killed_with_its_children(two_hosts: TwoHosts) -> None:
    with pytest.raises(TimeoutError, match="started"):
        two_hosts.a.run(["sh", "-c", "echo started; sleep 1000 & wait"], timeout=0.3)
    until(lambda: not processes_in([two_hosts.a.namespace.identity]))


def test_a_call_runs_inside_and_comes_back(two_hosts: TwoHosts) -> None:
    before = here()
    assert two_hosts.a.call(here) == two_hosts.a.namespace.identity != before
    with pytest.raises(ZeroDivisionError):
        two_hosts.a.call(divmod, 1, 0)
    assert here() == before


def test_entering_nests_and_leaves_other_threads_alone(two_hosts: TwoHosts) -> None:
    seen: list[str] = []
    before = here()
    with two_hosts.a.enter():
        with two_hosts.b.enter():
            assert here() == two_hosts.b.namespace.identity
        assert here() == two_hosts.a.namespace.identity
    thread = threading.Thread(target=lambda: seen.append(here()))
    with two_hosts.a.enter():
        pass
    thread.start()
    thread.join()
    assert seen == [before] == [here()]


def test_a_socket_belongs_to_its_host(two_hosts: TwoHosts) -> None:
    a, b = two_hosts
    with (
        a.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        b.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("10.0.0.2", 4000))
        receiver.settimeout(5)
        sender.sendto(b"word", ("10.0.0.2", 4000))
        assert receiver.recv(100) == b"word"


def test_sysctls_and_counters_are_the_hosts_own(two_hosts: TwoHosts) -> None:
    a, b = two_hosts
    assert a.sysctl("net.ipv4.ip_forward", 1) == "1"
    assert b.sysctl("net/ipv4/ip_forward") == "0"
    assert a.counters()["XfrmInNoPols"] == 0


def test_a_host_takes_further_addresses_and_routes(two_hosts: TwoHosts) -> None:
    a, b = two_hosts
    b.address("lo", "10.9.0.1/32", "fd09::1/128")
    a.route("10.9.0.0/16", via="10.0.0.2")
    a.route("fd09::/64", via="fd00::2")
    for address in ("10.9.0.1", "fd09::1"):
        until(partial(a.ping, address, timeout=1), 10, f"an answer of {address}")


def test_the_namespace_fixture_is_where_the_test_is(namespace: Host) -> None:
    assert here() == namespace.namespace.identity
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    assert namespace.ping("127.0.0.1")
    assert namespace.ping("::1")


def test_a_name_is_taken_once() -> None:
    with Rig() as rig:
        rig.host("a")
        with pytest.raises(ValueError, match="a host a already"):
            rig.host("a")


def test_the_end_of_a_rig_ends_its_programs() -> None:
    with Rig() as rig:
        host = rig.host("a")
        identity = host.namespace.identity
        host.start(["sh", "-c", "setsid sleep 1000 & exec sleep 1000"])
        until(lambda: len(processes_in([identity])) == 2)
    until(lambda: not processes_in([identity]))


def test_a_failure_inside_a_rig_ends_it_too() -> None:
    identities: list[str] = []

    def fail() -> None:
        with Rig() as rig:
            host = rig.host("a")
            identities.append(host.namespace.identity)
            host.start(["sleep", "1000"])
            raise RuntimeError("test")

    with pytest.raises(RuntimeError, match="test"):
        fail()
    until(lambda: not processes_in(identities))


def test_nothing_is_left_after_kill_9_of_the_process_that_holds_a_rig() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HELD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        identities = holder.stdout.readline().split()
        until(lambda: len(processes_in(identities)) == 3)
        holder.send_signal(signal.SIGKILL)
    until(lambda: not processes_in(identities))


def test_a_namespace_is_empty_and_closed_once() -> None:
    namespace = Namespace()
    with namespace.enter():
        assert [name for _, name in socket.if_nameindex()] == ["lo"]
    namespace.close()
    namespace.close()


def test_until_returns_the_value_or_names_what_did_not_come() -> None:
    values = iter([0, "", "value"])
    assert until(lambda: next(values)) == "value"
    with pytest.raises(TimeoutError, match=r"the moon: not within 0\.01 s"):
        until(lambda: False, 0.01, "the moon")
