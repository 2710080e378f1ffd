"""The state that setkey files make in an empty namespace, without a kernel."""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain

from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import SadEntry, SaId, SecurityAssociation
from kamexfrm.model.decide_sad import sad_entry
from kamexfrm.model.policy import Direction, SecurityContext, SecurityPolicy, Selector
from kamexfrm.operator.open_file import opened
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.hosts import Resolver, system_resolver
from kamexfrm.setkey.parser import Parser
from kamexfrm.setkey.script_file import read_pieces

_Name = tuple[Selector, Direction, SecurityContext | None]


class FileState:
    """Policies and SAs after the statements so far, each in the order of creation.

    As in the kernel, what exists already is not added again, and what does not exist is neither
    updated nor deleted.
    """

    def __init__(self) -> None:
        self._policies: dict[_Name, s.SpdAdd] = {}
        self._sas: dict[SaId, tuple[SecurityAssociation, s.Add]] = {}

    @property
    def policies(self) -> list[SecurityPolicy]:
        """The policies, those of direction fwd too, without twins."""
        return [statement.policy for statement in self._policies.values()]

    @property
    def policy_statements(self) -> Collection[s.SpdAdd]:
        """The statements of the policies."""
        return self._policies.values()

    @property
    def sad(self) -> tuple[SadEntry, ...]:
        """The SAs; ``created`` is their number."""
        return tuple(sad_entry(sa, created=at) for at, (sa, _) in enumerate(self._sas.values()))

    @property
    def sa_statements(self) -> Collection[tuple[SecurityAssociation, s.Add]]:
        """The SAs with the statements that add them."""
        return self._sas.values()

    def take(self, statement: s.Statement) -> None:
        """Do what a statement says."""
        match statement:
            case s.SpdAdd(policy=policy):
                name = (policy.selector, policy.direction, policy.label)
                if isinstance(statement, s.SpdUpdate):
                    self._policies.pop(name, None)  # the new one goes behind all of its priority
                self._policies.setdefault(name, statement)
            case s.SpdDelete():
                self._policies.pop((statement.selector, statement.direction, statement.label), None)
            case s.SpdFlush():
                self._policies.clear()
            case s.Add():
                self._add(statement)
            case s.Delete(id=id):
                if id is not None:
                    self._sas.pop(id, None)
            case s.Flush(protocols=protocols):
                self._drop(lambda sa: sa.protocol in protocols)
            case s.DeleteAll(pairs=pairs, protocols=protocols):
                self._drop(
                    lambda sa: sa.protocol in protocols and (sa.source, sa.destination) in pairs
                )
            case _:
                pass

    def _add(self, statement: s.Add) -> None:
        for sa in statement.associations:
            there = self._sas.get(sa.id)
            if not isinstance(statement, s.Update):
                self._sas.setdefault(sa.id, (sa, statement))
            elif there is not None:  # lifetimes are all that Linux updates
                updated = there[0]._replace(hard=sa.hard, soft=sa.soft)
                self._sas[sa.id] = (updated, there[1])

    def _drop(self, matches: Callable[[SecurityAssociation], bool]) -> None:
        self._sas = {id: kept for id, kept in self._sas.items() if not matches(kept[0])}


class KeylessState(FileState):
    """A state without keys, and all SAs with the statement of the first, for less memory."""

    _first: s.Add | None = None

    def _add(self, statement: s.Add) -> None:
        if isinstance(statement, s.Update):
            return  # which changes lifetimes alone
        self._first = self._first or statement
        for sa in statement.associations:
            bare = sa._replace(encryption=None, authentication=None, compression=None)
            self._sas.setdefault(sa.id, (bare, self._first))


def read_files(
    paths: Iterable[str],
    resolve: Resolver = system_resolver,
    make: Callable[[], FileState] = FileState,
) -> FileState:
    """Read files one after the other, ``-`` is the standard input.

    Raises KamexfrmError for a file that cannot be read or a statement that is wrong, with its place
    and the cure.
    """
    state = make()
    for statement in chain.from_iterable(statements_of(path, resolve) for path in paths):
        state.take(statement)
    return state


def statements_of(path: str, resolve: Resolver = system_resolver) -> Iterator[s.Statement]:
    """Yield the statements of a file; raises what read_files() does."""
    try:
        line = 1
        pieces = _pieces_of(path)
        pieces.reverse()
        while pieces:
            piece = pieces.pop()  # what is read gives its memory back
            for statement in Parser(piece, path, line=line, resolve=resolve):
                if isinstance(statement, s.Exit):
                    return
                yield statement
            line += piece.count("\n")
    except ScriptError as error:
        raise KamexfrmError(script_error_text(error)) from None


def script_error_text(error: ScriptError) -> str:
    """Return a wrong statement's place, what is wrong and the cure, in one line."""
    place = f"{error.place}: " if error.place else ""
    hints = "".join(f" ({hint})" for hint in error.hints)
    return f"{place}{error}{hints}"


def text_of(path: str) -> str:
    """Return the text of a file; raises KamexfrmError."""
    return "".join(_pieces_of(path))


def _pieces_of(path: str) -> list[str]:
    with opened(path) as file:
        return read_pieces(file)
