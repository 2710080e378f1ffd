"""LOCKED OUT in ipsec(4): its three commands are run, where they should help and where not."""

import os
import re
import sys
from collections.abc import Callable

import pytest

from kamexfrm.rig import Host, TwoHosts
from tests.man.manual_source import configure, page, section

TEXT = section(page("ipsec.4"), "LOCKED OUT")
COMMANDS = re.findall(r"^\.Dl (.*)$", TEXT, re.MULTILINE)

DISCARD = "kame-sysctl net.inet.ipsec.def_policy=0 net.inet6.ipsec6.def_policy=0"
REQUIRE = "".join(
    f"spdadd {source} {destination} any -P out ipsec esp/transport//require;\n"
    for source, destination in (("0.0.0.0/0", "10.0.0.2"), ("fd00::1", "fd00::2"))
)


def shell(host: Host, command: str) -> None:
    """Run a command line of the page with the commands beside this Python."""
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    host.run(["env", f"PATH={path}", "sh", "-c", command], check=True, timeout=60)


def discards(host: Host) -> None:
    shell(host, DISCARD)


def is_flushed(host: Host) -> None:
    shell(host, DISCARD)
    shell(host, "ip xfrm policy flush")


def requires(host: Host) -> None:
    configure(host, REQUIRE)


def does_both(host: Host) -> None:
    discards(host)
    requires(host)


def has_an_unreadable_marker(host: Host) -> None:
    does_both(host)
    shell(
        host,
        "ip xfrm policy update src 0.0.0.0/0 dst 0.0.0.0/0 dir fwd if_id 0x4b584d01 action block",
    )


#: What locked the host out, and which of the commands, counted from 0, help against it.
LOCKS: dict[Callable[[Host], None], set[int]] = {
    discards: {0, 2},
    is_flushed: {0, 2},
    requires: {1, 2},
    does_both: {2},
    has_an_unreadable_marker: {2},
}


def test_there_are_three() -> None:
    assert len(COMMANDS) == 3


@pytest.mark.parametrize(
    ("lock", "number"),
    [
        pytest.param(lock, number, id=f"{lock.__name__}-{number + 1}")
        for lock, numbers in LOCKS.items()
        for number in numbers
    ],
)
def test_each_command_helps_where_the_page_says(
    two_hosts: TwoHosts, lock: Callable[[Host], None], number: int
) -> None:
    a, _ = two_hosts
    assert a.ping("10.0.0.2")
    assert a.ping("fd00::2")
    lock(a)
    assert not a.ping("10.0.0.2", timeout=0.5)
    assert not a.ping("fd00::2", timeout=0.5)
    shell(a, COMMANDS[number])
    assert a.ping("10.0.0.2")
    assert a.ping("fd00::2")


def test_the_first_two_together_help_where_both_lock(two_hosts: TwoHosts) -> None:
    a, _ = two_hosts
    does_both(a)
    for command in COMMANDS[:2]:
        assert not a.ping("10.0.0.2", timeout=0.5)
        shell(a, command)
    assert a.ping("10.0.0.2")
    assert a.ping("fd00::2")
