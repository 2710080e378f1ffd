"""Choosing cases by an expression over their names, as pytest's -k does.

A word is in the name of a case, in whatever case its letters are; with ``*`` or ``?`` it is a
pattern for the whole name. ``and``, ``or``, ``not`` and parentheses combine words.
"""

import fnmatch
import re
from collections.abc import Callable

from kamexfrm.rig.scenario.reading.table import ScenarioError

_TOKEN = re.compile(r"[()]|[^\s()]+")
_OPERATORS = frozenset({"and", "or", "not", "(", ")", ""})

Matches = Callable[[str], bool]


def selection(text: str) -> Matches:
    """Return whether a name is selected, as a function; an empty text selects all names.

    Raises ScenarioError for what is no expression.
    """
    tokens = _TOKEN.findall(text)
    if not tokens:
        return lambda _: True
    reader = _Reader(text, tokens)
    matches = reader.alternatives()
    if reader.next:
        raise reader.error("and, or or the end is wanted")
    return matches


class _Reader:
    """Reads an expression by recursive descent."""

    def __init__(self, text: str, tokens: list[str]) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0

    @property
    def next(self) -> str:
        """The next token, empty at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def error(self, wanted: str) -> ScenarioError:
        """Return the error about the next token."""
        where = f"before {self.next!r}" if self.next else "at the end"
        return ScenarioError(f"-k {self._text!r}: {wanted} {where}")

    def _take(self, token: str) -> bool:
        found = self.next == token
        self._at += found
        return found

    def alternatives(self) -> Matches:
        """Read terms with ``or`` between them."""
        terms = [self._terms()]
        while self._take("or"):
            terms.append(self._terms())
        return lambda name: any(term(name) for term in terms)

    def _terms(self) -> Matches:
        factors = [self._factor()]
        while self._take("and"):
            factors.append(self._factor())
        return lambda name: all(factor(name) for factor in factors)

    def _factor(self) -> Matches:
        if self._take("not"):
            factor = self._factor()
            return lambda name: not factor(name)
        if self._take("("):
            inner = self.alternatives()
            if not self._take(")"):
                raise self.error("a ) is wanted")
            return inner
        word = self.next
        if word in _OPERATORS:
            raise self.error("a word is wanted")
        self._at += 1
        return _matches_word(word.lower())


def _matches_word(word: str) -> Matches:
    """Return whether a name has a word in it, or is as a pattern says."""
    if "*" in word or "?" in word:
        return lambda name: word in name.lower() or fnmatch.fnmatchcase(name.lower(), word)
    return lambda name: word in name.lower()
