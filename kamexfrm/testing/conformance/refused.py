"""Policies and SAs that Linux refuses, with the kernel's errors."""

from kamexfrm.net import Address
from kamexfrm.testing.conformance.samples import (
    A6,
    ANY6,
    AUTH,
    B6,
    COMP,
    DEFLATE,
    GCM,
    OUT,
    policy,
    selector,
    state,
    template,
)
from kamexfrm.xfrm import (
    EMPTY_SELECTOR,
    XFRM_STATE_ESN,
    Algorithm,
    AuthAlgorithm,
    Policy,
    ReplayStateEsn,
    State,
)

#: The reason of each; all are EINVAL.
POLICIES: dict[str, tuple[Policy, str]] = {
    "share": (policy(share=4), "Invalid policy share"),
    "action": (policy(action=2), "Invalid policy action"),
    "prefix": (
        policy(selector(destination_prefix=33)),
        "Invalid prefix length in selector (must be <= 32 for IPv4)",
    ),
    "source prefix": (
        policy(selector(source_prefix=33)),
        "Invalid prefix length in selector (must be <= 32 for IPv4)",
    ),
    "prefix of IPv6": (
        policy(selector(A6, B6, destination_prefix=129)),
        "Invalid prefix length in selector (must be <= 128 for IPv6)",
    ),
    "family": (policy(EMPTY_SELECTOR), "Invalid selector family"),
    "direction": (policy(direction=3), "Invalid policy direction"),
    "index": (policy(direction=OUT, index=8), "Policy index doesn't match direction"),
    "type": (policy(policy_type=9), "Invalid policy type"),
    "templates": (
        policy(templates=(template(),) * 7),
        "Template count must be <= XFRM_MAX_DEPTH (6)",
    ),
    "family change": (
        policy(templates=(template(source=ANY6, destination=ANY6, family=10),)),
        "Mode in template doesn't support a family change",
    ),
    "family change after a tunnel": (
        policy(templates=(template(mode=1, source=A6, destination=B6, family=10), template())),
        "Mode in template doesn't support a family change",
    ),
    "template family": (
        policy(
            templates=(
                template(
                    mode=1,
                    family=99,
                    source=Address(99, bytes(16)),
                    destination=Address(99, bytes(16)),
                ),
            )
        ),
        "Invalid family in template",
    ),
    "template protocol 0": (
        policy(templates=(template(protocol=0),)),
        "Invalid XFRM protocol in template",
    ),
    "template protocol 255": (
        policy(templates=(template(protocol=255),)),
        "Invalid XFRM protocol in template",
    ),
}

#: The errno's name and the reason of each.
STATES: dict[str, tuple[State, str, str]] = {
    "ESP without algorithms": (
        state(authentication=None, encryption=None),
        "EINVAL",
        "Missing required attribute for ESP: at least one of AUTH, AUTH_TRUNC, CRYPT, AEAD",
    ),
    "ESP without a cipher": (
        state(encryption=None),
        "EINVAL",
        "ESP: AEAD or CRYPT must be provided",
    ),
    "ESP with compression": (
        state(compression=DEFLATE),
        "EINVAL",
        "Invalid attribute for ESP: COMP",
    ),
    "ESP with AEAD and cipher": (
        state(aead=GCM),
        "EINVAL",
        "Invalid attribute combination for ESP: AEAD can't be used with AUTH, AUTH_TRUNC, CRYPT",
    ),
    "AH without authentication": (
        state(protocol=51, encryption=None, authentication=None),
        "EINVAL",
        "Missing required attribute for AH: AUTH_TRUNC or AUTH",
    ),
    "AH with a cipher": (
        state(protocol=51),
        "EINVAL",
        "Invalid attributes for AH: AEAD, CRYPT, COMP, TFCPAD",
    ),
    "IPComp without compression": (
        state(protocol=108, authentication=None, encryption=None),
        "EINVAL",
        "Missing required attribute for COMP: COMP",
    ),
    "IPComp with authentication": (
        state(**{**COMP, "authentication": AUTH}),
        "EINVAL",
        "Invalid attributes for COMP: AEAD, AUTH, AUTH_TRUNC, CRYPT, TFCPAD",
    ),
    "wide CPI": (
        state(**COMP, spi=0x10000),
        "EINVAL",
        "SPI is too large for COMP (must be < 0x10000)",
    ),
    "protocol": (state(protocol=4), "EINVAL", "Unsupported protocol"),
    "mode": (state(mode=9), "EINVAL", "Unsupported mode"),
    "mode without module": (state(mode=2), "EPROTONOSUPPORT", "Requested mode not found"),
    "family": (
        state(family=99, destination=Address(99, bytes(16)), source=Address(99, bytes(16))),
        "EINVAL",
        "Invalid address family",
    ),
    "prefix": (
        state(selector=selector(source_prefix=33)),
        "EINVAL",
        "Invalid prefix length in selector (must be <= 32 for IPv4)",
    ),
    "ESN without its numbers": (
        state(flags=XFRM_STATE_ESN),
        "EINVAL",
        "Missing required attribute for ESN",
    ),
    "ESN without a window": (
        state(flags=XFRM_STATE_ESN, replay_esn=ReplayStateEsn((0,))),
        "EINVAL",
        "ESN replay window must be > 0",
    ),
    "window past its bitmap": (
        state(flags=XFRM_STATE_ESN, replay_esn=ReplayStateEsn((0,), replay_window=64)),
        "EINVAL",
        "ESN replay window is too large for the chosen bitmap size",
    ),
    "ESN for IPComp": (
        state(**COMP, flags=XFRM_STATE_ESN, replay_esn=ReplayStateEsn((0,), replay_window=32)),
        "EINVAL",
        "ESN only supported for ESP and AH",
    ),
    "unknown cipher": (
        state(encryption=Algorithm("cbc(rc5)", bytes(range(16)), 128)),
        "ENOSYS",
        "Requested CRYPT algorithm not found",
    ),
    "unknown authentication": (
        state(authentication=AuthAlgorithm("hmac(foo)", bytes(range(20)), 160, 96)),
        "ENOSYS",
        "Requested AUTH_TRUNC algorithm not found",
    ),
    "key length": (state(encryption=Algorithm("cbc(aes)", bytes(range(15)), 120)), "EINVAL", ""),
    "other family in transport mode": (
        state(destination=B6, source=A6, family=10),
        "EPROTONOSUPPORT",
        "Only tunnel modes can accommodate a change of family",
    ),
}
