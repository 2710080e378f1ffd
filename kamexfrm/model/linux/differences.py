"""The kernel's differences from KAME: one table for decisions, tests and ipsec(4).

A fate takes them into account by name. The titles are those of ipsec(4) under CAVEATS.
"""

from typing import NamedTuple

from kamexfrm.model.linux.kernel_range import holds_for


class Difference(NamedTuple):
    """A difference by its name; ``reason`` is the kernel's.

    ``title`` is ipsec(4)'s under CAVEATS, ``promise`` KAME's that it breaks, under WHAT HOLDS.
    ``kernels`` is the range of those that differ (``kernel_range``): all, unless given.
    """

    name: str
    title: str
    promise: str
    reason: str
    kernels: str = ""


DIFFERENCES = (
    Difference(
        "discard-eperm",
        "discard is told to the sender",
        "discard drops silently",
        "xfrm_lookup() returns EPERM for a blocking policy, and the send fails with it",
    ),
    Difference(
        "one-reqid",
        "one reqid for a request",
        "a request without a reqid takes any SA",
        "xfrm_state_find() wants the reqids of template and SA to be equal",
    ),
    Difference(
        "newest-sa",
        "the newest SA is taken",
        "the oldest SA is preferred",
        "xfrm_state_look_at() prefers the SA that was added last",
    ),
    Difference(
        "one-mode",
        "an SPI has one mode",
        "an SA of mode any serves both modes",
        "an XFRM state has one mode; one of mode any is made again for the other",
    ),
    Difference(
        "transport-endpoints",
        "endpoints of transport requests",
        "endpoints of transport requests count",
        "xfrm_tmpl_resolve_one() looks at a template's addresses for tunnels only",
    ),
    Difference(
        "family-change",
        "transport behind a tunnel of the other family",
        "requests are judged one by one",
        "a transport SA has a selector of its own family, compared with the first packet's",
    ),
    Difference(
        "forwarded-ports",
        "ports of forwarded packets",
        "forwarded packets have no ports",
        "xfrm_decode_session() reads the ports of packets in transit too",
    ),
    Difference(
        "forwarded-transport",
        "transport mode of forwarded packets",
        "IPv6 forwards by tunnels only",
        "xfrm_lookup() does not ask whether a packet is in transit; IPv6 does as IPv4",
    ),
    Difference(
        "fwd-entry",
        "forwarded packets meet fwd",
        "forwarded packets meet in, then out",
        "__xfrm_policy_check() looks up direction fwd for a packet in transit",
    ),
    Difference(
        "socket-eagain",
        "a socket's own policy without an SA",
        "sockets: entrust, ipsec, bypass",
        "xfrm_lookup() returns the EAGAIN of a socket's bundle; the SPD's is a black hole",
    ),
    Difference(
        "input-headers",
        "input compares headers",
        "input looks for encryption and AH only",
        "__xfrm_policy_check() compares templates with the SAs that were used, not three flags",
    ),
    Difference(
        "input-mode",
        "input compares modes",
        "input compares no mode or order",
        "xfrm_state_ok() wants the modes of template and SA to be equal",
    ),
    Difference(
        "input-order",
        "input compares the order",
        "input compares no mode or order",
        "xfrm_policy_ok() goes through templates and SAs side by side",
    ),
    Difference(
        "input-source",
        "input compares a tunnel's source",
        "input compares no tunnel endpoints",
        "xfrm_state_addr_cmp() compares a tunnel template's source with the SA's",
    ),
    Difference(
        "extra-tunnel",
        "tunnels that no request names",
        "protection nobody asked for is accepted",
        "__xfrm_policy_check() rejects what secpath_has_nontransport() finds left over",
    ),
    Difference(
        "tunnel-unasked",
        "the first match decides about tunnels",
        "tunnels need an inbound entry, any",
        "xfrm_input() opens any tunnel; the entry that matches the inner packet decides",
    ),
    Difference(
        "no-policy-tunnel",
        "tunnels without any policy",
        "without a policy all is accepted",
        "__xfrm_policy_check() drops tunnelled packets without a policy: XfrmInNoPols",
    ),
    Difference(
        "sa-mode",
        "an SA of tunnel mode receives tunnels only",
        "an SA's mode means nothing on input",
        "xfrm_inner_mode_input() wants IP in IP: XfrmInStateModeError",
    ),
    Difference(
        "helper-tunnel",
        "IP in IP beside an IPComp tunnel",
        "tunnels need an inbound entry, any",
        "xfrm_tunnel_rcv() takes it for what an IPComp tunnel from the same address has inside",
    ),
    Difference(
        "ah-inside",
        "AH within ESP or IPComp in transport mode",
        "AH may be within ESP",
        "xfrm_input() goes on to AH with the outer protocol still in the IP header",
    ),
    Difference(
        "other-family",
        "transport mode outside a tunnel of the other family",
        "protection nobody asked for is accepted",
        "__xfrm_policy_check() compares the family of a transport SA's selector with the inner "
        "packet's: XfrmInStateMismatch",
        ">=6.12",
    ),
    Difference(
        "small-mtu",
        "IPv6 in many tunnels",
        "a policy has any number of requests",
        "ip6_setup_cork() returns EINVAL where the headers leave less than 1280 bytes of the MTU",
        "<5.11",
    ),
    # Not met by random cases:
    Difference(
        "six-requests",
        "a policy of six requests drops",
        "a policy has any number of requests",
        "xfrm_tmpl_resolve() and __xfrm_policy_check() give up at the sixth template",
    ),
    Difference(
        "ipv4-loopback",
        "IPv4 loopback is exempt",
        "def_policy for each family",
        "the loopback device has disable_xfrm and disable_policy set",
    ),
    Difference(
        "socket-tunnel-use",
        "no tunnel of level use for a socket",
        "sockets: entrust, ipsec, bypass",
        "validate_tmpl() refuses optional tunnel templates on output",
    ),
    Difference(
        "acquire-by-time",
        "daemons are asked by time",
        "daemons are asked by count",
        "a larval state stands for net.core.xfrm_acq_expires seconds and keeps others away",
    ),
)

#: Those of all kernels, and none.
LINUX = frozenset(difference.name for difference in DIFFERENCES if not difference.kernels)
KAME: frozenset[str] = frozenset()


def linux_of(release: str) -> frozenset[str]:
    """Return the names of the differences of a kernel, given by its release (uname(1))."""
    return frozenset(d.name for d in DIFFERENCES if holds_for(d.kernels, release))
