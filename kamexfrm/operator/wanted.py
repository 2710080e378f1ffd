"""The wanted state from files: what setkey would have made of them in an empty namespace.

Statements that delete or flush take from the list of what is wanted so far; those that read are
passed over.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from struct import iter_unpack
from typing import NamedTuple

from kamexfrm.command_line import printable
from kamexfrm.engine.requests import SaAdd, SaAddRun, SetKnob, SpdAdd, SpdAddRun
from kamexfrm.engine.spd_places import policy_name
from kamexfrm.engine.wanted import Wanted
from kamexfrm.errors import KamexfrmError, Place
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.association_run import AssociationRun
from kamexfrm.model.policy import Direction
from kamexfrm.operator.file_state import Added, FileState, take_file
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.errors import ScriptError, format_script_error
from kamexfrm.setkey.hosts import Resolver, system_resolver
from kamexfrm.setkey.plain_lines import AssociationLines, Lines, PolicyLines
from kamexfrm.translate.xfrm.fast_path import group_names


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

    @property
    def lines(self) -> list[str]:
        """What to print, line by line."""
        return str(self).split("\n")


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
    state = _WantedState(warn)
    lookup = cache(resolve)
    for name in files:
        try:
            take_file(state, name, lookup)
        except ScriptError as error:
            text = format_script_error(error).removeprefix("setkey: ").rstrip("\n")
            problems = [Problem(error.place or Place(name, 0), text)]
            raise WantedError(problems, text.replace("\nsetkey: ", "\n")) from None
    return state.wanted(() if variables is None else read_variables(variables))


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


class _WantedState(FileState):
    """The state that files make, all of which has to be possible."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__()
        self._warn = warn
        self._problems: list[Problem] = []

    def take(self, found: s.Statement | Lines) -> None:
        """Do what a statement says, or many of them."""
        if isinstance(found, s.Add):
            for text, token, place in found.warnings:
                self._warn(f"{place.file},{place.line}: {text} at `{token}'")
        super().take(found)

    def refuse(self, statement: s.SpdAdd | s.Add | s.Tagged, text: str, *details: str) -> None:
        """Count a statement among the problems."""
        self._problems.append(Problem(statement.place, text, details))

    def wanted(self, knobs: tuple[SetKnob, ...]) -> Wanted:
        """Return what is wanted now; raises WantedError."""
        if not _are_policies_apart(self._policies.pieces()):
            _ = self._policies.by_name  # which finds out where
        if not _are_sas_apart(self._sas.pieces()):
            _ = self._sas.by_name
        if self._problems:
            raise WantedError(self._problems)
        return Wanted(
            tuple(map(_policy_request, self._policies.pieces())),
            tuple(map(_sa_request, self._sas.pieces())),
            knobs,
            self.moment,
        )


def _policy_request(piece: s.SpdAdd | PolicyLines) -> SpdAdd | SpdAddRun:
    if isinstance(piece, PolicyLines):
        return SpdAddRun(piece.run, True, lambda at: Place(piece.file, piece.lines[at], 1))
    return SpdAdd(piece.policy, cookie=piece.place)


def _sa_request(piece: Added | AssociationLines) -> SaAdd | SaAddRun:
    if isinstance(piece, AssociationLines):
        return SaAddRun(piece.run, lambda at: piece.statement(at).place)
    association, statement = piece
    return SaAdd(association, cookie=statement.place)


def _are_policies_apart(pieces: Sequence[s.SpdAdd | PolicyLines]) -> bool:
    """Whether no two policies have one name."""
    names: defaultdict[Direction, set[int]] = defaultdict(set)
    total = 0
    for piece in pieces:
        if isinstance(piece, PolicyLines):
            total += piece.run.total
            for group in piece.run.groups:
                names[group.first.direction].update(map(hash, group_names(group)))
        else:
            total += 1
            policy = piece.policy
            names[policy.direction].add(policy_name(policy.selector, policy.label))
    return sum(map(len, names.values())) == total


def _are_sas_apart(pieces: Sequence[Added | AssociationLines]) -> bool:
    """Whether no two SAs have one name."""
    ids: set[object] = set()
    total = 0
    for piece in pieces:
        if isinstance(piece, AssociationLines):
            total += piece.run.total
            ids.update(_ids_of(piece.run))
        else:
            total += 1
            ids.add(_id_of(piece[0]))
    return len(ids) == total


def _id_of(sa: SecurityAssociation) -> tuple[object, ...]:
    packed = sa.destination.packed
    mark = sa.linux.mark if sa.linux else None
    return sa.protocol, mark, len(packed), packed + sa.spi.to_bytes(4, "big")


def _ids_of(run: AssociationRun) -> Iterator[tuple[object, ...]]:
    """Yield what _id_of() returns of each SA of a run."""
    protocol, mark, size, _ = _id_of(run.first)
    for destination, spi in zip(
        iter_unpack(f"{size}s", run.destinations), iter_unpack("4s", run.spis), strict=True
    ):
        yield protocol, mark, size, destination[0] + spi[0]
