"""From the text of a script to the words of one statement, and back from a word to its place.

A statement is cut out and split into words by two compiled expressions; where a word stands is
computed for errors only.
"""

from __future__ import annotations

from kamexfrm.errors import Place
from kamexfrm.lazy import expression
from kamexfrm.model.policy_text import decimal, is_decimal
from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.statements import PROTOCOL_WORDS, LanguageWarning

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import NoReturn

#: A number sign that belongs to a level of a policy: ``//unique#70000``.
_NUMBER_SIGN = r"(?<=[/\s]unique)#(?=[0-9])|(?<=[/\s]use)#(?=[0-9])"

# Atomic groups where a possessive repetition would do: Python 3.11.2's never ends on some texts.
_SKIP = r"(?>(?:[ \t\r\n]+|\\\r?\n|#[^\n]*)*)"

#: White space, comments and continued lines.
SKIP = expression(_SKIP)

#: A whole statement with its semicolon. No match means that the text ends before it does.
_STATEMENT = rf'(?>(?:[^"#;]+|"[^"]*"|{_NUMBER_SIGN}|#[^\n]*)*);'
STATEMENT = expression(_STATEMENT)

#: As many whole statements as there are, up to the last that ends its line, and comments.
WHOLE_LINES = expression(rf"(?:{_STATEMENT})*(?:[ \t]*(?:#[^\n]*)?\r?\n)+")

#: One word after what may be skipped. ``-P`` and the policy text are one word; the last
#: alternatives are a character that belongs to no word, and the end.
WORD = expression(
    "(?s)" + _SKIP + rf"(-P(?>(?:[A-Za-z0-9:.%_+/ \t\r\n\[\]-]+|\\\r?\n|{_NUMBER_SIGN}|#[^\n]*)*)"
    r'|"[^"]*"'
    r"|-(?:(?:if_id|output-mark|mark|dev|sel|dir|replay|oseq|iseq|ibits"
    r"|nat-keepalive-interval|pcpu-num)(?![A-Za-z0-9:%._-])"
    r"|natt_mtu|natt|esn|hwif|ctx|[lb][hs]|[46n]+|[ACERfmru])"
    r"|(?:spi|spid|reqid)=[0-9A-Fa-fxX]+(?:\(0[xX][0-9A-Fa-f]+\))?|mode=[a-z0-9]+"
    r"|[0-9]*,[0-9,]*|[A-Za-z0-9:_][A-Za-z0-9:%._-]*|.|\Z)",
)

#: The words of one character; any other single character is none.
_SINGLE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:,/[];")
#: The words that begin a statement.
COMMANDS = (
    *("add", "update", "getspi", "get", "delete", "deleteall", "flush", "dump"),
    *("exit", "quit", "bye"),
    *("spdadd", "spdupdate", "spddelete", "spdget", "spddump", "spdflush"),
)

#: Words that cannot be the name of a host.
KEYWORDS = frozenset((*COMMANDS, *filter(None, PROTOCOL_WORDS), "any", "tagged"))

#: Keywords that name an upper protocol too; ipsec-tools knows the first two only.
UPPER_KEYWORDS = frozenset(("any", "tcp", "esp", "ah", "ipcomp"))

#: A numeric address of a plain line, and what ends such a line.
PLAIN_ADDRESS = r"([0-9A-Fa-f]*[.:][0-9A-Fa-f.:]*)"
PLAIN_END = r"[ \t]*;[ \t]*(?:#[^\n]*)?\r?\n"

_NAME = expression(r"[A-Za-z0-9:][A-Za-z0-9:%.-]*")
_HEX = expression(r"0[xX][0-9A-Fa-f]+")


def complete_length(text: str) -> int:
    """Return how much of an interactive input is whole statements, in characters.

    The rest is the beginning of a statement that has no semicolon yet, or nothing.
    """
    end = 0
    while match := STATEMENT.match(text, end):
        end = match.end()
    return len(text) if SKIP.fullmatch(text, end) else end


def is_name(word: str) -> bool:
    """Whether a word is of the class that names, addresses and numbers belong to."""
    return bool(_NAME.fullmatch(word))


def is_hexadecimal(word: str) -> bool:
    """Whether a word is a hexadecimal number with its ``0x``."""
    return _HEX.fullmatch(word) is not None


class Words:
    """The words of one statement and the next one's index, ``at``.

    ``words`` ends with an empty word. ``line`` and ``column`` are the place of the first
    character, ``end_line`` is the line of the last.
    """

    __slots__ = ("at", "column", "end_line", "file", "line", "text", "warnings", "words")

    def __init__(self, text: str, file: str, line: int, column: int) -> None:
        self.text = text
        self.file = file
        self.line = line
        self.column = column
        self.end_line = line + text.count("\n")
        self.words: list[str] = WORD.findall(text)
        self.at = 0
        self.warnings: tuple[LanguageWarning, ...] = ()

    def take(self) -> str:
        """Return the next word and step over it."""
        word = self.words[self.at]
        self.at += 1
        return word

    def skip(self, word: str) -> bool:
        """Step over the next word if it is this one; return whether it was."""
        if self.words[self.at] != word:
            return False
        self.at += 1
        return True

    def expect(self, word: str) -> None:
        """Step over this word, which must come next."""
        if self.words[self.at] != word:
            self.unexpected()
        self.at += 1

    def number(self, limit: int, what: str) -> int:
        """Step over a decimal number and return it; ``what`` names it where it is too big."""
        word = self.words[self.at]
        if not is_decimal(word):
            self.unexpected()
        value = decimal(word, limit)
        if value is None:
            self.fail(f"{what} too big", hints=(f"the limit is {limit}",))
        self.at += 1
        return value

    def quoted(self, hint: str) -> bytes:
        """Step over a text in quotation marks and return the bytes between them."""
        word = self.words[self.at]
        if len(word) < 2 or word[0] != '"':
            self.unexpected(hint)
        try:
            content = word[1:-1].encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            self.fail("Syntax error", hints=("a text with half a character",), fatal=True)
        self.at += 1
        return content

    def place(self, at: int = 0) -> Place:
        """Return where the word numbered ``at`` stands."""
        return self._place_of(self.offset(at)) if at else Place(self.file, self.line, self.column)

    def shown(self, at: int) -> str:
        """Return a word as setkey names it, with the digits of a key masked."""
        word = self.words[at]
        if word.startswith("-P"):
            return "-P"
        if self._is_key(at) and len(word) > 1:
            if word[0] == '"':
                return "*" * (len(word) - 2)
            return "0x" + "*" * (len(word) - 2) if word[:1] == "0" else "*" * len(word)
        if len(word) == 1 and not word.isalnum():
            return word
        from kamexfrm.setkey.masking import masked

        start = self.offset(at)
        return masked(self.text)[start : start + len(word)]

    def warn(self, text: str, at: int) -> None:
        """Add a warning about a word."""
        self.warnings += (LanguageWarning(text, self.shown(at), self.place(at)),)

    def unexpected(self, *hints: str, among: tuple[str, ...] = ()) -> NoReturn:
        """Raise ScriptError about the next word, which the grammar does not allow here."""
        word = self.words[self.at]
        if not word:
            self.fail("syntax error", hints=(*hints, "the text ends before the statement's `;'"))
        if len(word) == 1 and word not in _SINGLE:
            self._illegal(word)
        head, underscore, _ = word.partition("_") if word[0] not in '"-' else (word, "", "")
        if underscore and not (among and head):
            self._illegal(word)
        if among:
            from kamexfrm import spelling  # loads difflib

            shown = self.text[self.offset(self.at) :].split(maxsplit=1)[0]
            hints += spelling.hints(shown, among)
        if word in COMMANDS and self.at:
            hints += ("is there a `;' missing before it?",)
        self.fail("syntax error", token=head if underscore else None, hints=hints)

    def _illegal(self, word: str) -> NoReturn:
        hints: tuple[str, ...] = ()
        if word == '"':
            hints = ("the quotation mark has no partner",)
        elif word == "-" and self.words[self.at + 1]:
            hints = (f"there is no option -{self.shown(self.at + 1)[:20]}",)
        elif word == "\\":
            hints = ("a backslash must be the last character of its line: a blank follows it",)
        if len(word) > 1:  # only the name of a device may have an underscore
            offset = self.offset(self.at) + word.index("_")
            self.fail("Syntax error", token=word[word.index("_")], offset=offset, fatal=True)
        self.fail("Syntax error", hints=hints, fatal=True)

    def fail(
        self,
        reason: str,
        *,
        at: int | None = None,
        token: str | None = None,
        offset: int | None = None,
        before: tuple[str, ...] = (),
        hints: tuple[str, ...] = (),
        fatal: bool = False,
    ) -> NoReturn:
        """Raise ScriptError about the word numbered ``at``, by default the next one.

        ``token`` is the word that setkey would name, where that is another one, and ``offset`` the
        place of the culprit in the statement's text, where it is not a word's first character.
        """
        from kamexfrm.setkey.masking import masked
        from kamexfrm.setkey.odd_characters import odd_character_in

        odd = odd_character_in(self.text, masked(self.text))
        hints = (odd,) if odd else hints  # whatever else is wrong follows from it
        at = self.at if at is None else at
        token = self.shown(at) if token is None else masked(token)
        if offset is None:
            offset = self.offset(at)
        place = self._place_of(offset)
        line, shift = self._source(offset)
        raise ScriptError(
            reason,
            token=token,  # such as a policy over several lines
            place=place,
            hints=hints,
            before=before if masked(self.text) == self.text else tuple(map(masked, before)),
            fatal=fatal,
            source=line,
            caret=shift,
        )

    def offset(self, at: int) -> int:
        """Return where the word numbered ``at`` begins; for the end, where the last word ends."""
        end = 0
        for index, match in enumerate(WORD.finditer(self.text)):
            if not match[1]:
                break
            if index == at:
                return match.start(1)
            end = match.end(1)
        return end

    def _place_of(self, offset: int) -> Place:
        start = self.text.rfind("\n", 0, offset) + 1
        line = self.line + self.text.count("\n", 0, offset)
        return Place(self.file, line, offset - start + (1 if start else self.column))

    def _source(self, offset: int) -> tuple[str, int]:
        """Return the line with this offset, keys masked, and the offset in it."""
        from kamexfrm.setkey.masking import masked  # with difflib, for errors only

        text = masked(self.text)
        start = text.rfind("\n", 0, offset) + 1
        end = text.find("\n", offset)
        return text[start : end if end >= 0 else len(text)], offset - start

    def _is_key(self, at: int) -> bool:
        """Whether a word is a key, or stands where one should and may be one, malformed."""
        word = self.words[at]
        if word[:1] == '"':
            return len(word) > 1
        if is_hexadecimal(word) and len(word) > 10:
            return True
        return at > 1 and self.words[at - 2] in ("-E", "-A") and word[:1] not in ("-", ";", "")
