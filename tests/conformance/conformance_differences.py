"""The kernel's differences from KAME that random cases meet, and a case held against what was seen.

The others are not met by random cases and are shown by tests of their own.
"""

import os
from typing import NamedTuple

from kamexfrm.model.linux.deciding import fate, judge
from kamexfrm.model.linux.differences import DIFFERENCES, linux_of
from kamexfrm.model.linux.fate import Fate
from kamexfrm.model.packet import Path
from tests.conformance.conformance_case import Case
from tests.conformance.conformance_network import Seen

#: The kernel's error counters by what KAME's struct ipsecstat calls them.
COUNTERS = {
    "out_polvio": {"XfrmOutPolBlock"},
    "out_nosa": {"XfrmOutNoStates"},
    "in_polvio": {"XfrmInPolBlock", "XfrmInTmplMismatch", "XfrmInNoPols"},
    "in_nosa": {"XfrmInNoStates"},
}

_ALONE = (
    "six-requests",
    "ipv4-loopback",
    "socket-tunnel-use",
    "acquire-by-time",
    "fwd-entry",
    "small-mtu",
)
KERNEL = frozenset(d.name for d in DIFFERENCES if d.name not in _ALONE)

#: Those of the kernel that runs this.
OF_THIS_KERNEL = linux_of(os.uname().release)


def expected(case: Case, kernel: frozenset[str]) -> Fate:
    """Return what must be seen where the named differences hold."""
    return _seen(case, fate(case.situation(), kernel))


def _seen(case: Case, found: Fate) -> Fate:
    """Return of a fate what the network sees."""
    acquired = found.acquired if case.listens else frozenset()
    received = found.received and case.packet.path is Path.IN
    return found._replace(acquired=acquired, received=received)


class Comparison(NamedTuple):
    """A case on the kernel: ``wanted`` of it, and the differences without which it were another."""

    seen: Seen
    wanted: Fate
    names: tuple[str, ...]
    agrees: bool


def compare(case: Case, seen: Seen) -> Comparison:
    """Hold what was seen against what must be."""
    found, names = judge(case.situation(), OF_THIS_KERNEL)
    wanted = _seen(case, found)
    return Comparison(seen, wanted, names, _agrees(seen, wanted))


def _agrees(seen: Seen, wanted: Fate) -> bool:
    if seen.refused:
        return False
    same = (seen.wire, seen.received, seen.errno, seen.acquired) == wanted[:4]
    # A packet that came through may have had others behind it: a redirect, an ICMP error.
    if not same or seen.received or seen.wire is not None:
        return same
    if not wanted.drop:
        return not seen.drops
    return bool(seen.drops & COUNTERS.get(wanted.drop, seen.drops))
