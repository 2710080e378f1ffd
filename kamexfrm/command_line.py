"""What all commands share: options, standard streams, and text that is safe on a terminal.

Floor 1. Options are read here since argparse takes longer to load than a command may run. A stream
may be closed, on a full disk, or a pipe whose reader has exited: none of them causes a traceback,
and none changes what a command reports of its work.
"""

from __future__ import annotations

import errno
import os
import sys

from kamexfrm.errors import KamexfrmError
from kamexfrm.records import NamedTuple

TYPE_CHECKING = False  # typing and collections take long to load
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn, TextIO

#: What a command says after EPERM.
NEEDS_NET_ADMIN = (
    "this needs CAP_NET_ADMIN in the network namespace: be root, or try it in `unshare -rn`"
)

#: What a shell reports of a command that SIGPIPE or SIGINT ended.
READER_LEFT, INTERRUPTED = 141, 130


class UsageError(KamexfrmError):
    """A command line that does not make sense."""


class Syntax(NamedTuple):
    """The options of a command, and the texts of its errors.

    ``names`` holds ``-x`` and ``--word`` for options without a value, ``-x=`` and ``--word=`` for
    those with one. Where both are there, only a value in the same word counts.

    The texts are templates: ``{word}`` is the word as given, ``{option}`` the letter with its dash,
    or the long option; ``{letter}`` has no dash. ``permuted`` allows options after operands.
    """

    names: frozenset[str]
    unknown: str
    unknown_letter: str
    no_value: str
    permuted: bool = False


def iter_options(words: list[str], syntax: Syntax) -> Iterator[tuple[str, str]]:
    """Yield options as named in the syntax, with their values, and operands under an empty name.

    As getopt_long(3) reads them, but long options are never abbreviated. Raises UsageError.
    """
    rest = iter(words)
    for word in rest:
        if word == "--":
            break
        if word.startswith("--"):
            yield _long_option(word, rest, syntax)
        elif word.startswith("-") and word != "-":
            yield from _letters(word, rest, syntax)
        else:
            yield "", word
            if not syntax.permuted:
                break
    for word in rest:
        yield "", word


def _long_option(word: str, rest: Iterator[str], syntax: Syntax) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if f"{name}=" in syntax.names and (equals or name not in syntax.names):
        return f"{name}=", value if equals else _next_word(name, word, rest, syntax)
    if equals or word not in syntax.names:
        raise UsageError(syntax.unknown.format(word=word, option=word))
    return word, ""


def _letters(word: str, rest: Iterator[str], syntax: Syntax) -> Iterator[tuple[str, str]]:
    for at, letter in enumerate(word[1:], 2):
        option, value = f"-{letter}", word[at:]
        if f"{option}=" in syntax.names and (value or option not in syntax.names):
            yield f"{option}=", value or _next_word(option, word, rest, syntax)
            return
        if option not in syntax.names:
            text = syntax.unknown_letter
            raise UsageError(text.format(word=word, option=option, letter=letter))
        yield option, ""


def _next_word(option: str, word: str, rest: Iterator[str], syntax: Syntax) -> str:
    value = next(rest, None)
    if value is None:
        text = syntax.no_value
        raise UsageError(text.format(word=word, option=option, letter=option.lstrip("-")))
    return value


def guarded(name: str, run: Callable[[], int], failed: int = 1) -> int:
    """Run a command that writes to its standard streams; return its exit status.

    That is ``failed`` where the output cannot be written, or memory is not enough (setrlimit(2));
    the error is printed after the name.
    """
    _open_closed()
    try:
        status = run()
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return READER_LEFT
    except OSError as error:  # a full disk, say
        _drop_output()
        say(f"{name}: {error.strerror or error}\n")
        return failed
    except (MemoryError, SystemError):  # so the interpreter says that it had none for an error
        say(f"{name}: {os.strerror(errno.ENOMEM)}\n")
        return failed
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def wants_colour(stream: TextIO) -> bool:
    """Whether to print in colour: a terminal's, unless TERM is dumb.

    NO_COLOR and then FORCE_COLOR decide first, where they are not empty: no-color.org and
    force-color.org.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def leave(status: int) -> NoReturn:
    """End the process with a status, its output written, and free nothing before.

    The interpreter would take its modules apart: a sixth of the time of a short command.
    """
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 (contextlib takes long to load)
            stream.flush()
        except OSError:
            pass
    os._exit(status)


def permission_hint(error: KamexfrmError) -> str:
    """Return a line about the capability that a command lacked, or nothing."""
    return f"    {NEEDS_NET_ADMIN}\n" if error.errno == errno.EPERM else ""


def say(text: str) -> None:
    """Write to standard error; an error there is ignored."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass


def printable(text: str, kept: str = "\n\t") -> str:
    """Return a text that no terminal takes for a command; the characters ``kept`` stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if char in "\n\t":
        return {"\n": "\\n", "\t": "\\t"}[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _open_closed() -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open to the end)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:  # a character that the locale does not have is no trouble
        reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Discard what would be flushed at exit."""
    try:  # noqa: SIM105 (contextlib takes long to load)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:
        pass
