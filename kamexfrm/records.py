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


_Function: Any = type(lambda: None)  # the module types takes long to load

_globals = {"_new": tuple.__new__, "__builtins__": {}, "__name__": __name__}

#: The code of a constructor by the number of fields, and what reads each field, as made so far.
_codes: dict[int, Any] = {}
_all_getters: list[Any] = []


def _tuple_class(name: str, body: dict[str, Any]) -> type:
    fields = _fields(body)
    defaults = {field: body[field] for field in fields if field in body}
    if list(defaults) != list(fields)[len(fields) - len(defaults) :]:
        raise TypeError(f"{name}: a field without a default follows one with a default")
    body |= zip(fields, _getters(len(fields)), strict=True)
    body |= _METHODS
    body |= {
        "__new__": _constructor(body["__qualname__"], fields, tuple(defaults.values())),
        "__match_args__": fields,
        "_fields": fields,
        "_field_defaults": defaults,
    }
    body.setdefault("__repr__", _repr)
    return type(name, (tuple,), body)


def _constructor(owner: str, fields: tuple[str, ...], defaults: tuple[Any, ...]) -> Any:
    """Return ``__new__``: one that is compiled for each class would take most of the time."""
    count = len(fields)
    code = _codes.get(count)
    if code is None:
        names = "".join(f"_{at}, " for at in range(count))
        # As namedtuple does: a call of such a function is the fastest.
        code = _codes[count] = eval(f"lambda _cls, {names}: _new(_cls, ({names}))").__code__  # noqa: S307
    code = code.replace(co_varnames=("_cls", *fields), co_name="__new__")
    make = _Function(code, _globals, "__new__", defaults)
    make.__qualname__ = f"{owner}.__new__"
    return make


def _getters(count: int) -> list[Any]:
    """Return what reads the first fields of a tuple: the same for all classes."""
    for at in range(len(_all_getters), count):
        _all_getters.append(_tuplegetter(at, f"Alias for field number {at}"))
    return _all_getters[:count]


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


_METHODS = {
    "__slots__": (),
    "_make": classmethod(_make),
    "_replace": _replace,
    "_asdict": _asdict,
    "__getnewargs__": _getnewargs,
}
