"""Runs of plain ``spdadd`` and ``add`` lines: many statements of which none is an object."""

from __future__ import annotations

from kamexfrm.errors import Place
from kamexfrm.records import NamedTuple
from kamexfrm.setkey.statements import SpdAdd

TYPE_CHECKING = False  # a script of few lines needs none of them
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kamexfrm.model.association_run import AssociationRun
    from kamexfrm.model.policy_run import PolicyRun
    from kamexfrm.setkey.statements import Add

#: A run of fewer lines, or with fewer lines of each spelling, is no quicker than line by line.
FEWEST = 4


class PolicyLines(NamedTuple):
    """Many ``spdadd`` statements, one a line; ``lines`` are the numbers of the lines."""

    file: str
    lines: Sequence[int]
    run: PolicyRun

    def statement(self, at: int) -> SpdAdd:
        """Return the statement of one line."""
        line = self.lines[at]
        return SpdAdd(Place(self.file, line, 1), line, self.run.policy(at))

    def statements(self) -> Iterator[SpdAdd]:
        """Yield the statements of all lines."""
        for line, policy in zip(self.lines, self.run.policies(), strict=True):
            yield SpdAdd(Place(self.file, line, 1), line, policy)


class AssociationLines(NamedTuple):
    """Many ``add`` statements, one a line, the first of which is ``first``."""

    first: Add
    run: AssociationRun

    @property
    def file(self) -> str:
        """The script's name."""
        return self.first.place.file

    def statement(self, at: int) -> Add:
        """Return the statement of one line."""
        line = self.first.end_line + at
        return self.first._replace(
            place=Place(self.file, line, 1),
            end_line=line,
            associations=(self.run.association(at),),
        )

    def statements(self) -> Iterator[Add]:
        """Yield the statements of all lines."""
        return map(self.statement, range(self.run.total))


#: Many statements, one a line.
Lines = PolicyLines | AssociationLines


class Stretch(NamedTuple):
    """Lines of a text up to the offset ``end``; ``following`` is the number of the next line.

    ``lines`` is what they say, None where that has to be read statement by statement.
    """

    end: int
    following: int
    lines: Lines | None
