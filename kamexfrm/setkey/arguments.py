"""The command line of setkey, read by hand: no library for it starts fast enough."""

from typing import Any, NamedTuple

import kamexfrm
from kamexfrm.errors import KamexfrmError

VERSION = f"setkey @(#) kamexfrm {kamexfrm.__version__}"

USAGE = """\
usage: setkey [-Npv] [--json] [--nokeys] file ...
       setkey [-Hnvrk] [--strict] -c
       setkey [-Hnvrk] [--strict] -f filename
       setkey [-Hnvrk] [--strict] -e text
       setkey [-HPalpvNrk] [--json] [--nokeys] -D
       setkey [-HPv] -F
       setkey [-H] -x[x]
       setkey [-V] [-h]
"""


class UsageError(KamexfrmError):
    """An option that does not exist, or lacks its argument; the text is getopt's own line."""


class Options(NamedTuple):
    """The command line, read.

    ``mode`` is the letter of the last mode given, or empty, ``script`` the file of -f or the text
    of -e. ``policies`` is -P, ``ports`` -p, ``no_action`` -n, ``verbose`` -v, ``hide_sockets`` -N,
    ``repeat`` -l, ``hexdump`` -H, ``unix_time`` -xx; ``twins`` is false with -k and ``keys`` with
    --nokeys.
    """

    mode: str = ""
    script: str = ""
    policies: bool = False
    ports: bool = False
    no_action: bool = False
    verbose: bool = False
    hide_sockets: bool = False
    twins: bool = True
    strict: bool = False
    json: bool = False
    keys: bool = True
    repeat: bool = False
    hexdump: bool = False
    unix_time: bool = False
    files: tuple[str, ...] = ()


_MODES = "cDFxhV?"
_FLAGS: dict[str, dict[str, Any]] = {
    "P": {"policies": True},
    "p": {"ports": True},
    "n": {"no_action": True},
    "v": {"verbose": True},
    "N": {"hide_sockets": True},
    "r": {"twins": True},
    "k": {"twins": False},
    "l": {"repeat": True},
    "H": {"hexdump": True},
    "a": {},  # dead SAs: Linux keeps none
    "g": {},  # FreeBSD's scopes of policies: all of ours are global
    "t": {},
}
_LONG: dict[str, dict[str, Any]] = {
    "--strict": {"strict": True},
    "--json": {"json": True},
    "--nokeys": {"keys": False},
}


def read_options(arguments: list[str]) -> Options:
    """Read the command line as getopt would; raises UsageError."""
    options = Options()
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word in _LONG:
            options = options._replace(**_LONG[word])
        elif word in ("--help", "--version"):
            options = options._replace(mode=word)
        elif word.startswith("--"):
            raise UsageError(f"setkey: unrecognized option '{word}'")
        else:
            options = _read_letters(options, word[1:], rest)
    return options._replace(files=tuple(rest))


def _read_letters(options: Options, letters: str, rest: list[str]) -> Options:
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in "fe":
            if not letters and not rest:
                raise UsageError(f"setkey: option requires an argument -- '{letter}'")
            options = options._replace(mode=letter, script=letters or rest.pop(0))
            break
        if letter in _MODES:
            again = letter == options.mode == "x"
            options = options._replace(mode=letter, unix_time=again or options.unix_time)
        elif letter in _FLAGS:
            options = options._replace(**_FLAGS[letter])
        else:
            raise UsageError(f"setkey: invalid option -- '{letter}'")
    return options
