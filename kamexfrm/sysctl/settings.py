"""What the operands of kame-sysctl mean: names, subtrees, values, files, presets. No kernel."""

import errno
import os
import sys
from collections.abc import Iterator

from kamexfrm.command_line import printable
from kamexfrm.errors import KamexfrmError, Place
from kamexfrm.model.knobs import ALIASES, KNOBS, Knob, KnobError
from kamexfrm.model.unsupported_knobs import FIXED, UNSUPPORTED

#: What a command writes; a sysctl that is assigned twice gets the last value.
Assignments = dict[Knob, int]

_MOST_DIGITS = 10

#: Most characters of a file of settings.
_MOST_CHARACTERS = 1 << 20

#: What no name of a variable has, but a line of a setkey file with its keys may have.
_NO_NAME = r"""(?s:[\s"';+$]|0[xX]|[0-9A-Fa-f]{9}|.{100})"""
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")

_SETKEY_WORDS = ("add", "update", "delete", "flush", "spdadd", "spddelete", "spdflush")


class UnknownSysctlError(KnobError):
    """A name that is neither a sysctl nor the beginning of one, or that Linux lacks."""

    errno = errno.ENOENT


def _below(dotted: str, name: str) -> bool:
    return name == dotted or name.startswith(f"{dotted}.")


def matching(name: str) -> tuple[Knob, ...]:
    """Return the sysctl of that name, or those below it.

    Dots and slashes separate alike. Raises UnknownSysctlError, also for one that KAME has and
    Linux lacks (EOPNOTSUPP).
    """
    dotted = name.replace("/", ".").rstrip(".")
    meant = ALIASES.get(dotted, dotted)
    found = tuple(k for k in KNOBS if _below(meant, k.name))
    if not found and dotted in FIXED:
        text = f"{dotted}: it is always {FIXED[dotted]} on Linux"
        raise UnknownSysctlError(text, errno=errno.EOPNOTSUPP)
    if not found and dotted in UNSUPPORTED:
        text = f"{dotted}: unsupported ({UNSUPPORTED[dotted]})"
        raise UnknownSysctlError(text, errno=errno.EOPNOTSUPP)
    if not found:
        raise UnknownSysctlError(f"{shown(name)}: unknown variable{_hint(dotted)}")
    return found


def fixed(name: str) -> tuple[str, int] | None:
    """Return a variable of another system that has one value on Linux, and the value."""
    dotted = name.replace("/", ".")
    return (dotted, FIXED[dotted]) if dotted in FIXED else None


def shown(name: str) -> str:
    """Return a name for an error; three dots for what is none and may be a key."""
    import re  # only for errors: it takes as long to load as the command to run

    return "..." if re.search(_NO_NAME, name) else printable(name, "")


def unsupported() -> list[tuple[str, str]]:
    """Return the names of KAME's sysctls that Linux lacks, and what is printed for each."""
    return [(name, f"unsupported ({why})") for name, why in UNSUPPORTED.items()]


def _is_unsupported(line: str) -> bool:
    """Whether a line is what reading all sysctls prints for one that Linux lacks."""
    name, _, text = line.partition(": ")
    return name in UNSUPPORTED and text.startswith("unsupported (")


def described(name: str = "") -> list[tuple[str, str]]:
    """Return names and descriptions of the sysctl of that name, of those below it, or of all.

    Those that Linux lacks come last. Raises UnknownSysctlError.
    """
    dotted = name.replace("/", ".").rstrip(".")
    missing = [(each, text) for each, text in unsupported() if not name or _below(dotted, each)]
    if missing and name and dotted in UNSUPPORTED:
        return missing
    knobs = matching(name) if name else KNOBS
    return [(knob.name, f"{knob.description}: {knob.words}") for knob in knobs] + missing


def _hint(dotted: str) -> str:
    """Return `` (did you mean ...?)``, or nothing where no name is near."""
    last = dotted.rpartition(".")[2]
    from kamexfrm.spelling import did_you_mean, nearest  # loads difflib

    names = [knob.name for knob in KNOBS]
    near = tuple(name for name in names if name.endswith(f".{last}"))
    if not near or "." in dotted:
        heads = {name.rpartition(".")[0] for name in names}
        near = nearest(dotted, [*names, *heads], 1) or near
    return f" ({did_you_mean(near)})" if near else ""


def _setkey_hint(text: str) -> str:
    """Return `` (this is ...)`` for a line of a setkey file."""
    first = text.split(maxsplit=1)[0] if text.split() else ""
    return " (for setkey -f?)" if first in _SETKEY_WORDS else ""


def value_of(knob: Knob, text: str) -> int:
    """Return a value given by number or by name; raises KnobError (EINVAL, EOPNOTSUPP)."""
    if text in knob.value_names:
        value = knob.low + knob.value_names.index(text)
    else:
        number = _number(knob, text)
        if number is None:
            raise knob.error(printable(text, ""))
        value = number
    knob.check(value, text)
    return value


def _number(knob: Knob, text: str) -> int | None:
    """Return a number: in decimal, and where it is not a choice of few also in hexadecimal."""
    digits = text[1:] if knob.low < 0 and text[:1] == "-" else text
    if len(digits) > _MOST_DIGITS or not digits.isascii():
        return None
    if digits.isdigit():
        return int(text)
    hexadecimal = digits[:2] in ("0x", "0X") and not (knob.value_names or knob.step > 1)
    if hexadecimal and digits[2:] and all(digit in _HEXADECIMAL for digit in digits[2:]):
        return int(digits, 16)
    return None


def read_assignment(text: str) -> tuple[Knob, int]:
    """Read ``NAME=VALUE``, blanks around either allowed; raises KnobError."""
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not equals:
        error = os.strerror(errno.EINVAL)
        raise KnobError(
            f"{shown(name)}: {error}: not NAME = VALUE{_setkey_hint(text)}", errno=errno.EINVAL
        )
    knob, *others = matching(name)
    if others:
        error = os.strerror(errno.EISDIR)
        reason = f"{1 + len(others)} variables have this name's beginning"
        raise KnobError(f"{shown(name)}: {error}: {reason}", errno=errno.EISDIR)
    return knob, value_of(knob, value)


def lines_of(path: str) -> Iterator[tuple[Place, str]]:
    """Yield a file's lines that are not empty or comments, and where they stand.

    What reading all sysctls prints for those that Linux lacks counts as a comment.

    ``-`` is the standard input. Raises KamexfrmError when the file cannot be read.
    """
    name = "<stdin>" if path == "-" else printable(path, "")
    try:
        # closefd: the standard input is not ours to close.
        with open(
            sys.stdin.fileno() if path == "-" else path,
            encoding="utf-8",
            errors="surrogateescape",
            closefd=path != "-",
        ) as file:
            content = file.read(_MOST_CHARACTERS + 1)
            if len(content) > _MOST_CHARACTERS:
                reason = f"longer than {_MOST_CHARACTERS >> 20} MiB"
                raise KamexfrmError(f"{name}: {reason}", errno=errno.EFBIG)
            for number, line in enumerate(content.split("\n"), 1):
                text = line.partition("#")[0].partition(";")[0].strip()
                if text and not _is_unsupported(text):
                    yield Place(name, number), text
    except (OSError, ValueError, AttributeError) as error:
        number = (error.errno if isinstance(error, OSError) else None) or errno.EBADF
        raise KamexfrmError(f"{name}: {os.strerror(number)}", errno=number) from None


def preset(name: str) -> Assignments:
    """Return what a preset writes.

    ``linux``: what Linux's AF_KEY does, where level default means require; sysctls without a
    counterpart there stay, such as def_policy. ``kame``: all sysctls as KAME's kernel starts them
    (key.c key_init()).
    """
    if name == "linux":
        return {knob: knob.linux for knob in KNOBS if knob.linux is not None}
    return {knob: knob.kame for knob in KNOBS}
