"""Unmodified IKE daemons: SAs by IKEv2, protected traffic, rekeying, a tidy end.

The control runs them on the kernel's own AF_KEY: what they do there, they must do on ours.
"""

from pathlib import Path

import pytest
from ike_daemons import IPV4, PATIENCE, Iked, Tunnel, agreed, has_no_entry, load_af_key

from kamexfrm.rig import TwoHosts, until

pytestmark = pytest.mark.dataplane


def start(
    hosts: TwoHosts, folder: Path, tunnel: Tunnel, doors: tuple[str, str], lifetime: str
) -> tuple[Iked, Iked]:
    """Start the one that answers, then the one that asks; it alone replaces SAs, by age."""
    if "af_key" in doors:
        load_af_key()
    tunnel.lay(hosts)
    b = Iked(hosts.b, folder, "passive", tunnel.mirrored(), door=doors[1])
    b.ready()
    return Iked(hosts.a, folder, "active", tunnel, lifetime=lifetime, door=doors[0]), b


@pytest.mark.parametrize("doors", [("af_key", "af_key"), ("exec", "exec"), ("exec", "af_key")], ids="-".join)
def test_two_iked_agree_protect_rekey_and_leave_nothing(
    own_hosts: TwoHosts, tmp_path: Path, doors: tuple[str, str]
) -> None:
    daemons = start(own_hosts, tmp_path, IPV4, doors, "6")
    first = until(lambda: agreed(own_hosts), PATIENCE, "two SAs on each end")
    IPV4.assert_protected(own_hosts)
    until(lambda: len(agreed(own_hosts) - first) >= 2, PATIENCE, "new SAs")
    IPV4.assert_protected(own_hosts)
    for daemon in daemons:
        assert daemon.stop() == 0
        assert has_no_entry(daemon.host)
