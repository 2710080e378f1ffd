"""REGISTER: the algorithms that PF_KEY can name, and the reply that lists the kernel's. Pure.

``translate.xfrm.probe`` finds out which of them the kernel has.
"""

from collections.abc import Iterable

from kamexfrm.algorithms import Algorithm, Kind, by_number
from kamexfrm.pfkey import Algorithm as Offered
from kamexfrm.pfkey import SadbMsg, SupportedAuth, SupportedEncrypt
from kamexfrm.translate.pfkey.sa_to_message import AEAD_NUMBERS

#: What REGISTER can name by PF_KEY's number, in Linux's order (xfrm_algo.c), then what is new.
_ORDER = (
    (Kind.AUTHENTICATION, (251, 2, 3, 5, 6, 7, 8, 9, 10)),
    (Kind.ENCRYPTION, (11, 2, 3, 6, 7, 12, 252, 22, 253, 13)),
    (Kind.AEAD, tuple(map(int, AEAD_NUMBERS))),
)
NAMEABLE = tuple(
    row for kind, numbers in _ORDER for number in numbers if (row := by_number(kind, number))
)

#: Linux lists 8 bytes for every cipher that has an IV; no program is known to use it.
_IV_BYTES = 8


def _offered(rows: Iterable[Algorithm]) -> tuple[Offered, ...]:
    return tuple(
        Offered(row.number, _IV_BYTES if row.iv_bits else 0, row.key_bits[0], row.key_bits[1])
        for row in rows
    )


def supported(request: SadbMsg, rows: Iterable[Algorithm]) -> SadbMsg:
    """Return the reply to a REGISTER: both lists for every satype, as racoon needs it."""
    rows = tuple(rows)
    auth = SupportedAuth(_offered(r for r in rows if r.kind is Kind.AUTHENTICATION))
    encrypt = SupportedEncrypt(_offered(r for r in rows if r.kind is not Kind.AUTHENTICATION))
    lists = (auth, encrypt)
    return SadbMsg(request.type, request.satype, request.seq, request.pid, extensions=lists)
