"""Hosts and links between them: networks of namespaces that are gone when their rig ends.

    with Rig() as rig:
        a, b = rig.host("a"), rig.host("b")
        rig.link(a, b, "10.0.0.1/24", "10.0.0.2/24", "fd00::1/64", "fd00::2/64")
        assert a.ping("10.0.0.2")

Nothing has a name on disk. When the process that holds the rig is killed, a reaper kills the
programs it had started in the hosts, and the kernel frees the namespaces with their links.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple, Self

from kamexfrm.rig.host import Host, Interface
from kamexfrm.rig.reaper import Reaper

#: Kills all processes in the namespaces whose identities, net:[NUMBER], were added.
_TIDY = r"""
for identity in $words; do
    number=${identity#net:?}
    find /proc -mindepth 3 -maxdepth 3 -path '/proc/[0-9]*/ns/net' \
        -lname "net:\[${number%?}\]" 2>/dev/null
done | while IFS=/ read -r _ _ process _; do kill -9 "$process"; done
"""


class Rig:
    """A network of hosts; a context manager that ends them all.

    Raises PermissionError from ``host`` without CAP_SYS_ADMIN.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self._reaper = Reaper(_TIDY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def host(self, name: str) -> Host:
        """Return a new host with ``lo`` up and no other interface."""
        from kamexfrm.rig import wiring

        if name in self.hosts:
            raise ValueError(f"there is a host {name} already")
        host = self.hosts[name] = Host(name)
        self._reaper.add(host.namespace.identity)
        host.call(wiring.prepare)
        return host

    def link(self, left: Host, right: Host, *addresses: str, mtu: int | None = None) -> None:
        """Connect two hosts; ``addresses`` are left's, right's, left's, right's...

        Each host calls its new interface eth0, eth1... in the order of its links; see
        ``Host.interfaces``. Returns with both ends up and all addresses usable.
        """
        from kamexfrm.rig import wiring

        left_name, right_name = f"eth{len(left.interfaces)}", f"eth{len(right.interfaces)}"
        left.interfaces[left_name] = Interface(left_name, addresses[::2], right, right_name)
        right.interfaces[right_name] = Interface(right_name, addresses[1::2], left, left_name)
        left.call(wiring.connect, left_name, right_name, right.namespace.fileno())
        ends = ((left, left_name), (right, right_name))
        for host, name in ends:
            host.call(wiring.up, name, mtu)
        for host, name in ends:
            host.call(wiring.wait_for_carrier, name)
            host.call(wiring.add_addresses, name, host.interfaces[name].addresses)
        for host, name in ends:
            host.call(wiring.wait_for_ipv6, name)

    def close(self) -> None:
        """End all hosts and all programs in them; a second call does nothing."""
        for host in self.hosts.values():
            host.close()
        self.hosts.clear()
        self._reaper.dismiss()


class TwoHosts(NamedTuple):
    """``a`` 10.0.0.1 fd00::1 -- ``b`` 10.0.0.2 fd00::2, both on eth0."""

    a: Host
    b: Host


class Gateways(NamedTuple):
    """Two networks behind two gateways, h1 -- g1 -- g2 -- h2.

    h1 10.1.0.2 fd01::2, g1 10.1.0.1 fd01::1 (eth0) and 10.0.0.1 fd00::1 (eth1),
    g2 10.2.0.1 fd02::1 (eth0) and 10.0.0.2 fd00::2 (eth1), h2 10.2.0.2 fd02::2.
    """

    h1: Host
    g1: Host
    g2: Host
    h2: Host


@contextlib.contextmanager
def two_hosts() -> Iterator[TwoHosts]:
    """Yield two hosts on one link."""
    with Rig() as rig:
        a, b = rig.host("a"), rig.host("b")
        rig.link(a, b, "10.0.0.1/24", "10.0.0.2/24", "fd00::1/64", "fd00::2/64")
        yield TwoHosts(a, b)


@contextlib.contextmanager
def gateways() -> Iterator[Gateways]:
    """Yield two gateways with a host behind each, all routed for both families."""
    with Rig() as rig:
        h1, g1, g2, h2 = (rig.host(name) for name in ("h1", "g1", "g2", "h2"))
        rig.link(h1, g1, "10.1.0.2/16", "10.1.0.1/16", "fd01::2/64", "fd01::1/64")
        rig.link(h2, g2, "10.2.0.2/16", "10.2.0.1/16", "fd02::2/64", "fd02::1/64")
        rig.link(g1, g2, "10.0.0.1/24", "10.0.0.2/24", "fd00::1/64", "fd00::2/64")
        for gateway in (g1, g2):
            gateway.forward()
        for host, address4, address6 in ((h1, "10.1.0.1", "fd01::1"), (h2, "10.2.0.1", "fd02::1")):
            host.route("default", via=address4)
            host.route("default", via=address6)
        g1.route("10.2.0.0/16", via="10.0.0.2")
        g1.route("fd02::/64", via="fd00::2")
        g2.route("10.1.0.0/16", via="10.0.0.1")
        g2.route("fd01::/64", via="fd00::1")
        yield Gateways(h1, g1, g2, h2)
