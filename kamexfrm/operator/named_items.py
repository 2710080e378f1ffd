"""Items in the order in which they came, by name; many at once stay together as they were read.

Fifty thousand lines of a file are one piece until somebody asks for one of their names.
"""

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Generic, TypeVar

_Name = TypeVar("_Name", bound=Hashable)
_Item = TypeVar("_Item")
_Many = TypeVar("_Many")


class NamedItems(Generic[_Name, _Item, _Many]):
    """Items by name: what has a name that is there already is not added.

    ``named`` returns the items of many with their names. ``twice`` is told of what is not added,
    and of what has its name.
    """

    def __init__(
        self,
        named: Callable[[_Many], Iterable[tuple[_Name, _Item]]],
        twice: Callable[[_Item, _Item], None],
    ) -> None:
        self._named = named
        self._twice = twice
        self._items: dict[_Name, _Item] = {}
        #: Each with the number of items that are ahead of it.
        self._many: list[tuple[int, _Many]] = []

    def add(self, name: _Name, item: _Item) -> None:
        """Add one; whether one of many has its name is found when they are taken apart."""
        there = self._items.setdefault(name, item)
        if there is not item:
            self._twice(item, there)

    def add_many(self, many: _Many) -> None:
        """Add many."""
        self._many.append((len(self._items), many))

    @property
    def by_name(self) -> dict[_Name, _Item]:
        """All items; what is done to this is done to these."""
        if self._many:
            self._take_apart()
        return self._items

    @property
    def items(self) -> Collection[_Item]:
        """All items in order."""
        return self.by_name.values()

    def pieces(self) -> list[_Item | _Many]:
        """Return all as they were added."""
        found: list[_Item | _Many] = list(self._items.values())
        for ahead, many in reversed(self._many):
            found.insert(ahead, many)
        return found

    def clear(self) -> None:
        """Take all away."""
        self._items.clear()
        self._many.clear()

    def _take_apart(self) -> None:
        waiting = iter(list(self._items.items()))
        self._items = {}
        many, self._many = self._many, []
        before = 0
        for ahead, each in many:
            for name, item in (next(waiting) for _ in range(ahead - before)):
                self.add(name, item)
            for name, item in self._named(each):
                self.add(name, item)
            before = ahead
        for name, item in waiting:
            self.add(name, item)
