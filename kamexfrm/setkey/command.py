"""The setkey command: options, the modes -c -e -f -D -F -x, files, and exit status."""

import gc
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import kamexfrm
from kamexfrm.errors import KamexfrmError, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from kamexfrm.engine.door import Engine

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


class UsageError(Exception):
    """Options that do not go together or do not exist; the text is getopt's own line or empty."""


class Options(NamedTuple):
    """The command line, read. ``mode`` is the letter of the last mode given, or empty."""

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


def main(arguments: list[str] | None = None) -> int:
    """Run setkey; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _prepare_output()
    # Nothing here makes cycles, and the collector doubles the time of long dumps and files.
    gc.disable()
    try:
        status = _main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()  # the reader has left
        return 141
    except OSError as error:  # a full disk, say
        _drop_output()
        with suppress(OSError):
            sys.stderr.write(f"setkey: {error.strerror or error}\n")
            sys.stderr.flush()
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        gc.enable()
    return status


def _prepare_output() -> None:
    """Make output possible whatever this process was started with."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open to the end)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:  # a character that the locale does not have is no trouble
        reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Leave nothing that would be flushed at the end, in vain."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(arguments: list[str]) -> int:
    try:
        options = read_options(arguments)
    except UsageError as error:
        sys.stdout.write(f"{VERSION}\n{USAGE}")
        sys.stdout.flush()
        sys.stderr.write(f"{error}\n")
        return 1
    if options.mode in ("--version", "V"):
        sys.stdout.write(f"{VERSION}\n")
        return int(options.mode == "V")
    if options.mode in ("", "h", "?", "--help") and not options.files:
        sys.stdout.write(f"{VERSION}\n{USAGE}")
        return int(options.mode != "--help")
    try:
        return _act(options)
    except KamexfrmError as error:
        sys.stdout.flush()
        # Scripts look for the words of a setkey that cannot open its PF_KEY socket.
        text = f"pfkey_open: {error.text}" if isinstance(error, Refusal) else error.text
        sys.stderr.write(f"setkey: {text}\n")
        return 1


def _act(options: Options) -> int:
    if options.files:
        from kamexfrm.setkey.binary_files import show_files

        return show_files(options.files, sys.stdout, sys.stderr, options)
    if options.mode in ("f", "e", "c"):
        from kamexfrm.setkey.script import run_script

        return run_script(options)
    if options.mode == "x":
        return _monitor(options)
    if options.mode == "D":
        return 0 if options.no_action else _with_engine(_dump, options)
    return _with_engine(_flush, options)


def _with_engine(action: "Callable[[Engine, Options], int]", options: Options) -> int:
    from kamexfrm.engine.door import Engine
    from kamexfrm.kernel.netlink import NetlinkKernel

    kernel = NetlinkKernel()
    try:
        if (options.verbose or options.hexdump) and not options.json:
            from kamexfrm.setkey.verbose import TracingEngine

            shows = {"texts": options.verbose, "hexdump": options.hexdump}
            return action(TracingEngine(kernel, sys.stdout, **shows), options)
        return action(Engine(kernel), options)
    finally:
        kernel.close()


def _monitor(options: Options) -> int:
    from kamexfrm.kernel.netlink import NetlinkKernel
    from kamexfrm.setkey.monitor import run_monitor

    if options.no_action:
        return 0
    gc.enable()  # this may run for years
    kernel = NetlinkKernel()
    try:
        run_monitor(kernel, sys.stdout, sys.stderr, options)
    finally:
        kernel.close()
    return 0


def _dump(engine: "Engine", options: Options) -> int:
    if not options.repeat:
        _show(engine, options)
        return 0
    if not options.policies:
        from kamexfrm.setkey.dump_sa import SHORT_HEADER

        sys.stdout.write(SHORT_HEADER)
    while True:  # until a signal or the reader ends it, as the original
        _show(engine, options)
        sys.stdout.flush()
        time.sleep(1)


def _show(engine: "Engine", options: Options) -> None:
    from kamexfrm.setkey import output

    announce = getattr(engine, "announce", None)  # -v: an engine that shows its messages
    if options.policies:
        shown = output.dump_spd(engine.spd(), sys.stdout, options, announce)
        empty = "No SPD entries."
    elif options.repeat:
        shown = output.dump_sad_short(engine.sad(), sys.stdout)
        empty = "No SAD entries."
    else:
        shown = output.dump_sad(engine.sad(), sys.stdout, options, announce)
        empty = "No SAD entries."
    if not shown and not options.json:
        sys.stdout.write(f"{empty}\n")


def _flush(engine: "Engine", options: Options) -> int:
    from kamexfrm.engine.requests import SaFlush, SpdFlush

    if not options.no_action:
        engine.submit(SpdFlush() if options.policies else SaFlush())
        engine.flush()
    return 0
