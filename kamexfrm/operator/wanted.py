"""The wanted state from files: what setkey would have made of them in an empty namespace.

Statements that delete or flush take from the list of what is wanted so far; those that read are
passed over.
"""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from kamexfrm.command_line import printable
from kamexfrm.engine.requests import SaAdd, SetKnob, SpdAdd
from kamexfrm.engine.wanted import Wanted
from kamexfrm.errors import KamexfrmError, Place
from kamexfrm.model.association import SaId, SecurityAssociation
from kamexfrm.model.policy import Direction, SecurityContext, Selector
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.errors import ScriptError, format_script_error
from kamexfrm.setkey.hosts import Resolver, system_resolver
from kamexfrm.setkey.parser import Parser
from kamexfrm.setkey.script_file import read_pieces

#: What a saved file says of the time at which it was written, in seconds since the epoch.
SAVED_AT = "# kamexfrm: saved "
_SAVED = re.compile(rf"^{SAVED_AT}([0-9]{{1,12}})$", re.MULTILINE)

#: Characters at the beginning of a file in which that is looked for.
_HEAD = 4096

#: An entry's name: selector, LSM's label, direction.
_Name = tuple[Selector, SecurityContext | None, Direction]


class Problem(NamedTuple):
    """A statement that can be no part of what is wanted: where, why, and lines for people."""

    place: Place
    text: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{printable(self.place.file, '')},{self.place.line}: {self.text}"
        return "\n".join((head, *(f"    {printable(line)}" for line in self.details)))


class WantedError(KamexfrmError):
    """Files of which no wanted state can be made; ``problems`` are all that were found."""

    def __init__(self, problems: Sequence[Problem], text: str = "") -> None:
        super().__init__(text or "\n".join(map(str, problems)))
        self.problems = tuple(problems)


def read_wanted(
    files: Sequence[str],
    variables: str | None = None,
    *,
    warn: Callable[[str], None] = lambda _: None,
    resolve: Resolver = system_resolver,
) -> Wanted:
    """Return what files of setkey, and one of kame-sysctl, want; ``-`` is the standard input.

    ``warn`` gets what setkey would warn of. Raises WantedError, and KamexfrmError for a file that
    cannot be read or a line of variables that says nothing.
    """
    reader = _Reader(warn)
    lookup = cache(resolve)
    for name in files:
        try:
            reader.take(_statements(name, lookup, reader))
        except ScriptError as error:
            text = format_script_error(error).removeprefix("setkey: ").rstrip("\n")
            problems = [Problem(error.place or Place(name, 0), text)]
            raise WantedError(problems, text.replace("\nsetkey: ", "\n")) from None
        except OSError as error:
            text = f"{printable(name, '')}: {error.strerror or os.strerror(error.errno or 0)}"
            raise KamexfrmError(text, errno=error.errno) from None
    if reader.problems:
        raise WantedError(reader.problems)
    return reader.wanted(() if variables is None else read_variables(variables))


def read_variables(path: str) -> tuple[SetKnob, ...]:
    """Return what a file of kame-sysctl writes; raises KamexfrmError with the place."""
    from kamexfrm.sysctl import settings

    found = {}
    for place, text in settings.lines_of(path):
        try:
            knob, value = settings.read_assignment(text)
        except KamexfrmError as error:
            raise KamexfrmError(f"{place}: {error}", errno=error.errno) from None
        found[knob] = SetKnob(knob, value, place)
    return tuple(found.values())


def _statements(name: str, resolve: Resolver, reader: "_Reader") -> Iterator[s.Statement]:
    """Yield a file's statements; raises ScriptError and OSError."""
    if name == "-":
        if sys.stdin is None:  # it was closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        pieces = read_pieces(sys.stdin.buffer)
    else:
        with open(name, "rb", buffering=0) as file:
            pieces = read_pieces(file)
    if saved := _SAVED.search(pieces[0][:_HEAD]):
        reader.moment = int(saved[1])
    line = 1
    for piece in pieces:
        yield from Parser(piece, name, line=line, resolve=resolve)
        line += piece.count("\n")


class _Reader:
    """Carries out statements on a list."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.moment = 0
        self.problems: list[Problem] = []
        self._warn = warn
        self._policies: dict[_Name, SpdAdd] = {}
        self._associations: dict[SaId, tuple[SecurityAssociation, s.Add]] = {}

    def wanted(self, knobs: tuple[SetKnob, ...]) -> Wanted:
        """Return what is wanted now."""
        return Wanted(
            tuple(self._policies.values()),
            tuple(
                SaAdd(sa, cookie=statement.place) for sa, statement in self._associations.values()
            ),
            knobs,
            self.moment,
        )

    def take(self, statements: Iterator[s.Statement]) -> None:
        """Carry out a file."""
        for statement in statements:
            kind = type(statement)
            if kind is s.SpdAdd or kind is s.SpdUpdate:
                self._spd_add(statement, kind is s.SpdUpdate)  # type: ignore[arg-type]  # its kind
            elif not self._take(statement):
                return

    def _take(self, statement: s.Statement) -> bool:
        """Carry out a statement that is no spdadd; false after ``exit``."""
        match statement:
            case s.Add():
                self._add(statement)
            case s.SpdDelete():
                name = (statement.selector, statement.label, statement.direction)
                self._policies.pop(name, None)
            case s.SpdFlush():
                self._policies.clear()
            case s.Delete():
                with suppress(KeyError):
                    del self._associations[statement.id]  # type: ignore[arg-type]  # None is no key
            case s.DeleteAll():
                self._drop(lambda sa: (sa.source, sa.destination) in statement.pairs, statement)
            case s.Flush():
                self._drop(lambda _: True, statement)
            case s.Tagged():
                self._refuse(statement, "Linux has no packet tags of PF")
            case s.Exit():
                return False
        return True

    def _refuse(self, statement: s.Statement, text: str, *details: str) -> None:
        self.problems.append(Problem(statement.place, text, details))

    def _spd_add(self, statement: s.SpdAdd, replaces: bool) -> None:
        policy = statement.policy
        name = (policy.selector, policy.label, policy.direction)
        there = self._policies.get(name)
        if statement.interface:
            self._refuse(statement, f"no IPsec offload to {statement.interface}")
        elif there is not None and not replaces:
            again = "a second policy of this selector and direction"
            self._refuse(statement, again, f"the first is at {there.cookie}")
        else:
            if there is not None:
                del self._policies[name]  # the new one goes behind all of its priority
            self._policies[name] = SpdAdd(policy, cookie=statement.place)

    def _add(self, statement: s.Add) -> None:
        for text, token, place in statement.warnings:
            self._warn(f"{place.file},{place.line}: {text} at `{token}'")
        if not statement.associations:
            word = statement.word
            text = "Linux XFRM has no TCP-MD5" if word else "esp, ah or ipcomp is missing"
            self._refuse(statement, text)
        for sa in statement.associations:
            self._add_one(sa, statement)

    def _add_one(self, sa: SecurityAssociation, statement: s.Add) -> None:
        there = self._associations.get(sa.id)
        if isinstance(statement, s.Update):
            if there is None:
                self._refuse(statement, "update of an SA that no statement adds")
                return
            sa = there[0]._replace(hard=sa.hard, soft=sa.soft)  # all that Linux updates
        elif there is not None:
            again = "a second SA of this destination, protocol and SPI"
            self._refuse(statement, again, f"the first is at {there[1].place}")
            return
        self._associations[sa.id] = (sa, statement)

    def _drop(
        self, matches: Callable[[SecurityAssociation], bool], statement: s.Flush | s.DeleteAll
    ) -> None:
        for id, (sa, _) in list(self._associations.items()):
            if sa.protocol in statement.protocols and matches(sa):
                del self._associations[id]
