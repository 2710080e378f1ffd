"""setkey -DP under def_policy 0: what it says of an empty SPD, and of forged catch-alls."""

import json

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import knob
from kamexfrm.translate.xfrm.catch_all import catch_all
from kamexfrm.xfrm import XFRM_POLICY_ALLOW, Operation, Policy, PolicyId, XfrmMsg, encode_policy
from tests.setkey.setkey_process import setkey, xfrm

pytestmark = pytest.mark.usefixtures("namespace")

NONE = "spdadd 10.0.0.1 10.0.0.2 any -P out none;"
NAMES = {"IPv4": "net.inet.ipsec.def_policy", "IPv6": "net.inet6.ipsec6.def_policy"}


def discard(*families: str) -> None:
    kernel = NetlinkKernel()
    engine = Engine(kernel)
    for family in families:
        engine.submit(SetKnob(knob(NAMES[family]), 0))
    engine.flush()
    kernel.close()


def write(*policies: Policy) -> list[int]:
    """Write policies past the engine; return their ids."""
    kernel = NetlinkKernel()
    assert kernel.apply([Operation(XfrmMsg.UPDPOLICY, encode_policy(p)) for p in policies]) == []
    names = [PolicyId(p.selector, index=0, direction=p.direction) for p in policies]
    ids = [kernel.policy(wanted).index for wanted in names]
    kernel.close()
    return ids


@pytest.mark.parametrize("families", [("IPv4",), ("IPv6",), ("IPv4", "IPv6")])
def test_an_empty_spd_that_discards_is_a_line(families: tuple[str, ...]) -> None:
    discard(*families)
    line = (
        f"setkey: def_policy is 0 for {' and '.join(families)}: packets that match no policy are"
        " discarded; see LOCKED OUT in ipsec(4)\n"
    )
    assert setkey("-DP") == (0, "No SPD entries.\n", line)
    assert setkey("--json", "-DP") == (0, "[]\n", line)
    assert setkey("-v", "-DP").err == line
    assert setkey("-D") == (0, "No SAD entries.\n", "")


def test_without_the_marker_it_is_one_too() -> None:
    discard("IPv4", "IPv6")
    xfrm("policy", "flush")
    assert "def_policy is 0 for IPv4 and IPv6" in setkey("-DP").err


def test_with_a_policy_or_def_policy_1_it_is_not() -> None:
    assert setkey("-DP") == (0, "No SPD entries.\n", "")
    discard("IPv4")
    setkey("-e", NONE)
    assert setkey("-DP").err == ""


FORGED = [
    catch_all(2, 1)._replace(action=XFRM_POLICY_ALLOW),
    catch_all(10, 0)._replace(priority=7),
    catch_all(2, 0)._replace(
        selector=catch_all(2, 0).selector._replace(destination_prefix=8),
        action=XFRM_POLICY_ALLOW,
    ),
]


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("def_policy", [0, 1])
def test_a_forged_catch_all_is_shown_with_a_warning(forged: Policy, def_policy: int) -> None:
    if def_policy == 0:
        discard("IPv4", "IPv6")
    (id,) = write(forged)
    warning = (
        f"setkey: WARNING: the policy with spid={id} is marked as one of def_policy's, but is"
        " none: another program wrote it\n"
    )
    shown = setkey("-DP")
    assert (shown.status, shown.err) == (0, warning)
    assert f"\tspid={id} seq=0 " in shown.out
    action = "none" if forged.action == XFRM_POLICY_ALLOW else "discard"
    assert f" {action}\n" in shown.out
    listed = setkey("--json", "-DP")
    assert listed.err == warning
    (row,) = json.loads(listed.out)
    assert (row["id"], row["owner"]) == (id, "forged")
    assert setkey("-e", "spddump;").err == warning
