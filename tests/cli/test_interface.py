"""``kamexfrm interface`` in a namespace of the running kernel."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from kamexfrm.cli.command import main
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import InterfaceAdd
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.net import Address
from kamexfrm.rig import probe
from kamexfrm.rig.namespace import Namespace
from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel
from tests.operator.schemas import valid

ADD = ("add", "ipsec0", "--tunnel", "10.0.0.1", "10.0.0.2", "--reqid", "7")


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    made = Namespace()
    try:
        with made.enter():
            yield
    finally:
        made.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["interface", *arguments])


def left_policies() -> None:
    """Write the policies of an interface without its link."""
    kernel = NetlinkKernel()
    engine = Engine(kernel)
    tunnel = InterfaceTunnel(7, Address.parse("10.0.0.1"), Address.parse("10.0.0.2"))
    engine.submit(InterfaceAdd(tunnel))
    engine.flush()
    kernel.close()


def test_add_list_and_delete_or_the_cure_for_a_kernel_without() -> None:
    done = run(*ADD)
    if not probe.kernel_has_xfrm_interfaces():
        assert done.exit_code == 1
        assert "xfrm_interface" in done.output
        return
    assert done.output == ""
    (found,) = json.loads(run("list", "--json").stdout)["interfaces"]
    assert (found["name"], found["reqid"], found["up"]) == ("ipsec0", 7, True)
    assert run("delete", "ipsec0").output == ""
    assert run("list").output == ""


def test_what_is_left_of_an_interface_is_listed_with_its_cure() -> None:
    left_policies()
    document = json.loads(run("list", "--json").stdout)
    valid(document)
    (found,) = document["interfaces"]
    assert (found["name"], found["reqid"], found["remote"]) == (None, 7, "10.0.0.2")
    text = run("list").output
    assert text.startswith("-: reqid 7 tunnel 10.0.0.1 -> 10.0.0.2\n")
    assert "kamexfrm interface delete --reqid 7" in text
    assert run("delete", "--reqid", "7").output == ""
    assert run("list").output == ""


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("add", "ipsec0", "--reqid", "7"), 2, "--tunnel"),
        (("add", "ipsec0", "--tunnel", "10.0.0.1", "peer", "--reqid", "7"), 2, "'peer'"),
        ((*ADD[:-1], "0"), 2, "--reqid"),
        (("delete",), 2, "name an interface"),
        (("delete", "lo"), 1, "lo is no XFRM interface"),
        (("delete", "ipsec9"), 1, "there is no interface ipsec9"),
        (("delete", "--reqid", "9"), 1, "nothing belongs to if_id 9"),
        ((*ADD, "--dev", "eth9"), 1, "there is no interface eth9"),
        (("list", "--netns", "no-such"), 1, "--netns"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], status: int, text: str) -> None:
    done = run(*arguments)
    assert done.exit_code == status
    assert text in done.output
