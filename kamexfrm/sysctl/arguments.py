"""The command line of kame-sysctl: its options, usage and help."""

from __future__ import annotations

import os

from kamexfrm.command_line import Syntax, UsageError, iter_options
from kamexfrm.records import NamedTuple
from kamexfrm.sysctl.settings import shown

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any

#: What -p reads when it is given no file.
DEFAULT_FILE = "/etc/kamexfrm/sysctl.conf"

USAGE = """\
usage: kame-sysctl [-deNnq] [--json] [--netns NAME|PATH|PID] name ...
       kame-sysctl [-eNnqw] [--json] [--preset linux|kame] name=value ...
       kame-sysctl [-dNn] [--json] -a
       kame-sysctl [-eNnq] [--json] -p [file ...] | -f file | --system
"""

HELP = f"""\
{USAGE}
Read and write the IPsec defaults of this network namespace: net.inet.ipsec.* for
IPv4, net.inet6.ipsec6.* for IPv6, net.key.* for both; see kame-sysctl(8).

  -a, -A, --all       show all variables
  -d, --description   say what a variable means, those too that Linux has not
  -e, --ignore        pass over variables that are unknown or that Linux has not
  -f FILE             write what a file says; - is the standard input
  -N, --names         print names only
  -n, --values        print values only
  -p, --load          the operands are such files ({DEFAULT_FILE}, if it is there)
  --system            write what the system's files say: *.conf of kamexfrm/sysctl.d below
                      /run, /etc, /usr/local/lib and /usr/lib by their names, then
                      {DEFAULT_FILE}
  -q, --quiet         do not print what was written
  -w, --write         all operands are assignments
  --json              print one JSON object
  --netns NAME        act in this network namespace; a path or a process also names one
  --preset linux      as Linux's AF_KEY had it: level default means require
  --preset kame       all variables as KAME starts them
  -h, --help          show this
  -V, --version       show the version
"""


class Options(NamedTuple):
    """The command line, read. ``files`` and ``operands`` are in the order given."""

    action: str = ""
    all: bool = False
    describe: bool = False
    ignore: bool = False
    names: bool = False
    values: bool = False
    quiet: bool = False
    write: bool = False
    json: bool = False
    load: bool = False
    system: bool = False
    preset: str = ""
    netns: str = ""
    files: tuple[str, ...] = ()
    operands: tuple[str, ...] = ()


PRESETS = ("linux", "kame")

_FLAGS = {
    "-a": "all",
    "-A": "all",
    "--all": "all",
    "-d": "describe",
    "--description": "describe",
    "-e": "ignore",
    "--ignore": "ignore",
    "-N": "names",
    "--names": "names",
    "-n": "values",
    "--values": "values",
    "-p": "load",
    "--load": "load",
    "--system": "system",
    "-q": "quiet",
    "--quiet": "quiet",
    "-w": "write",
    "--write": "write",
    "--json": "json",
}
_ACTIONS = {"-h": "help", "--help": "help", "-V": "version", "--version": "version"}
SYNTAX = Syntax(
    frozenset(("-f=", "-p=", "--load=", "--preset=", "--netns=", *_FLAGS, *_ACTIONS)),
    unknown="unknown option {option}",
    unknown_letter="unknown option {option}",
    no_value="option {option} needs an argument",
    permuted=True,
)


def read_options(arguments: list[str]) -> Options:
    """Read a command line, options and operands in any order; raises UsageError."""
    options = Options()
    operands = []
    for name, value in iter_options(arguments, SYNTAX):
        if name in _ACTIONS:
            return options._replace(action=_ACTIONS[name])
        if name:
            options = _with_option(options, name, value)
        else:
            operands.append(value)
    if options.load:  # as in procps: all operands are files
        files = (*options.files, *operands)
        default = (DEFAULT_FILE,) if os.path.exists(DEFAULT_FILE) else ()
        options = options._replace(files=files or default)
    else:
        options = options._replace(operands=tuple(operands))
    _check(options)
    return options


def _with_option(options: Options, name: str, value: str) -> Options:
    match name:
        case "--preset=":
            if value not in PRESETS:
                raise UsageError(f"unknown preset {value}: there are {' and '.join(PRESETS)}")
            return options._replace(preset=value)
        case "--netns=":
            if not value:
                raise UsageError("--netns needs a name, a path or a process")
            return options._replace(netns=value)
        case "-f=":
            return options._replace(files=options.files + ((value,) if value else ()))
        case "-p=" | "--load=":
            return options._replace(load=True, files=(*options.files, value))
        case _:
            flag: dict[str, Any] = {_FLAGS[name]: True}
            return options._replace(**flag)


def _check(options: Options) -> None:
    """Raise UsageError for what does not go together."""
    writes = bool(options.files or options.preset or options.load or options.system)
    if not (options.operands or options.all or writes):
        raise UsageError("no variable named")
    if options.names and options.values:
        raise UsageError("-N and -n exclude each other")
    if options.write:
        for operand in options.operands:
            if "=" not in operand:
                raise UsageError(f"-w writes: {shown(operand)} must be NAME=VALUE")
        if not (options.operands or writes):
            raise UsageError("-w writes: no NAME=VALUE given")
    if options.describe and (writes or any("=" in operand for operand in options.operands)):
        raise UsageError("-d describes and writes nothing")
