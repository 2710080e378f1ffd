"""The options of kame-sysctl, read by hand: no library for it starts fast enough."""

from typing import Any, NamedTuple

from kamexfrm.errors import KamexfrmError

#: What -p reads when it is given no file.
DEFAULT_FILE = "/etc/kamexfrm/sysctl.conf"

USAGE = """\
usage: kame-sysctl [-deNnq] [--json] name ...
       kame-sysctl [-eNnqw] [--json] [--preset linux|kame] name=value ...
       kame-sysctl [-dNn] [--json] -a
       kame-sysctl [-eNnq] [--json] -p [file ...] | -f file
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
  -p, --load          the operands are such files ({DEFAULT_FILE})
  -q, --quiet         do not print what was written
  -w, --write         all operands are assignments
  --json              print one JSON object
  --preset linux      as Linux's AF_KEY had it: level default means require
  --preset kame       all variables as KAME starts them
  -h, --help          show this
  -V, --version       show the version
"""


class UsageError(KamexfrmError):
    """A command line that does not make sense."""


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
    preset: str = ""
    files: tuple[str, ...] = ()
    operands: tuple[str, ...] = ()


_FLAGS = {
    "a": "all",
    "A": "all",
    "d": "describe",
    "e": "ignore",
    "N": "names",
    "n": "values",
    "q": "quiet",
    "w": "write",
}
_LONG = {
    "--all": "all",
    "--description": "describe",
    "--ignore": "ignore",
    "--json": "json",
    "--load": "load",
    "--names": "names",
    "--quiet": "quiet",
    "--values": "values",
    "--write": "write",
}
_ACTIONS = {"h": "help", "--help": "help", "V": "version", "--version": "version"}
PRESETS = ("linux", "kame")


def read_options(arguments: list[str]) -> Options:
    """Read a command line, options and operands in any order; raises UsageError."""
    options = Options()
    operands: list[str] = []
    rest = list(arguments)
    while rest and not options.action:
        word = rest.pop(0)
        if word == "--":
            operands += rest
            break
        if word.startswith("--"):
            options = _read_long(options, word, rest)
        elif word.startswith("-") and word != "-":
            options = _read_letters(options, word[1:], rest)
        else:
            operands.append(word)
    if options.action:
        return options
    if options.load:  # as in procps: whatever else there is is a file
        files = options.files + tuple(operands)
        options = options._replace(files=files or (DEFAULT_FILE,))
    else:
        options = options._replace(operands=tuple(operands))
    _check(options)
    return options


def _set(options: Options, flag: str) -> Options:
    fields: dict[str, Any] = {flag: True}
    return options._replace(**fields)


def _read_letters(options: Options, letters: str, rest: list[str]) -> Options:
    for at, letter in enumerate(letters, 1):
        if letter in _FLAGS:
            options = _set(options, _FLAGS[letter])
        elif letter in _ACTIONS:
            return options._replace(action=_ACTIONS[letter])
        elif letter in "pf":
            file = letters[at:]
            if letter == "p":
                options = options._replace(load=True)
            elif not file:
                file = _argument("-f", rest)
            return options._replace(files=options.files + ((file,) if file else ()))
        else:
            raise UsageError(f"unknown option -{letter}")
    return options


def _read_long(options: Options, word: str, rest: list[str]) -> Options:
    name, equals, value = word.partition("=")
    if name == "--preset":
        preset = value if equals else _argument(name, rest)
        if preset not in PRESETS:
            raise UsageError(f"unknown preset {preset}: there are {' and '.join(PRESETS)}")
        return options._replace(preset=preset)
    if name == "--load" and equals:
        return options._replace(load=True, files=(*options.files, value))
    if word in _ACTIONS:
        return options._replace(action=_ACTIONS[word])
    if word not in _LONG:
        raise UsageError(f"unknown option {word}")
    return _set(options, _LONG[word])


def _argument(option: str, rest: list[str]) -> str:
    if not rest:
        raise UsageError(f"option {option} needs an argument")
    return rest.pop(0)


def _check(options: Options) -> None:
    """Raise UsageError for what does not go together."""
    writes = bool(options.files or options.preset)
    if not (options.operands or options.all or writes):
        raise UsageError("no variable named")
    if options.names and options.values:
        raise UsageError("-N and -n exclude each other")
    if options.write:
        for operand in options.operands:
            if "=" not in operand:
                raise UsageError(f"-w writes: {operand} must be NAME=VALUE")
        if not (options.operands or writes):
            raise UsageError("-w writes: no NAME=VALUE given")
    if options.describe and (writes or any("=" in operand for operand in options.operands)):
        raise UsageError("-d describes and writes nothing")
