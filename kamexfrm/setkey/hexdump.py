"""PF_KEY messages as rows of bytes, the way setkey -H shows them, with keys masked."""

from kamexfrm import pfkey

_BASE = 16
_KEY_HEAD = 8
_ROW = 16


def format_hexdump(message: pfkey.SadbMsg, dialect: pfkey.Dialect = pfkey.LINUX) -> str:
    """Return the rows of a message: the offset of the first byte, then up to 16 bytes."""
    octets = [f"{octet:02x}" for octet in pfkey.encode(message, dialect)]
    at = _BASE
    while message.inner is not None:
        message = message.inner
        at += _BASE
    for extension in message.extensions:
        if isinstance(extension, pfkey.KeyExtension):
            # Differs from ipsec-tools: it prints the key. Keys are for setkey -D alone to print.
            start, size = at + _KEY_HEAD, len(extension.key.data)
            octets[start : start + size] = [".."] * size
        at += len(pfkey.encode_extension(extension, dialect))
    rows = (octets[start : start + _ROW] for start in range(0, len(octets), _ROW))
    return "".join(f"{number * _ROW:08x}: {' '.join(row)} \n" for number, row in enumerate(rows))
