"""The algorithms of an SA with their keys: ``-E aes-cbc 0x... -A hmac-sha1 0x...``."""

from __future__ import annotations

from kamexfrm.algorithms import Algorithm, Kind, by_name, of_another_system, spellings, written_icv
from kamexfrm.model.association import Key
from kamexfrm.pfkey.saflags import (
    SADB_X_EXT_DERIV,
    SADB_X_EXT_IV4B,
    SADB_X_EXT_OLD,
    SADB_X_EXT_RAWCPI,
)
from kamexfrm.setkey.lexer import Words, is_hexadecimal, is_name
from kamexfrm.setkey.sa_options import SA_OPTIONS, SaOptions
from kamexfrm.setkey.statements import LanguageWarning

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import NoReturn

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
            options.authentication = _authentication(words, options, word)
    elif words.skip("-A"):
        options.authentication = _authentication(words, options, word)
        if words.words[words.at] == "-E":
            words.unexpected("-E comes before -A")
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
    bits = 0
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
        algorithm, bits = _of_another_system(words, name)
    words.at = at + 1
    key = _key(words, options, algorithm)
    if bits and len(key.material) * 8 - algorithm.key_bits[0] + 128 != bits:
        text = f"the key decides: it is not of {bits} bits"
        words.warnings += (LanguageWarning(text, name, words.place(at)),)  # not masked
    return key


def _of_another_system(words: Words, name: str) -> tuple[Algorithm, int]:
    kinds = (Kind.ENCRYPTION, Kind.AEAD)
    found = next(filter(None, (of_another_system(kind, name) for kind in kinds)), None)
    if found is None:
        from kamexfrm.setkey.foreign_algorithms import meant_encryption  # for errors only

        among = (*_workable(Kind.ENCRYPTION), *_workable(Kind.AEAD), *_DES_FLAVOURS)
        _unknown(words, meant_encryption(_as_written(words)), among)
    return found


def _as_written(words: Words) -> str:
    """Return the next word with what is no part of a word of the language, as in ``cbc(aes)``."""
    rest = words.text[words.offset(words.at) :].split(maxsplit=1)
    return rest[0].rstrip(";") if rest else ""


def _unknown(words: Words, meant: str, among: tuple[str, ...]) -> NoReturn:
    """Raise ScriptError about the next word, which is no algorithm; its hint leads to one."""
    from kamexfrm import spelling  # loads difflib

    word = words.words[words.at]
    head, underscore, _ = word.partition("_")
    if not is_name(head):
        words.unexpected()
    near = (spelling.did_you_mean((meant,)),) if meant else spelling.hints(word, among)
    hints = near or ("setkey(8) has a table of all algorithms",)
    words.fail("syntax error", token=head if underscore else None, hints=hints)


def _workable(kind: Kind) -> tuple[str, ...]:
    """Return the names of a kind that Linux has, to be suggested."""
    return tuple(name for name in spellings(kind) if (row := by_name(kind, name)) and row.kernel)


#: What there is in place of what Linux has not.
_INSTEAD = {
    "md5": "use hmac-md5",
    "sha": "use hmac-sha1",
    "camellia-ctr": "use camellia-cbc or aes-ctr",
}


def _authentication(words: Words, options: SaOptions, word: str) -> Key:
    name = words.words[words.at]
    algorithm = by_name(Kind.AUTHENTICATION, name)
    if algorithm is None:
        from kamexfrm.setkey.foreign_algorithms import meant_authentication  # for errors only

        meant = meant_authentication(_as_written(words))
        _unknown(words, meant, _workable(Kind.AUTHENTICATION))
    if (name == _TCP_MD5) != (word == "tcp"):
        words.fail("algorithm mismatched", hints=("tcp-md5 and the protocol tcp go together",))
    words.at += 1
    return _key(words, options, algorithm)


def _key(words: Words, options: SaOptions, algorithm: Algorithm) -> Key:
    """Step over the key of an algorithm, which must be of a length that the kernel registers."""
    text = words.words[words.at]
    if not algorithm.takes_key:
        if text in ('""', "0x"):  # an empty key: FreeBSD's manual, and scripts that read -D
            words.at += 1
        elif is_hexadecimal(text) or text[:1] == '"':
            words.warn(f"{algorithm.name} takes no key: this one is ignored", words.at - 1)
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
        at = words.at - 1
        text = f"Linux has no {words.words[at]}: {_INSTEAD[algorithm.name]}"
        options.refusal = LanguageWarning(text, words.shown(at), words.place(at))
        words.at += 1
        return Key(algorithm, material)
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
