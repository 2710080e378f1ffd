"""Interfaces as one thing: link, policies and SAs, over links in memory."""

import errno

import pytest

from kamexfrm.engine import route_based
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import InterfaceDelete, SaAdd
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel import xfrm_link
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.xfrm_link import XfrmLink
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel
from tests.engine.engine_samples import A6, B6, A, B, association

TUNNEL_7 = InterfaceTunnel(7, A, B)


class Links:
    """Links in memory, in the place of rtnetlink's; ``refusal`` is the errno of the next add."""

    def __init__(self) -> None:
        self.there: dict[str, XfrmLink] = {}
        self.refusal = 0

    def add(self, name: str, number: int, device: str = "") -> None:
        if self.refusal:
            raise KernelError(self.refusal)
        self.there[name] = XfrmLink(name, number, device)

    def delete(self, name: str) -> None:
        del self.there[name]

    def up(self, name: str, mtu: int) -> None:
        self.there[name] = self.there[name]._replace(mtu=mtu, is_up=True)

    def links(self) -> list[XfrmLink]:
        return list(self.there.values())

    def exists(self, name: str) -> bool:
        return name in self.there or name == "eth0"

    def device_mtu(self, device: str, remote: Address) -> int:
        return 9000 if device == "eth0" else 1500


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Links:
    made = Links()
    for name in ("add", "delete", "up", "links", "exists", "device_mtu"):
        monkeypatch.setattr(xfrm_link, name, getattr(made, name))
    return made


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


def test_an_interface_is_up_and_has_its_tunnel(kernel: FakeKernel, links: Links) -> None:
    route_based.add(kernel, "ipsec0", TUNNEL_7)
    engine = Engine(kernel)
    engine.submit(SaAdd(association(1, reqid=7)))
    engine.submit(SaAdd(association(2, reqid=7, source=B, destination=A)))
    engine.flush()
    (found,) = route_based.listed(kernel)
    assert found.link == XfrmLink("ipsec0", 7, "", 1406, is_up=True)
    assert found.tunnel == TUNNEL_7
    assert (found.inbound, found.outbound) == (1, 1)


@pytest.mark.parametrize(
    ("tunnel", "device", "mtu"),
    [
        (TUNNEL_7, "", 1406),
        (InterfaceTunnel(7, A6, B6), "", 1390),
        (TUNNEL_7, "eth0", 8910),
    ],
)
def test_the_mtu_leaves_room_for_the_longest_headers(
    kernel: FakeKernel, links: Links, tunnel: InterfaceTunnel, device: str, mtu: int
) -> None:
    route_based.add(kernel, "ipsec0", tunnel, device=device)
    assert links.there["ipsec0"].mtu == mtu
    # With UDP, the longest IV and ICV, and a trailer that fills the last block of 16 bytes.
    outer = 20 if tunnel.local.family == 2 else 40
    packet = outer + 8 + 8 + 16 + (mtu + 2) + 32
    assert (mtu + 2) % 16 == 0
    assert packet <= (9000 if device else 1500) < packet + 16


def test_a_number_and_a_name_are_given_once(kernel: FakeKernel, links: Links) -> None:
    route_based.add(kernel, "ipsec0", TUNNEL_7)
    with pytest.raises(KamexfrmError, match="reqid 7 is ipsec0's"):
        route_based.add(kernel, "ipsec1", TUNNEL_7)
    for name in ("ipsec0", "eth0"):
        with pytest.raises(KamexfrmError, match=f"{name} is there already"):
            route_based.add(kernel, name, TUNNEL_7._replace(number=8))
    with pytest.raises(KamexfrmError, match="ipsec0 has reqid 7"):
        route_based.add(kernel, "ipsec0", TUNNEL_7._replace(number=8), replace=True)
    assert set(Engine(kernel).interfaces()) == {7}


def test_a_tunnel_changes_under_the_link(kernel: FakeKernel, links: Links) -> None:
    route_based.add(kernel, "ipsec0", TUNNEL_7)
    other = InterfaceTunnel(7, A6, B6)
    route_based.add(kernel, "ipsec0", other, replace=True)
    assert Engine(kernel).interfaces() == {7: other}
    assert links.there["ipsec0"].mtu == 1390


@pytest.mark.parametrize(
    ("number", "cure"),
    [(errno.EPERM, "CAP_NET_ADMIN"), (errno.EOPNOTSUPP, "xfrm_interface")],
)
def test_what_the_kernel_refuses_has_a_cure_and_leaves_nothing(
    kernel: FakeKernel, links: Links, number: int, cure: str
) -> None:
    links.refusal = number
    with pytest.raises(KamexfrmError, match=cure):
        route_based.add(kernel, "ipsec0", TUNNEL_7)
    assert list(kernel.policies()) == []


def test_a_link_whose_policies_are_refused_goes(
    kernel: FakeKernel, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise KernelError(errno.ENOMEM)

    monkeypatch.setattr(Engine, "flush", refuse)
    with pytest.raises(KernelError):
        route_based.add(kernel, "ipsec0", TUNNEL_7)
    assert links.there == {}


def test_delete_takes_link_and_policies_and_add_makes_them_again(
    kernel: FakeKernel, links: Links
) -> None:
    for _ in range(2):
        route_based.add(kernel, "ipsec0", TUNNEL_7)
        route_based.delete(kernel, "ipsec0")
        assert route_based.listed(kernel) == []


def test_what_is_left_without_its_link_goes_by_its_number(kernel: FakeKernel, links: Links) -> None:
    route_based.add(kernel, "ipsec0", TUNNEL_7)
    links.there.clear()  # ip link delete
    (left,) = route_based.listed(kernel)
    assert left.link is None
    route_based.delete(kernel, number=7)
    assert route_based.listed(kernel) == []
    route_based.add(kernel, "ipsec0", TUNNEL_7)


def test_a_lost_tunnel_is_put_back(kernel: FakeKernel, links: Links) -> None:
    route_based.add(kernel, "ipsec0", TUNNEL_7)
    engine = Engine(kernel)
    engine.submit(InterfaceDelete(7))
    engine.flush()
    assert route_based.listed(kernel)[0].tunnel is None
    route_based.add(kernel, "ipsec0", TUNNEL_7, replace=True)
    assert route_based.listed(kernel)[0].tunnel == TUNNEL_7


@pytest.mark.parametrize("name", ["", "a" * 16, "a/b", "..", "a b", "a\x1bb"])
def test_a_name_that_no_interface_can_have_is_refused(
    kernel: FakeKernel, links: Links, name: str
) -> None:
    with pytest.raises(KamexfrmError, match="interface's name"):
        route_based.add(kernel, name, TUNNEL_7)
