"""The command line of ``kamexfrm exec``: its options, usage and help."""

from typing import NamedTuple

from kamexfrm.command_line import Syntax, UsageError, iter_options
from kamexfrm.exec.filter import Barrier
from kamexfrm.log_level import LogLevel, log_level

USAGE = """\
usage: kamexfrm exec [--barrier peek|strict|none] [--strict] [--policy TEXT]... [--log FILE]
                     [--log-level LEVEL] [-v] [--] PROGRAM [ARGUMENT]...
       kamexfrm exec --help | --version
"""

HELP = f"""\
{USAGE}
Run PROGRAM, unmodified, with PF_KEY sockets and IP_IPSEC_POLICY on a kernel without AF_KEY.

  --barrier peek     a receiver that will not wait finds the reply to what was sent before
                     (default)
  --barrier strict   each send returns when the reply is there, with the kernel's errors; slower
  --barrier none     replies come when they come
  --strict           the same as --barrier strict
  --policy TEXT      give each IPv4 and IPv6 socket of PROGRAM this policy, such as
                     'out ipsec esp/transport//require'; once for out, once for in
  --log FILE         append to FILE what is served and refused
  -v, --verbose      the same, on standard error
  --log-level LEVEL  no more than this: error, warning (what is refused), info, debug (info);
                     on standard error without --log; lines to systemd's journal have their
                     level before them
  -h, --help         show this text
  -V, --version      show the version

The exit status is PROGRAM's; 125 if it could not be supervised, 126 if it could not be run, 127
if it was not found.
"""


class Options(NamedTuple):
    """The options; ``program`` is empty where ``show`` says what is wanted, help or version."""

    program: tuple[str, ...] = ()
    barrier: Barrier = Barrier.PEEK
    policies: tuple[str, ...] = ()
    log: str = ""
    verbose: bool = False
    level: LogLevel = LogLevel.INFO
    show: str = ""


SYNTAX = Syntax(
    frozenset(
        (
            *("-h", "-V", "-v", "--barrier=", "--help", "--log=", "--log-level=", "--policy="),
            *("--strict", "--verbose", "--version"),
        )
    ),
    unknown="unrecognized option '{option}'",
    unknown_letter="unrecognized option '{word}'",
    no_value="option '{option}' needs a value",
)


def read_options(arguments: list[str]) -> Options:
    """Read the command line up to the program; raises UsageError."""
    options = Options()
    program = []
    for name, value in iter_options(arguments, SYNTAX):
        match name:
            case "-h" | "--help":
                return Options(show="help")
            case "-V" | "--version":
                return Options(show="version")
            case "--barrier=":
                options = options._replace(barrier=_barrier(value))
            case "--policy=":
                options = options._replace(policies=(*options.policies, value))
            case "--log=":
                options = options._replace(log=value)
            case "--strict":
                options = options._replace(barrier=Barrier.STRICT)
            case "--log-level=":
                options = options._replace(level=log_level(value), verbose=True)
            case "-v" | "--verbose":
                options = options._replace(verbose=True)
            case _:
                program.append(value)
    if not program:
        raise UsageError("no program")
    return options._replace(program=tuple(program))


def _barrier(word: str) -> Barrier:
    try:
        return Barrier(word)
    except ValueError:
        raise UsageError(f"no such barrier: '{word}'") from None
