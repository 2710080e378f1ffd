"""kame-sysctl where def_policy's catch-alls were flushed, deleted or forged by another program."""

import pytest

from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.rig import Host, TwoHosts
from kamexfrm.translate.xfrm.catch_all import catch_all
from kamexfrm.xfrm import XFRM_POLICY_ALLOW, Operation, XfrmMsg, encode_policy
from tests.sysctl.kame_sysctl import INET, INET6, kame_sysctl


def forge(host: Host, *families: int, directions: tuple[int, ...] = (1,)) -> None:
    """Let the catch-alls of some directions pass packets."""
    forged = [
        catch_all(family, direction)._replace(action=XFRM_POLICY_ALLOW)
        for family in families
        for direction in directions
    ]
    kernel = host.call(NetlinkKernel)
    assert kernel.apply([Operation(XfrmMsg.UPDPOLICY, encode_policy(p)) for p in forged]) == []
    kernel.close()


@pytest.mark.parametrize("words", [["-a"], ["-n", INET[0]], [INET6[1]]])
def test_a_forged_one_is_a_warning(namespace: Host, words: list[str]) -> None:
    kame_sysctl(namespace, f"{INET[0]}=0")
    assert kame_sysctl(namespace, *words).stderr == ""
    forge(namespace, 2)
    result = kame_sysctl(namespace, *words)
    assert result.status == 0
    assert result.stderr == (
        "kame-sysctl: warning: def_policy is 0, but policies behind it are missing or were"
        " changed by another program: packets may pass; a write of def_policy puts them right\n"
    )


def test_a_missing_one_is_a_warning(namespace: Host) -> None:
    kame_sysctl(namespace, f"{INET6[0]}=0")
    namespace.run(["ip", "xfrm", "policy", "deleteall", "dir", "in"], check=True)
    assert "missing" in kame_sysctl(namespace, INET6[0]).stderr


def test_a_write_ends_the_warning(namespace: Host) -> None:
    kame_sysctl(namespace, f"{INET[0]}=0", f"{INET6[0]}=0")
    forge(namespace, 2, 10)
    kame_sysctl(namespace, f"{INET6[1]}=1")
    assert kame_sysctl(namespace, "-a").stderr == ""


def test_what_stands_there_while_def_policy_is_1_is_no_warning(namespace: Host) -> None:
    forge(namespace, 2)
    assert kame_sysctl(namespace, "-a").stderr == ""


def test_opening_one_family_after_a_flush_leaves_the_other_closed(namespace: Host) -> None:
    kame_sysctl(namespace, f"{INET[0]}=0", f"{INET6[0]}=0")
    namespace.run(["ip", "xfrm", "policy", "flush"], check=True)
    kame_sysctl(namespace, f"{INET[0]}=1")
    result = kame_sysctl(namespace, "-n", INET[0], INET6[0])
    assert (result.stdout, result.stderr) == ("1\n0\n", "")
    defaults = namespace.run(["ip", "xfrm", "policy", "getdefault"], check=True).stdout
    assert "block" not in defaults
    policies = namespace.run(["ip", "xfrm", "policy"], check=True).stdout
    assert policies.count("src ::/0 dst ::/0") == 3


def test_packets_follow_what_was_opened_after_a_flush_and_what_stayed_closed(
    two_hosts: TwoHosts,
) -> None:
    a, _ = two_hosts
    assert a.ping("10.0.0.2")
    assert a.ping("fd00::2")
    kame_sysctl(a, f"{INET[0]}=0", f"{INET6[0]}=0")
    a.run(["ip", "xfrm", "policy", "flush"], check=True)
    kame_sysctl(a, f"{INET[0]}=1")
    assert a.ping("10.0.0.2")
    assert not a.ping("fd00::2", timeout=0.5)


def test_packets_pass_a_forged_one_until_a_write(two_hosts: TwoHosts) -> None:
    a, _ = two_hosts
    kame_sysctl(a, f"{INET[0]}=0")
    forge(a, 2, directions=(0, 1))
    assert a.ping("10.0.0.2")
    kame_sysctl(a, f"{INET6[1]}=1")
    assert not a.ping("10.0.0.2", timeout=0.5)
