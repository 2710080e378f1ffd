"""The fast path for plain ``add`` lines; see ``fast_parser``."""

import _socket as socket  # the module socket takes as long to load as a command to run
from functools import lru_cache

from kamexfrm.algorithms import Kind, by_name, written_icv
from kamexfrm.errors import Place
from kamexfrm.lazy import expression
from kamexfrm.model.association import NO_FLAGS, Key, Lifetime, SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.model.policy_text import SA_MODES
from kamexfrm.net import AF_INET, AF_INET6, Address
from kamexfrm.pfkey.saflags import SADB_X_EXT_CYCSEQ
from kamexfrm.setkey.lexer import PLAIN_ADDRESS, PLAIN_END
from kamexfrm.setkey.statements import Add

_ADD = expression(
    rf"([ \t]*)add[ \t]+{PLAIN_ADDRESS}[ \t]+{PLAIN_ADDRESS}[ \t]+(esp|ah)[ \t]+"
    r"(0x[0-9A-Fa-f]{1,8}|[0-9]{1,9})"
    r"((?:[ \t]+-(?:m[ \t]+(?:transport|tunnel|any)|(?:[ur]|[lb][hs])[ \t]+[0-9]{1,9}))*)"
    r"(?:[ \t]+-E[ \t]+([a-z0-9-]+)[ \t]+0x([0-9A-Fa-f]+))?"
    rf"(?:[ \t]+-A[ \t]+([a-z0-9-]+)[ \t]+0x([0-9A-Fa-f]+))?{PLAIN_END}"
)

#: Makes a NamedTuple from its fields in half the time of the class's own constructor.
_make = tuple.__new__
_inet_pton = socket.inet_pton

_PROTOCOLS = {"esp": IpsecProtocol.ESP, "ah": IpsecProtocol.AH}


def plain_add(text: str, at: int, file: str, line: int, indent: int) -> Add | None:
    """Return the statement of the rest of a line, or None for anything that is not plain."""
    match = _ADD.match(text, at)
    return _add(match.groups(), file, line, indent) if match else None


def _add(groups: tuple[str, ...], file: str, line: int, indent: int) -> Add | None:
    (blank, source, destination, protocol, spi, options, cipher, cipher_key, hash_, hash_key) = (
        groups
    )
    encryption = authentication = None
    if cipher:
        encryption = _plain_key(cipher, cipher_key, _CIPHERS)
        if encryption is None:
            return None
    if hash_:
        authentication = _plain_key(hash_, hash_key, _HASHES)
        if authentication is None:
            return None
    if not (cipher or hash_):
        return None
    family = AF_INET6 if ":" in source else AF_INET
    mode, reqid, replay, hard, soft = _plain_options(options)
    try:
        association = _make(
            SecurityAssociation,
            (
                _make(Address, (family, _inet_pton(family, source))),
                _make(Address, (family, _inet_pton(family, destination))),
                _PROTOCOLS[protocol],
                int(spi, 16 if spi[:2] == "0x" else 10),
                mode,
                reqid,
                replay,
                encryption,
                authentication,
                None,
                hard,
                soft,
                None,
                None,
                False,
                NO_FLAGS,
                None,
            ),
        )
    except OSError:
        return None
    place = _make(Place, (file, line, indent + len(blank) + 1))
    return _make(Add, (place, line, protocol, (association,), SADB_X_EXT_CYCSEQ, 0, (), None))


_CIPHERS = (Kind.ENCRYPTION, Kind.AEAD)
_HASHES = (Kind.AUTHENTICATION,)


def _plain_key(name: str, digits: str, kinds: tuple[Kind, ...]) -> Key | None:
    algorithm = by_name(kinds[0], name)
    if algorithm is None and len(kinds) > 1:
        algorithm = by_name(kinds[1], name)
    if algorithm is None or not algorithm.kernel or not algorithm.takes_key or len(digits) % 2:
        return None
    if not algorithm.accepts(len(digits) * 4):
        return None
    return _make(Key, (algorithm, bytes.fromhex(digits), written_icv(algorithm), ""))


@lru_cache(maxsize=256)
def _plain_options(text: str) -> tuple[Mode, int, int, Lifetime, Lifetime]:
    """Return mode, reqid, replay window, hard and soft lifetime; of repeated ones the last."""
    words = text.split()
    values = dict(zip(words[::2], words[1::2], strict=True))
    number = {option: int(values.get(option, "0")) for option in ("-u", "-r", *_LIFETIMES)}
    return (
        SA_MODES[values.get("-m", "any")],
        number["-u"],
        number["-r"],
        Lifetime(0, number["-bh"], number["-lh"], 0),
        Lifetime(0, number["-bs"], number["-ls"], 0),
    )


_LIFETIMES = ("-lh", "-ls", "-bh", "-bs")
