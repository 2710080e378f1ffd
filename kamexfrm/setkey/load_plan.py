"""Which parts of a script are loads: what they delete is replaced by what comes after it."""

from collections.abc import Collection, Iterable
from itertools import combinations

from kamexfrm.engine.load import EntryName, LoadPlan
from kamexfrm.model.policy import Direction
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.plain_lines import AssociationLines, Lines, PolicyLines

#: A statement that reads the databases sees them as the statements before it left them.
_READS = (s.Get, s.Dump, s.SpdGet, s.SpdGetId, s.SpdDump, s.GetSpi, s.SpdDeleteId)

#: Of more entries that are deleted, some are taken to overlap.
_MOST_COMPARED = 200


def reads(statement: s.Statement) -> bool:
    """Whether a statement ends a part of a script."""
    return isinstance(statement, _READS)


def plans_of(statements: Iterable[s.Statement | Lines]) -> list[LoadPlan | None]:
    """Return what each part of a script is; raises ScriptError where it cannot be read.

    A part ends with the next statement that reads. It is a load where something is deleted before
    something of the same database is added, or a policy after it was added, and where policies do
    not come in the order of matching.
    """
    plans = []
    counter = _Counter()
    for statement in statements:
        if isinstance(statement, s.Exit):
            break
        if isinstance(statement, PolicyLines):
            counter.count_lines(statement)
        elif isinstance(statement, AssociationLines):
            counter.count(statement.first)
        elif reads(statement):
            plans.append(counter.plan())
            counter = _Counter()
        else:
            counter.count(statement)
    plans.append(counter.plan())
    return plans


class _Counter:
    """Counts what the statements of one part do."""

    def __init__(self) -> None:
        self._policies = 0
        self._last_priority = -1
        self._is_sorted = True
        self._forwards: set[EntryName] = set()
        self._deletes_forwards = self._flushes = False
        self._flushed = 0
        self._again: dict[tuple[EntryName, Direction], int] = {}
        self._deleted: set[tuple[EntryName, Direction]] = set()
        self._deletes_policies = self._deletes_sas = self._is_load = False

    def count_lines(self, lines: PolicyLines) -> None:
        """Count the statements of some lines."""
        groups = lines.run.groups
        is_plain = all(group.first.direction is not Direction.FWD for group in groups)
        if not is_plain:
            for statement in lines.statements():
                self.count(statement)
            return
        priorities = lines.run.priorities()
        self._is_sorted &= priorities[0] >= self._last_priority and all(
            map(int.__le__, priorities, priorities[1:])
        )
        self._last_priority = priorities[-1]
        self._policies += lines.run.total
        self._is_load |= self._deletes_policies

    def count(self, statement: s.Statement) -> None:
        """Count a statement."""
        kind = type(statement)
        if kind is s.SpdAdd or kind is s.SpdUpdate:
            assert isinstance(statement, s.SpdAdd)  # noqa: S101
            priority = statement.policy.priority
            self._is_sorted &= priority >= self._last_priority
            self._last_priority = priority
            self._policies += 1
            if statement.policy.direction is Direction.FWD:
                self._forwards.add((statement.policy.selector, statement.policy.label))
            self._is_load |= self._deletes_policies
        elif isinstance(statement, s.SpdDelete):
            self._deletes_policies = True
            name = (statement.selector, statement.label), statement.direction
            self._deleted.add(name)
            if self._policies:
                self._again[name] = self._policies
            if statement.direction is Direction.FWD and self._policies:
                self._deletes_forwards = True
        elif kind is s.SpdFlush:
            self._deletes_policies = self._flushes = True
            self._deleted.clear()
            self._flushed = self._policies
            self._last_priority, self._is_sorted = -1, True
            self._forwards.clear()
            self._deletes_forwards |= self._policies > 0
        elif kind is s.Flush or kind is s.Delete or kind is s.DeleteAll:
            self._deletes_sas = True
        elif kind is s.Add or kind is s.Update:
            self._is_load |= self._deletes_sas

    def plan(self) -> LoadPlan | None:
        """Return what was counted, None for no load."""
        if not (self._is_load or self._again or self._flushed) and self._is_sorted:
            return None
        forwards = frozenset(() if self._deletes_forwards else self._forwards)
        moving = self._deleted | {(name, Direction.FWD) for name in self._forwards}
        comes_first = not (self._flushes or self._again)
        is_difference = comes_first and self._deleted and _overlap(moving)
        return LoadPlan(
            self._policies,
            self._is_sorted,
            forwards,
            frozenset(self._deleted if is_difference else ()),
            self._flushed,
            self._again,
            not (self._is_sorted or self._deletes_policies),
        )


def _overlap(deleted: Collection[tuple[EntryName, Direction]]) -> bool:
    """Whether a packet may match two of some entries; of many it is not looked for."""
    if len(deleted) > _MOST_COMPARED:
        return True
    return any(
        (one[1] is other[1] or Direction.OUT not in (one[1], other[1]))  # in deletes its fwd twin
        and one[0][0].overlaps(other[0][0])
        for one, other in combinations(deleted, 2)
    )
