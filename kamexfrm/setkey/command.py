"""The setkey command: the modes -c -e -f -D -F -x, files, and exit status."""

import gc
import sys
import time
from typing import TYPE_CHECKING

from kamexfrm.command_line import UsageError, guarded, printable
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.setkey.arguments import USAGE, VERSION, Options, read_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from kamexfrm.engine.engine import Engine
    from kamexfrm.kernel.interface import Kernel
    from kamexfrm.setkey.verbose import Tracer


def main(arguments: list[str] | None = None) -> int:
    """Run setkey; return its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    # Nothing here makes cycles, and the collector doubles the time of long dumps and files.
    gc.disable()
    try:
        return guarded("setkey", lambda: _main(words))
    finally:
        gc.enable()


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
        if options.netns:
            _enter(options.netns)
        return _act(options)
    except KamexfrmError as error:
        sys.stdout.flush()
        # Scripts look for the words of a setkey that cannot open its PF_KEY socket.
        text = f"pfkey_open: {error.text}" if isinstance(error, KernelError) else error.text
        sys.stderr.write(f"setkey: {text}\n")
        return 1


def _enter(netns: str) -> None:
    """Put this process into a network namespace; raises KamexfrmError."""
    from kamexfrm.kernel.namespace import enter

    try:
        enter(netns)
    except KernelError as error:
        raise KamexfrmError(printable(f"--netns: {error}", "")) from None


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


def _with_engine(
    action: "Callable[[Engine | Tracer, Kernel, Options], int]", options: Options
) -> int:
    from kamexfrm.engine.engine import Engine
    from kamexfrm.kernel.netlink import NetlinkKernel

    kernel = NetlinkKernel()
    try:
        if options.traced:
            from kamexfrm.setkey.verbose import Tracer

            shows = {"texts": options.verbose, "hexdump": options.hexdump}
            return action(Tracer(Engine(kernel), sys.stdout, **shows), kernel, options)
        return action(Engine(kernel), kernel, options)
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


def _dump(engine: "Engine | Tracer", kernel: "Kernel", options: Options) -> int:
    if not options.repeat:
        _show(engine, kernel, options)
        return 0
    if not options.policies:
        from kamexfrm.setkey.dump_sa import SHORT_HEADER

        sys.stdout.write(SHORT_HEADER)
    while True:  # until a signal or the reader ends it, as the original
        _show(engine, kernel, options)
        sys.stdout.flush()
        time.sleep(1)


def _show(engine: "Engine | Tracer", kernel: "Kernel", options: Options) -> None:
    from kamexfrm.engine.engine import Engine
    from kamexfrm.setkey import dump

    out, err = sys.stdout, sys.stderr
    announce = getattr(engine, "announce", None)  # a Tracer's
    if options.policies and announce:
        shown = dump.dump_spd(engine.spd(), out, options, announce, err=err)
    elif options.policies:
        plain = Engine(kernel)
        shown = dump.dump_spd_runs(plain.spd_runs(), plain.sidecar, out, options, err=err)
    elif options.repeat:
        shown = dump.dump_sad_short(engine.sad(), sys.stdout)
    else:
        shown = dump.dump_sad(engine.sad(), sys.stdout, options, announce)
    if not shown and not options.json:
        from kamexfrm.setkey import dump_sa, dump_sp

        sys.stdout.write((dump_sp if options.policies else dump_sa).NO_ENTRIES)
    if not shown and options.policies:
        sys.stdout.flush()
        sys.stderr.write(_discards(kernel))


def _discards(kernel: "Kernel") -> str:
    """Return a line about def_policy 0, or nothing: where there is no policy, nothing passes."""
    from kamexfrm.engine.lookup import discarding_families
    from kamexfrm.errors import UnsupportedError
    from kamexfrm.net import AF_INET

    try:
        families = discarding_families(kernel)
    except UnsupportedError:  # a marker that only a later version can read
        return ""
    if not families:
        return ""
    names = " and ".join("IPv4" if family == AF_INET else "IPv6" for family in families)
    return (
        f"setkey: def_policy is 0 for {names}: packets that match no policy are discarded;"
        " see LOCKED OUT in ipsec(4)\n"
    )


def _flush(engine: "Engine | Tracer", _: "Kernel", options: Options) -> int:
    from kamexfrm.engine.requests import SaFlush, SpdFlush

    if not options.no_action:
        engine.submit(SpdFlush() if options.policies else SaFlush())
        engine.flush()
    return 0
