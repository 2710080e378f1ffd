"""Which parts of a script are loads: what they delete is replaced by what comes after it."""

from collections.abc import Iterable
from typing import NamedTuple

from kamexfrm.engine.load import LoadPlan
from kamexfrm.setkey import statements as s

#: A statement that reads the databases sees them as the statements before it left them.
_READS = (s.Get, s.Dump, s.SpdGet, s.SpdDump, s.GetSpi)


class Part(NamedTuple):
    """A part of a script up to the next statement that reads: ``plan`` is None for no load."""

    plan: LoadPlan | None


def reads(statement: s.Statement) -> bool:
    """Whether a statement ends a part of a script."""
    return isinstance(statement, _READS)


def parts_of(statements: Iterable[s.Statement]) -> list[Part]:
    """Return the parts of a script, in order; raises ScriptError where it cannot be read.

    A part is a load where something is deleted before something of the same database is added.
    """
    parts = []
    counter = _Counter()
    for statement in statements:
        if isinstance(statement, s.Exit):
            break
        if reads(statement):
            parts.append(counter.part())
            counter = _Counter()
        else:
            counter.count(statement)
    parts.append(counter.part())
    return parts


class _Counter:
    """Counts what the statements of one part do."""

    def __init__(self) -> None:
        self._policies = 0
        self._last_priority = -1
        self._is_sorted = True
        self._deletes_policies = self._deletes_sas = self._is_load = False

    def count(self, statement: s.Statement) -> None:
        """Count a statement."""
        kind = type(statement)
        if kind is s.SpdAdd or kind is s.SpdUpdate:
            assert isinstance(statement, s.SpdAdd)  # noqa: S101
            priority = statement.policy.priority
            self._is_sorted &= priority >= self._last_priority
            self._last_priority = priority
            self._policies += 1
            self._is_load |= self._deletes_policies
        elif kind is s.SpdFlush or kind is s.SpdDelete:
            self._deletes_policies = True
            if kind is s.SpdFlush:
                self._policies, self._last_priority, self._is_sorted = 0, -1, True
        elif kind is s.Flush or kind is s.Delete or kind is s.DeleteAll:
            self._deletes_sas = True
        elif kind is s.Add or kind is s.Update:
            self._is_load |= self._deletes_sas

    def part(self) -> Part:
        """Return what was counted."""
        plan = LoadPlan(self._policies, self._is_sorted) if self._is_load else None
        return Part(plan)
