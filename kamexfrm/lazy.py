"""What is loaded when it is first asked for: names of a package, expressions, how a class prints.

Floor 0. A program that writes policies starts without the code that reads events: loading all of
``kamexfrm.pfkey`` takes longer than setkey runs. A package gives its public names to type checkers
under ``TYPE_CHECKING``, to readers in ``__all__``, and to the interpreter in the table of
:func:`exports`. A test holds the three against each other.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing and collections take long to load
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping
    from typing import Any


def exports(
    package: str, table: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``.

    ``table`` gives the names that each module of the package exports, with spaces between. The
    modules are found by their own names too. ``__getattr__`` raises what importing a module
    raises, and AttributeError for any other name.
    """
    modules = {name: module for module, names in table.items() for name in names.split()}
    namespace = vars(sys.modules[package])

    def load(name: str) -> Any:
        if name in modules:
            value = getattr(_load(f"{package}.{modules[name]}"), name)
        elif name in table:
            value = _load(f"{package}.{name}")
        else:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}",
                name=name,
                obj=sys.modules[package],
            )
        namespace[name] = value
        return value

    def names() -> list[str]:
        plain = (module for module in table if "." not in module)
        return sorted({*namespace, *modules, *plain})

    return load, names


def printed_by(module: str, function: str) -> Callable[[object], str]:
    """Return a ``__str__`` that calls a function of a module, which is loaded at the first call.

    Data is loaded by each command, what prints it by few; and it imports the data.
    """

    def text(self: object) -> str:
        found: str = getattr(_load(module), function)(self)
        return found

    return text


def _load(path: str) -> Any:
    # importlib would be one more module to load.
    __import__(path)
    return sys.modules[path]


class _Expression:
    """Compiles a regular expression when one of its methods is first used, and has them then."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __getattr__(self, name: str) -> Any:
        import re

        found = getattr(re.compile(self._text), name)
        setattr(self, name, found)
        return found


def expression(text: str) -> re.Pattern[str]:
    """Return what re.compile() does, at no cost before it is used, and no higher one then."""
    return _Expression(text)  # type: ignore[return-value]  # whose methods it has
