"""The state that setkey files make in an empty namespace, without a kernel."""

from collections.abc import Callable, Collection, Iterable, Iterator

from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import SadEntry, SaId, SecurityAssociation
from kamexfrm.model.decide_sad import sad_entry
from kamexfrm.model.policy import Direction, SecurityContext, SecurityPolicy, Selector
from kamexfrm.operator.named_items import NamedItems
from kamexfrm.operator.open_file import opened
from kamexfrm.operator.saved_at import saved_at
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.hosts import Resolver, system_resolver
from kamexfrm.setkey.line_parser import LineParser
from kamexfrm.setkey.plain_lines import AssociationLines, Lines, PolicyLines
from kamexfrm.setkey.script_file import read_pieces

_Name = tuple[Selector, Direction, SecurityContext | None]

#: An SA with the statement that adds it.
Added = tuple[SecurityAssociation, s.Add]


class FileState:
    """Policies and SAs after the statements so far, each in the order of creation.

    As in the kernel, what exists already is not added again, and what does not exist is neither
    updated nor deleted. ``moment`` is when the last file was saved, 0 for one that was written.
    """

    def __init__(self) -> None:
        self.moment = 0
        self._policies: NamedItems[_Name, s.SpdAdd, PolicyLines] = NamedItems(
            lambda lines: ((_name(each), each) for each in lines.statements()), self._second_policy
        )
        self._sas: NamedItems[SaId, Added, AssociationLines] = NamedItems(
            self._named_sas, self._second_sa
        )

    @property
    def policies(self) -> list[SecurityPolicy]:
        """The policies, those of direction fwd too, without twins."""
        return [statement.policy for statement in self._policies.items]

    @property
    def policy_statements(self) -> Collection[s.SpdAdd]:
        """The statements of the policies."""
        return self._policies.items

    @property
    def sad(self) -> tuple[SadEntry, ...]:
        """The SAs; ``created`` is their number."""
        return tuple(sad_entry(sa, created=at) for at, (sa, _) in enumerate(self._sas.items))

    @property
    def sa_statements(self) -> Collection[Added]:
        """The SAs with the statements that add them."""
        return self._sas.items

    def take(self, found: s.Statement | Lines) -> None:
        """Do what a statement says, or many of them."""
        match found:
            case PolicyLines():
                self._policies.add_many(found)
            case s.SpdAdd():
                self._spd_add(found)
            case AssociationLines():
                self._sas.add_many(found)
            case s.Add():
                self._add(found)
            case s.SpdDelete(selector=selector, direction=direction, label=label):
                self._policies.by_name.pop((selector, direction, label), None)
            case s.SpdFlush():
                self._policies.clear()
            case s.Delete(id=id):
                if id is not None:
                    self._sas.by_name.pop(id, None)
            case s.Flush(protocols=protocols):
                self._drop(lambda sa: sa.protocol in protocols)
            case s.DeleteAll(pairs=pairs, protocols=protocols):
                self._drop(
                    lambda sa: sa.protocol in protocols and (sa.source, sa.destination) in pairs
                )
            case s.Tagged():
                self.refuse(found, "Linux has no packet tags of PF")
            case _:
                pass

    def refuse(self, statement: s.SpdAdd | s.Add | s.Tagged, text: str, *details: str) -> None:
        """Pass over a statement that the kernel would refuse."""

    def _spd_add(self, statement: s.SpdAdd) -> None:
        name = _name(statement)
        if statement.interface:
            self.refuse(statement, f"no IPsec offload to {statement.interface}")
            return
        if isinstance(statement, s.SpdUpdate):
            self._policies.by_name.pop(name, None)  # the new one goes behind all of its priority
        self._policies.add(name, statement)

    def _second_policy(self, statement: s.SpdAdd, first: s.SpdAdd) -> None:
        again = "a second policy of this selector and direction"
        self.refuse(statement, again, f"the first is at {first.place}")

    def _add(self, statement: s.Add) -> None:
        if not statement.associations:
            word = statement.word
            text = "Linux XFRM has no TCP-MD5" if word else "esp, ah or ipcomp is missing"
            self.refuse(statement, text)
        for sa in statement.associations:
            if isinstance(statement, s.Update):
                self._update(sa, statement)
            else:
                self._sas.add(sa.id, (sa, statement))

    def _update(self, sa: SecurityAssociation, statement: s.Update) -> None:
        there = self._sas.by_name.get(sa.id)
        if there is None:
            self.refuse(statement, "update of an SA that no statement adds")
            return
        updated = there[0]._replace(hard=sa.hard, soft=sa.soft)  # all that Linux updates
        self._sas.by_name[sa.id] = updated, there[1]

    def _second_sa(self, added: Added, first: Added) -> None:
        again = "a second SA of this destination, protocol and SPI"
        self.refuse(added[1], again, f"the first is at {first[1].place}")

    def _named_sas(self, lines: AssociationLines) -> Iterator[tuple[SaId, Added]]:
        for statement in lines.statements():
            for sa in statement.associations:
                yield sa.id, (sa, statement)

    def _drop(self, matches: Callable[[SecurityAssociation], bool]) -> None:
        sas = self._sas.by_name
        for id in [id for id, (sa, _) in sas.items() if matches(sa)]:
            del sas[id]


def _name(statement: s.SpdAdd) -> _Name:
    policy = statement.policy
    return policy.selector, policy.direction, policy.label


class KeylessState(FileState):
    """A state without keys, and all SAs with the statement of the first, for less memory."""

    _first: s.Add | None = None

    def take(self, found: s.Statement | Lines) -> None:
        """Do what a statement says, or many of them."""
        if isinstance(found, AssociationLines):
            for statement in found.statements():
                self._add(statement)
        elif not isinstance(found, s.Update):  # which changes lifetimes alone
            super().take(found)

    def _add(self, statement: s.Add) -> None:
        self._first = self._first or statement
        for sa in statement.associations:
            bare = sa._replace(encryption=None, authentication=None, compression=None)
            self._sas.add(sa.id, (bare, self._first))


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
    for path in paths:
        try:
            take_file(state, path, resolve)
        except ScriptError as error:
            raise KamexfrmError(script_error_text(error)) from None
    return state


def take_file(state: FileState, path: str, resolve: Resolver) -> None:
    """Do what a file says.

    Raises KamexfrmError for one that cannot be read, ScriptError for a statement that is wrong.
    """
    pieces = _pieces_of(path)
    if moment := saved_at(pieces[0]):
        state.moment = moment
    line = 1
    pieces.reverse()
    while pieces:
        # What is read gives its memory back.
        parser = LineParser(pieces.pop(), path, line=line, resolve=resolve)
        for found in parser.runs():
            if isinstance(found, s.Exit):
                return
            state.take(found)
        line = parser.line


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
