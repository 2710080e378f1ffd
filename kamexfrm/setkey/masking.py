"""Keys in what a message repeats of a script: asterisks stand for all that may belong to one.

A key may be badly written, with blanks or colons in it, without quotation marks or ``0x``. So what
follows ``-E``, ``-A`` or the name of an algorithm is masked, but for words of the language.
"""

import re

from kamexfrm.algorithms import Kind, spellings
from kamexfrm.spelling import nearest

_NAMES = frozenset(
    (*spellings(Kind.ENCRYPTION), *spellings(Kind.AUTHENTICATION), *spellings(Kind.AEAD))
) | {"des-deriv", "des-32iv", "simple"}

#: Words that are shown after an algorithm, and options that a number follows.
_NUMBERED = frozenset(("-u", "-r", "-lh", "-ls", "-bh", "-bs", "-natt_mtu"))
_SHOWN = _NAMES | _NUMBERED
_SHOWN |= {"-E", "-A", "-C", "-R", "-P", "-m", "-f", "-ctx", "-natt", "-esn", "-hwif"}
_SHOWN |= {"transport", "tunnel", "any"}

#: Where keys begin: after an option, or an algorithm that has lost its option.
_BEGIN = re.compile(
    r"(?<![A-Za-z0-9_])-[EA]|(?<![\w.-])(?:"
    + "|".join(re.escape(name) for name in sorted(_NAMES, key=len, reverse=True))
    + r")(?![\w.-])"
)

#: A text in quotation marks, the second one perhaps missing; or what stands between blanks.
_PIECE = re.compile(r'"[^"]*(?:"|\Z)|[^\s";]+|;')
_LIKE = re.compile(r"[a-z0-9]+[-_](?:cbc|ctr|gcm|ccm|ecb|mac|md5|sha[0-9]*)(?:[-_][0-9]+)?\Z")
_NUMBER = re.compile(r"[0-9]{1,10}\Z")

#: What is masked anywhere: texts in quotation marks, a lone mark with all behind it, long numbers.
_ANYWHERE = re.compile(
    r'"[^"]*(?:"|\Z)'
    r"|0[xX](?:[0-9A-Fa-f]{9,}|[0-9A-Fa-f]+[+:_'.,-][^\s;]*)"
    r"|(?<![\w:.])[0-9A-Fa-f]{16,}(?![\w.])"
)


def masked(text: str) -> str:
    """Return a text of the same length without keys."""
    pieces: list[str] = []
    at = 0
    while begin := _BEGIN.search(text, at):
        pieces.append(_anywhere(text[at : begin.start()]))
        if '"' in text[at : begin.start()].replace('""', "") and pieces[-1].endswith("*"):
            end = _closing(text, at, begin.start())
            if end > begin.start():  # it stands in quotation marks
                pieces.append(_stars(text[begin.start() : end]))
                at = end
                continue
        pieces.append(begin[0])
        end = _mask_keys(text, begin.end(), pieces, begin[0])
        at = end
    pieces.append(_anywhere(text[at:]))
    return "".join(pieces)


def _closing(text: str, at: int, begin: int) -> int:
    """Return where the quotation mark that is open at ``begin`` is closed; 0 if none is open."""
    if text.count('"', at, begin) % 2 == 0:
        return 0
    return (text.find('"', begin) + 1) or len(text)


def _mask_keys(text: str, at: int, pieces: list[str], before: str) -> int:
    """Add the text from ``at`` to the end of its statement, keys masked; return that end."""
    for piece in _PIECE.finditer(text, at):
        word = piece[0]
        pieces.append(text[at : piece.start()])
        at = piece.end()
        if (
            word == ";"
            or word in _SHOWN
            or (before in _NUMBERED and _NUMBER.match(word))
            or (before in ("-E", "-A") and _is_misspelt(word))
        ):
            pieces.append(word)
        else:
            pieces.append(_stars(word))
        if word == ";":
            return at
        before = word
    pieces.append(text[at:])
    return len(text)


def _is_misspelt(word: str) -> bool:
    """Whether a word is near the name of an algorithm, or built like one."""
    if len(word) > 30 or word[0] == '"':
        return False
    return bool(_LIKE.match(word)) or bool(nearest(word.lower(), _NAMES, 1))


def _anywhere(text: str) -> str:
    return _ANYWHERE.sub(lambda found: _stars(found[0]), text)


def _stars(text: str) -> str:
    return re.sub(r"[^\n]", "*", text)
