"""The words of ip-xfrm(8) for numbers of the kernel."""

from kamexfrm.net import IPPROTO_AH, IPPROTO_COMP, IPPROTO_ESP
from kamexfrm.xfrm import constants as c

PROTOCOLS = {IPPROTO_ESP: "esp", IPPROTO_AH: "ah", IPPROTO_COMP: "comp"}

MODES = {
    c.XFRM_MODE_TRANSPORT: "transport",
    c.XFRM_MODE_TUNNEL: "tunnel",
    c.XFRM_MODE_ROUTEOPTIMIZATION: "ro",
    c.XFRM_MODE_IN_TRIGGER: "in_trigger",
    c.XFRM_MODE_BEET: "beet",
}

DIRECTIONS = {c.XFRM_POLICY_IN: "in", c.XFRM_POLICY_OUT: "out", c.XFRM_POLICY_FWD: "fwd"}

STATE_FLAGS = {
    c.XFRM_STATE_NOECN: "noecn",
    c.XFRM_STATE_DECAP_DSCP: "decap-dscp",
    c.XFRM_STATE_NOPMTUDISC: "nopmtudisc",
    c.XFRM_STATE_WILDRECV: "wildrecv",
    c.XFRM_STATE_ICMP: "icmp",
    c.XFRM_STATE_AF_UNSPEC: "af-unspec",
    c.XFRM_STATE_ALIGN4: "align4",
    c.XFRM_STATE_ESN: "esn",
}

ENCAPS = {
    c.UDP_ENCAP_ESPINUDP_NON_IKE: "espinudp-nonike",
    c.UDP_ENCAP_ESPINUDP: "espinudp",
    c.TCP_ENCAP_ESPINTCP: "espintcp",
}

#: Words of a limit, and the field of LifetimeConfig that each sets.
LIMITS = {
    "time-soft": "soft_add",
    "time-hard": "hard_add",
    "time-use-soft": "soft_use",
    "time-use-hard": "hard_use",
    "byte-soft": "soft_bytes",
    "byte-hard": "hard_bytes",
    "packet-soft": "soft_packets",
    "packet-hard": "hard_packets",
}
