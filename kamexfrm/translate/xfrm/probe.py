"""Which algorithms the running kernel has: the requests that ask it. Pure.

Each request adds an SA of a mode that IPv4 lacks (route optimization), which Linux checks after the
algorithm (xfrm_user.c xfrm_state_construct()). So all are rejected, and ENOSYS means a lack of the
algorithm. Nothing is added, but modules are loaded, as by the REGISTER of Linux's AF_KEY.

In the same way the kernel can be made to load what SAs need before the first SA is added.
"""

import errno
from collections.abc import Iterable, Sequence
from typing import Any

from kamexfrm.algorithms import Algorithm, Kind
from kamexfrm.net import AF_INET, IPPROTO_AH, IPPROTO_COMP, IPPROTO_ESP, Address
from kamexfrm.xfrm import (
    XFRM_MODE_ROUTEOPTIMIZATION,
    XFRM_MODE_TRANSPORT,
    AeadAlgorithm,
    AuthAlgorithm,
    Encap,
    Operation,
    Selector,
    State,
    XfrmMsg,
    encode_state,
)
from kamexfrm.xfrm import Algorithm as XfrmAlgorithm

_ADDRESS = Address.parse("192.0.2.1")
_PROBE = State(
    Selector(_ADDRESS, _ADDRESS, family=AF_INET),
    _ADDRESS,
    0x100,
    IPPROTO_ESP,
    _ADDRESS,
    family=AF_INET,
    mode=XFRM_MODE_ROUTEOPTIMIZATION,
)


def probe(row: Algorithm) -> Operation:
    """Return the operation whose errno tells whether the kernel has an algorithm."""
    bits = row.key_bits[1]
    key = bytes(bits // 8)
    match row.kind:
        case Kind.AUTHENTICATION:
            algorithm = AuthAlgorithm(row.kernel, key, bits, row.icv_bits)
            state = _PROBE._replace(protocol=IPPROTO_AH, authentication=algorithm)
        case Kind.AEAD:
            state = _PROBE._replace(aead=AeadAlgorithm(row.kernel, key, bits, row.icv_bits))
        case _:
            state = _PROBE._replace(encryption=XfrmAlgorithm(row.kernel, key, bits))
    return Operation(XfrmMsg.NEWSA, encode_state(state))


#: No kind of encapsulation.
_NO_ENCAP = 0xFF

_SHA1 = AuthAlgorithm("hmac(sha1)", bytes(20), 160, 96)
_FIRST_ALGORITHMS: tuple[dict[str, Any], ...] = (
    {
        "protocol": IPPROTO_ESP,
        "authentication": _SHA1,
        "encryption": XfrmAlgorithm("cbc(aes)", bytes(16), 128),
    },
    {"protocol": IPPROTO_AH, "authentication": _SHA1},
    {"protocol": IPPROTO_COMP, "compression": XfrmAlgorithm("deflate", b"", 0)},
)


def first_associations() -> list[Operation]:
    """Return operations for an SA of each protocol and family, all of which the kernel rejects.

    Their encapsulation does not exist. ESP checks that last of all, AH and IPComp first (Linux
    esp4.c esp_init_state() and the like); the modules are loaded by then.
    """
    operations = []
    for address in (_ADDRESS, Address.parse("2001:db8::1")):
        base = _PROBE._replace(
            selector=Selector(address, address, family=address.family),
            destination=address,
            source=address,
            family=address.family,
            mode=XFRM_MODE_TRANSPORT,
            encap=Encap(_NO_ENCAP, 0, 0, address),
        )
        for algorithms in _FIRST_ALGORITHMS:
            state = base._replace(**algorithms)
            operations.append(Operation(XfrmMsg.NEWSA, encode_state(state)))
    return operations


def available(
    rows: Sequence[Algorithm], errors: Iterable[tuple[int, int]]
) -> tuple[Algorithm, ...]:
    """Return those of some algorithms that the kernel has.

    ``errors`` are pairs of a position in ``rows`` and the errno of its probe.
    """
    missing = {position for position, number in errors if number == errno.ENOSYS}
    return tuple(row for position, row in enumerate(rows) if position not in missing)
