"""REGISTER: which algorithms the running kernel has, and the message that lists them. Pure.

The kernel is asked by requests that it has to refuse: each adds an SA of a mode that IPv4 has not
(route optimization), which Linux looks at after the algorithm (xfrm_user.c xfrm_state_construct()).
ENOSYS says that it has no such algorithm. Nothing is added, but modules are loaded, as by the
REGISTER of Linux's AF_KEY.

The same way the kernel can be had to load what SAs need, before the first of them is in a hurry.
"""

import errno
from collections.abc import Iterable, Sequence
from typing import Any

from kamexfrm.algorithms import Algorithm, Kind, by_number
from kamexfrm.net import AF_INET, IPPROTO_AH, IPPROTO_COMP, IPPROTO_ESP, Address
from kamexfrm.pfkey import Algorithm as Offered
from kamexfrm.pfkey import SadbMsg, SupportedAuth, SupportedEncrypt
from kamexfrm.translate.pfkey.sa_to_message import AEAD_NUMBERS
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

#: What REGISTER can name by PF_KEY's number, in Linux's order (xfrm_algo.c), then what is new.
_ORDER = (
    (Kind.AUTHENTICATION, (251, 2, 3, 5, 6, 7, 8, 9, 10)),
    (Kind.ENCRYPTION, (11, 2, 3, 6, 7, 12, 252, 22, 253, 13)),
    (Kind.AEAD, tuple(map(int, AEAD_NUMBERS))),
)
NAMEABLE = tuple(
    row for kind, numbers in _ORDER for number in numbers if (row := by_number(kind, number))
)

#: Linux lists 8 bytes for every cipher that has an IV, and nobody computes with it.
_IV_BYTES = 8

_SOMEBODY = Address.parse("192.0.2.1")
_PROBE = State(
    Selector(_SOMEBODY, _SOMEBODY, family=AF_INET),
    _SOMEBODY,
    0x100,
    IPPROTO_ESP,
    _SOMEBODY,
    family=AF_INET,
    mode=XFRM_MODE_ROUTEOPTIMIZATION,
)


def probe(row: Algorithm) -> Operation:
    """Return the operation whose refusal says whether the kernel has an algorithm."""
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
    """Return operations for an SA of each protocol and family, none of which the kernel grants.

    They want an encapsulation that does not exist. ESP looks at that last of all, AH and IPComp at
    once (Linux esp4.c esp_init_state() and its kin); the modules are loaded by then.
    """
    operations = []
    for somebody in (_SOMEBODY, Address.parse("2001:db8::1")):
        base = _PROBE._replace(
            selector=Selector(somebody, somebody, family=somebody.family),
            destination=somebody,
            source=somebody,
            family=somebody.family,
            mode=XFRM_MODE_TRANSPORT,
            encap=Encap(_NO_ENCAP, 0, 0, somebody),
        )
        for algorithms in _FIRST_ALGORITHMS:
            state = base._replace(**algorithms)
            operations.append(Operation(XfrmMsg.NEWSA, encode_state(state)))
    return operations


def found(rows: Sequence[Algorithm], refusals: Iterable[tuple[int, int]]) -> tuple[Algorithm, ...]:
    """Return those of some algorithms that the kernel has.

    ``refusals`` are pairs of a position in ``rows`` and the errno with which its probe was refused.
    """
    missing = {position for position, number in refusals if number == errno.ENOSYS}
    return tuple(row for position, row in enumerate(rows) if position not in missing)


def _offered(rows: Iterable[Algorithm]) -> tuple[Offered, ...]:
    return tuple(
        Offered(row.number, _IV_BYTES if row.iv_bits else 0, row.key_bits[0], row.key_bits[1])
        for row in rows
    )


def supported(request: SadbMsg, rows: Iterable[Algorithm]) -> SadbMsg:
    """Return the reply to a REGISTER: both lists, whatever the satype (as racoon needs it)."""
    rows = tuple(rows)
    auth = SupportedAuth(_offered(r for r in rows if r.kind is Kind.AUTHENTICATION))
    encrypt = SupportedEncrypt(_offered(r for r in rows if r.kind is not Kind.AUTHENTICATION))
    lists = (auth, encrypt)
    return SadbMsg(request.type, request.satype, request.seq, request.pid, extensions=lists)
