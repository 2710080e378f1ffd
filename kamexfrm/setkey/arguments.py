"""The command line of setkey: its options."""

from __future__ import annotations

from kamexfrm.command_line import Syntax, UsageError, iter_options
from kamexfrm.records import NamedTuple

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any

#: What -D and -DP print on stdout where there is no entry.
NO_SAD_ENTRIES, NO_SPD_ENTRIES = "No SAD entries.\n", "No SPD entries.\n"


class Options(NamedTuple):
    """The command line, read.

    ``mode`` is the letter of the last mode given, or empty, ``scripts`` the files of -f or the text
    of -e. ``policies`` is -P, ``ports`` -p, ``no_action`` -n, ``verbose`` -v, ``hide_sockets`` -N,
    ``repeat`` -l, ``hexdump`` -H, ``unix_time`` -xx; ``twins`` is false with -k, ``keys`` with
    --nokeys and ``wrap`` with --no-wrap. ``netns`` names the network namespace to act in; empty is
    the present one.
    """

    mode: str = ""
    scripts: tuple[str, ...] = ()
    policies: bool = False
    ports: bool = False
    no_action: bool = False
    verbose: bool = False
    hide_sockets: bool = False
    twins: bool = True
    strict: bool = False
    as_read: bool = False
    json: bool = False
    keys: bool = True
    wrap: bool = True
    repeat: bool = False
    hexdump: bool = False
    unix_time: bool = False
    netns: str = ""
    files: tuple[str, ...] = ()

    @property
    def traced(self) -> bool:
        """Whether PF_KEY messages are shown."""
        return (self.verbose or self.hexdump) and not self.json


_MODES = {f"-{letter}": letter for letter in "cDFxhV?"}
_MODES |= {"--help": "--help", "--version": "--version"}
_FLAGS: dict[str, dict[str, Any]] = {
    "-P": {"policies": True},
    "-p": {"ports": True},
    "-n": {"no_action": True},
    "-v": {"verbose": True},
    "-N": {"hide_sockets": True},
    "-r": {"twins": True},
    "-k": {"twins": False},
    "-l": {"repeat": True},
    "-H": {"hexdump": True},
    "-a": {},  # dead SAs: Linux keeps none
    "-g": {},  # FreeBSD's scopes of policies: all of ours are global
    "-t": {},
    "--strict": {"strict": True},
    "--as-read": {"as_read": True},
    "--json": {"json": True},
    "--nokeys": {"keys": False},
    "--no-wrap": {"wrap": False},
}
SYNTAX = Syntax(
    frozenset(("-f=", "-e=", "--netns=", *_MODES, *_FLAGS)),
    unknown="setkey: unrecognized option '{option}'",
    unknown_letter="setkey: invalid option -- '{letter}'",
    no_value="setkey: option requires an argument -- '{letter}'",
)


def _not_empty(name: str) -> str:
    if not name:
        raise UsageError("setkey: --netns needs a name, a path or a process")
    return name


def read_options(arguments: list[str]) -> Options:
    """Read the command line; raises UsageError."""
    options = Options()
    files = []
    for name, value in iter_options(arguments, SYNTAX):
        if not name:
            files.append(value)
        elif name in _FLAGS:
            options = options._replace(**_FLAGS[name])
        elif name == "--netns=":
            options = options._replace(netns=_not_empty(value))
        elif name in _MODES:
            unix_time = options.unix_time or (name == "-x" and options.mode == "x")
            options = options._replace(mode=_MODES[name], unix_time=unix_time)
        else:
            before = options.scripts if name == "-f=" and options.mode == "f" else ()
            options = options._replace(mode=name[1], scripts=(*before, value))
    return options._replace(files=tuple(files))
