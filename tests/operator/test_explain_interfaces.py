"""Policies of XFRM interfaces are no policies of ordinary packets."""

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from kamexfrm.cli.command import main
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import InterfaceAdd
from kamexfrm.kernel import xfrm_link
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.kernel.xfrm_link import XfrmLink
from kamexfrm.model.decide_spd import Spd
from kamexfrm.net import Address
from kamexfrm.operator.explain.live import Route, tunnel_hint
from kamexfrm.rig import Host
from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel

TUNNEL = InterfaceTunnel(7, Address.parse("10.0.0.1"), Address.parse("10.0.0.2"))


@pytest.fixture
def engine(namespace: Host) -> Iterator[Engine]:
    kernel = NetlinkKernel()
    made = Engine(kernel)
    made.submit(InterfaceAdd(TUNNEL))
    made.flush()
    yield made
    kernel.close()


def test_explain_passes_them_over(engine: Engine) -> None:
    assert Spd.of(engine.spd()) == Spd.of([])
    done = CliRunner().invoke(main, ["explain", "10.0.0.1", "10.0.0.2", "udp", "1", "2"])
    assert done.exit_code == 0
    assert "unique:7" not in done.output


def test_a_route_into_one_is_explained(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xfrm_link, "links", lambda: [XfrmLink("ipsec0", 7), XfrmLink("x", 8)])
    hint = tunnel_hint(engine, Route("ipsec0", "", ""))
    assert "the tunnel 10.0.0.1 -> 10.0.0.2, by SAs of reqid 7" in hint
    assert "no policies of kamexfrm" in tunnel_hint(engine, Route("x", "", ""))
    assert tunnel_hint(engine, Route("eth0", "", "")) == ""
