"""The algorithms of an SA with their keys: ``-E aes-cbc 0x... -A hmac-sha1 0x...``."""

from kamexfrm.algorithms import Algorithm, Kind, by_name, spellings, written_icv
from kamexfrm.model.association import Key
from kamexfrm.pfkey.saflags import (
    SADB_X_EXT_DERIV,
    SADB_X_EXT_IV4B,
    SADB_X_EXT_OLD,
    SADB_X_EXT_RAWCPI,
)
from kamexfrm.setkey.lexer import Words, is_hexadecimal
from kamexfrm.setkey.sa_options import SA_OPTIONS, SaOptions

#: Flavours of DES that are flags for the kernel: word, flag, whether it wants esp-old.
_DES_FLAVOURS = {"des-deriv": (SADB_X_EXT_DERIV, False), "des-32iv": (SADB_X_EXT_IV4B, True)}

#: TCP-MD5 is the one algorithm of the protocol word ``tcp``.
_TCP_MD5 = "tcp-md5"


def read_algorithms(words: Words, options: SaOptions, word: str) -> None:
    """Step over ``-E encryption [-A authentication]``, ``-A authentication`` or ``-C compression``.

    ``word`` is the protocol. Nothing may follow but ``-R`` after ``-C``.
    """
    if words.skip("-E"):
        options.encryption = _encryption(words, options)
        if words.skip("-A"):
            options.authentication = _authentication(words, word)
    elif words.skip("-A"):
        options.authentication = _authentication(words, word)
    elif words.skip("-C"):
        algorithm = by_name(Kind.COMPRESSION, words.words[words.at])
        if algorithm is None:
            words.unexpected(among=spellings(Kind.COMPRESSION))
        words.at += 1
        options.compression = Key(algorithm, b"")
        if words.skip("-R"):
            options.sadb_flags |= SADB_X_EXT_RAWCPI
    else:
        words.unexpected("the algorithm comes last: -E, -A or -C")
    if words.words[words.at] in SA_OPTIONS:
        words.unexpected("options come before the algorithms")


def _encryption(words: Words, options: SaOptions) -> Key:
    at = words.at
    name = words.words[at]
    algorithm = by_name(Kind.ENCRYPTION, name) or by_name(Kind.AEAD, name)
    flavour = _DES_FLAVOURS.get(name)
    if flavour is not None:
        algorithm = by_name(Kind.ENCRYPTION, "des-cbc")
        if bool(options.sadb_flags & SADB_X_EXT_OLD) is not flavour[1]:
            words.at += 1
            if words.words[words.at][:1] not in ('"', "0"):
                words.unexpected()
            hint = f"{name} goes with {'esp-old' if flavour[1] else 'esp'} only"
            words.fail("algorithm mismatched", hints=(hint,))
        options.sadb_flags |= flavour[0]
    elif name == "simple":
        algorithm = by_name(Kind.ENCRYPTION, "null")
        words.warn("WARNING: obsolete algorithm", at)
    if algorithm is None:
        words.unexpected(among=(*spellings(Kind.ENCRYPTION), *spellings(Kind.AEAD), *_DES_FLAVOURS))
    words.at = at + 1
    return _key(words, algorithm)


def _authentication(words: Words, word: str) -> Key:
    name = words.words[words.at]
    algorithm = by_name(Kind.AUTHENTICATION, name)
    if algorithm is None:
        words.unexpected(among=spellings(Kind.AUTHENTICATION))
    if (name == _TCP_MD5) != (word == "tcp"):
        words.fail("algorithm mismatched", hints=("tcp-md5 and the protocol tcp go together",))
    words.at += 1
    return _key(words, algorithm)


def _key(words: Words, algorithm: Algorithm) -> Key:
    """Step over the key of an algorithm, which must be of a length that the kernel registers."""
    text = words.words[words.at]
    if not algorithm.takes_key:
        if text == '""':  # FreeBSD's manual writes an empty key here
            words.at += 1
        return Key(algorithm, b"", algorithm.icv_bits)
    if len(text) > 1 and text[0] == '"':
        material = words.quoted("")
        words.at -= 1
    elif is_hexadecimal(text):
        material = bytes.fromhex(("0" if len(text) % 2 else "") + text[2:])
    else:
        words.unexpected(f'{algorithm.name} wants a key: 0x and hexadecimal digits, or "text"')
    bits = len(material) * 8
    if not algorithm.kernel and algorithm.name != _TCP_MD5:
        words.fail("Not supported", hints=(f"Linux has no {algorithm.name}",))
    if not algorithm.accepts(bits):
        low, high, _ = algorithm.key_bits
        words.fail(
            "Invalid key length" if algorithm.name != _TCP_MD5 else "",
            before=(f"{bits} {low} {high}",) if algorithm.name != _TCP_MD5 else (),
            hints=(key_length_hint(algorithm, bits),),
        )
    words.at += 1
    return Key(algorithm, material, written_icv(algorithm))


def key_length_hint(algorithm: Algorithm, bits: int) -> str:
    """Return a sentence with the key lengths that an algorithm takes."""
    sizes = algorithm.key_sizes
    if len(sizes) > 4:
        wanted = f"{sizes[0]} to {sizes[-1]} bits"
    else:
        wanted = " or ".join(", ".join(map(str, sizes)).rsplit(", ", 1)) + " bits"
    return f"{algorithm.name} takes a key of {wanted}; this one has {bits}"
