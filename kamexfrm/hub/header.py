"""What send(2) itself refuses on a PF_KEY socket: messages that cannot be answered."""

import errno
import struct

from kamexfrm.errors import invalid
from kamexfrm.pfkey import PF_KEY_V2, SadbType

#: The longest request that Linux's AF_KEY takes with the usual send buffer.
MESSAGE_BYTES = 212_960

#: Struct sadb_msg: version, type, errno, satype, length in words, reserved, seq, pid.
SADB_MSG = struct.Struct("=BBBBHHII")

_LAST_TYPE = SadbType.SADB_X_MIGRATE


def check_header(data: bytes) -> None:
    """Refuse what cannot be answered (Linux af_key.c pfkey_get_base_msg()).

    Raises KamexfrmError: EMSGSIZE where a message is not as long as its header says, EINVAL for a
    wrong version or type. An incomplete word at its end is answered with EINVAL, not refused.
    """
    size = len(data)
    if not SADB_MSG.size <= size <= MESSAGE_BYTES:
        raise invalid(f"a message of {size} bytes", errno.EMSGSIZE)
    version, type_, _, _, words, reserved, _, _ = SADB_MSG.unpack_from(data)
    if version != PF_KEY_V2 or reserved or not 0 < type_ <= _LAST_TYPE:
        raise invalid("no header of PF_KEY version 2")
    if words != size // 8:
        text = f"sadb_msg_len says {words * 8} bytes, the message has {size}"
        raise invalid(text, errno.EMSGSIZE)
