"""What the words of kame-sysctl mean: variables, subtrees, values, files and presets. No kernel."""

import errno
import os
import sys
from collections.abc import Iterator

from kamexfrm.errors import KamexfrmError, Place
from kamexfrm.model.knobs import KNOBS, Knob, KnobError

#: What a command writes; a variable that is assigned twice gets the last value.
Assignments = dict[Knob, int]

_MOST_DIGITS = 9


class UnknownVariableError(KnobError):
    """A name that is no variable of ours, nor the head of one's."""

    errno = errno.ENOENT


def printable(text: str) -> str:
    """Return a word for a message: what would act on a terminal is escaped."""
    return text if text.isprintable() else ascii(text)[1:-1]


def matching(name: str) -> tuple[Knob, ...]:
    """Return the variable of that name, or those below it.

    Dots and slashes separate alike. Raises UnknownVariableError.
    """
    dotted = name.replace("/", ".").rstrip(".")
    found = tuple(k for k in KNOBS if k.name == dotted or k.name.startswith(f"{dotted}."))
    if not found:
        raise UnknownVariableError(f"{printable(name)}: unknown variable{_hint(dotted)}")
    return found


def _hint(dotted: str) -> str:
    """Return `` (did you mean ...?)``, or nothing where no name is near."""
    last = dotted.rpartition(".")[2]
    near = [k.name for k in KNOBS if k.name.endswith(f".{last}")]
    if not near or "." in dotted:
        from difflib import get_close_matches

        heads = {k.name.rpartition(".")[0] for k in KNOBS}
        near = get_close_matches(dotted, [*(k.name for k in KNOBS), *heads], n=1) or near
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def value_of(knob: Knob, text: str) -> int:
    """Return a value given by number or by name; raises KnobError (EINVAL)."""
    if text in knob.value_names:
        return knob.low + knob.value_names.index(text)
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        value = int(text)
        if knob.low <= value <= knob.high:
            return value
    refusal = os.strerror(errno.EINVAL)
    raise KnobError(
        f"{knob.name}={printable(text)}: {refusal}: it takes {knob.words}", errno=errno.EINVAL
    )


def read_assignment(text: str) -> tuple[Knob, int]:
    """Read ``NAME=VALUE``, blanks around either allowed; raises KnobError."""
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not equals:
        refusal = os.strerror(errno.EINVAL)
        raise KnobError(f"{printable(name)}: {refusal}: not NAME = VALUE", errno=errno.EINVAL)
    found = matching(name)
    if len(found) > 1:
        refusal = os.strerror(errno.EISDIR)
        raise KnobError(
            f"{printable(name)}: {refusal}: {len(found)} variables have this name's beginning",
            errno=errno.EISDIR,
        )
    return found[0], value_of(found[0], value)


def lines_of(path: str) -> Iterator[tuple[Place, str]]:
    """Yield a file's lines that are not empty or comments, and where they stand.

    ``-`` is the standard input. Raises KamexfrmError when the file cannot be read.
    """
    name = "<stdin>" if path == "-" else printable(path)
    try:
        # closefd: the standard input is not ours to close.
        with open(
            sys.stdin.fileno() if path == "-" else path,
            encoding="utf-8",
            errors="surrogateescape",
            closefd=path != "-",
        ) as file:
            for number, line in enumerate(file, 1):
                text = line.partition("#")[0].partition(";")[0].strip()
                if text:
                    yield Place(name, number), text
    except (OSError, ValueError, AttributeError) as error:
        number = (error.errno if isinstance(error, OSError) else None) or errno.EBADF
        raise KamexfrmError(f"{name}: {os.strerror(number)}", errno=number) from None


def preset(name: str) -> Assignments:
    """Return what a preset writes.

    ``linux``: level default means require, as Linux's AF_KEY had it; def_policy stays. ``kame``:
    all variables as KAME's kernel starts them (key.c key_init()).
    """
    if name == "linux":
        return {knob: 2 for knob in KNOBS if knob.field != "def_policy"}
    return dict.fromkeys(KNOBS, 1)
