"""The setkey command: the modes -c -e -f -D -F -x, files, and exit status."""

import gc
import sys
import time

from kamexfrm.command_line import UsageError, guarded, permission_hint, printable
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.setkey.arguments import (
    NO_SAD_ENTRIES,
    NO_SPD_ENTRIES,
    Options,
    read_options,
)

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kamexfrm.kernel.interface import Kernel
    from kamexfrm.setkey.verbose import Tracer
    from kamexfrm.xfrm import Run


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
        _say_usage("h")
        sys.stdout.flush()
        sys.stderr.write(f"{error}\n")
        return 1
    if options.mode in ("--version", "V") or (
        options.mode in ("", "h", "?", "--help") and not options.files
    ):
        _say_usage(options.mode)
        return int(not options.mode.startswith("--"))
    try:
        if options.netns:
            _enter(options.netns)
        return _act(options)
    except KamexfrmError as error:
        sys.stdout.flush()
        # Scripts look for the words of a setkey that cannot open its PF_KEY socket.
        text = f"pfkey_open: {error.text}" if isinstance(error, KernelError) else error.text
        sys.stderr.write(f"setkey: {text}\n")
        if isinstance(error, KernelError):
            sys.stderr.write(permission_hint(error))
        return 1


def _say_usage(mode: str) -> None:
    """Print the version, and what else a mode that does nothing prints."""
    from kamexfrm.setkey.help import HELP, USAGE, VERSION

    more = {"V": "", "--version": "", "--help": HELP}.get(mode, USAGE)
    sys.stdout.write(f"{VERSION}\n{more}")


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
    if options.no_action:
        return 0
    from kamexfrm.kernel.netlink import NetlinkKernel

    kernel = NetlinkKernel()
    try:
        engine = _traced(kernel, options)
        if options.mode == "D":
            _dump(engine, kernel, options)
        else:
            _flush(engine, kernel, options)
    finally:
        kernel.close()
    return 0


def _traced(kernel: "Kernel", options: Options) -> "Tracer | None":
    """Return an engine that shows its messages, None where they are not to be shown."""
    if not options.traced:
        return None
    from kamexfrm.engine.engine import Engine
    from kamexfrm.setkey.verbose import Tracer

    shows = {"texts": options.verbose, "hexdump": options.hexdump}
    return Tracer(Engine(kernel), sys.stdout, **shows)


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


def _dump(tracer: "Tracer | None", kernel: "Kernel", options: Options) -> None:
    if not options.repeat:
        _show(tracer, kernel, options)
        return
    if not options.policies:
        from kamexfrm.setkey.dump_sa import SHORT_HEADER

        sys.stdout.write(SHORT_HEADER)
    while True:  # until a signal or the reader ends it, as the original
        _show(tracer, kernel, options)
        sys.stdout.flush()
        time.sleep(1)


def _show(tracer: "Tracer | None", kernel: "Kernel", options: Options) -> None:
    """Print a database once."""
    if tracer:
        shown = _show_traced(tracer, options)
    else:
        runs = kernel.policy_runs() if options.policies else kernel.state_runs()
        if runs:
            shown = _print(kernel, runs, options)
        else:  # nothing more is loaded
            shown = False
            sys.stdout.write("[]\n" if options.json else "")
    if not shown and not options.json:
        sys.stdout.write(NO_SPD_ENTRIES if options.policies else NO_SAD_ENTRIES)
    if not shown and options.policies:
        sys.stdout.flush()
        sys.stderr.write(_discards(kernel))


def _show_traced(tracer: "Tracer", options: Options) -> bool:
    from kamexfrm.setkey import dump

    if options.policies:
        return dump.dump_spd(tracer.spd(), sys.stdout, options, tracer.announce, err=sys.stderr)
    if options.repeat:
        return dump.dump_sad_short(tracer.sad(), sys.stdout)
    return dump.dump_sad(tracer.sad(), sys.stdout, options, tracer.announce)


def _print(kernel: "Kernel", runs: "Sequence[Run]", options: Options) -> bool:
    from kamexfrm.engine.engine import Engine
    from kamexfrm.setkey import dump

    if options.policies:
        sidecar_of = Engine(kernel).sidecar
        return dump.dump_spd_runs(runs, sidecar_of, sys.stdout, options, err=sys.stderr)
    return dump.dump_sad_runs(runs, sys.stdout, options)


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


def _flush(tracer: "Tracer | None", kernel: "Kernel", options: Options) -> None:
    from kamexfrm.engine.engine import Engine
    from kamexfrm.engine.requests import SaFlush, SpdFlush

    engine = tracer or Engine(kernel)
    engine.submit(SpdFlush() if options.policies else SaFlush())
    engine.flush()
