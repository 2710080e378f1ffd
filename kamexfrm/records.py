"""``NamedTuple`` and ``Protocol`` without the module typing, which takes long to load.

Floor -1. Type checkers see those of ``typing``; at run time a NamedTuple has the same fields,
defaults, methods and speed. What is missing is what nobody here uses: generic classes.
"""

from __future__ import annotations

import sys
from _collections import _tuplegetter  # type: ignore[import-not-found]  # CPython's own

TYPE_CHECKING = False  # to checkers the name is enough
if TYPE_CHECKING:
    from typing import Any
    from typing import NamedTuple as NamedTuple
    from typing import Protocol as Protocol
else:

    class _Maker(type):
        """Makes a subclass of tuple of a class body with annotations."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            return _tuple_class(name, body)

    class NamedTuple(metaclass=_Maker):
        """The base that is written; a class that names it is a tuple."""

    class Protocol:
        """The base of a class that only says what others have; nobody asks at run time."""


def _tuple_class(name: str, body: dict[str, Any]) -> type:
    fields = _fields(body)
    defaults = {field: body[field] for field in fields if field in body}
    if list(defaults) != list(fields)[len(fields) - len(defaults) :]:
        raise TypeError(f"{name}: a field without a default follows one with a default")
    for at, field in enumerate(fields):
        body[field] = _tuplegetter(at, f"Alias for field number {at}")
    names = "".join(f"{field}, " for field in fields)
    make = eval(  # noqa: S307 (as namedtuple does: a call of such a function is the fastest)
        f"lambda _cls, {names}: _new(_cls, ({names}))",
        {"_new": tuple.__new__, "__builtins__": {}, "__name__": f"namedtuple_{name}"},
    )
    make.__name__ = "__new__"
    make.__qualname__ = f"{body['__qualname__']}.__new__"
    make.__defaults__ = tuple(defaults.values())
    body |= {
        "__slots__": (),
        "__new__": make,
        "__match_args__": fields,
        "_fields": fields,
        "_field_defaults": defaults,
        "_make": classmethod(_make),
        "_replace": _replace,
        "_asdict": _asdict,
        "__getnewargs__": _getnewargs,
    }
    body.setdefault("__repr__", _repr)
    return type(name, (tuple,), body)


def _fields(body: dict[str, Any]) -> tuple[str, ...]:
    found = body.get("__annotations__")
    if found is None:  # Python 3.14 evaluates annotations when they are asked for
        annotate = body.get("__annotate_func__") or body.get("__annotate__")
        found = annotate(1) if annotate else {}
    return tuple(map(sys.intern, found))


def _make(cls: Any, values: Any) -> Any:
    """Make one of an iterable; raises TypeError unless it has a value for each field."""
    made = tuple.__new__(cls, values)
    if len(made) != len(cls._fields):
        raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
    return made


def _replace(self: Any, /, **values: Any) -> Any:
    """Return one with other values of some fields; raises TypeError for other names."""
    made = self._make(map(values.pop, self._fields, self))
    if values:
        raise TypeError(f"Got unexpected field names: {list(values)!r}")
    return made


def _asdict(self: Any) -> dict[str, Any]:
    """Return the values by the names of their fields."""
    return dict(zip(self._fields, self, strict=True))


def _getnewargs(self: Any) -> tuple[Any, ...]:
    return tuple(self)


def _repr(self: Any) -> str:
    pairs = zip(self._fields, self, strict=True)
    return f"{type(self).__name__}({', '.join([f'{name}={value!r}' for name, value in pairs])})"
