"""The command kamexfrmd: one daemon for each network namespace, in the foreground."""

import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import kamexfrm
from kamexfrm.command_line import Syntax, UsageError, guarded, iter_options, printable, say
from kamexfrm.errors import KamexfrmError

if TYPE_CHECKING:
    from kamexfrm.hub.event_loop import EventLoop
    from kamexfrm.kamexfrmd.daemon import Service
    from kamexfrm.kamexfrmd.encap import Encap, EncapAddress
    from kamexfrm.kernel.netlink import NetlinkKernel

USAGE = """\
usage: kamexfrmd [--netns NAME|PATH] [--pfkey SOCKET] [--encap [ADDRESS:]PORT]...
                 [--keepalive SECONDS] [--quiet]
       kamexfrmd [--netns NAME|PATH] --once [--quiet]
       kamexfrmd --help | --version
"""

_KEEPALIVE_MAX = 86400

_UNKNOWN = "unrecognized option '{word}'"
_SYNTAX = Syntax(
    frozenset(
        (
            *("-h", "--help", "--version", "--netns=", "--once", "--pfkey=", "--quiet"),
            *("--encap=", "--keepalive="),
        )
    ),
    unknown=_UNKNOWN,
    unknown_letter=_UNKNOWN,
    no_value=_UNKNOWN,
)


class Options:
    """The command line, read; raises UsageError."""

    def __init__(self, arguments: list[str]) -> None:
        self.netns = self.pfkey = ""
        self.once = self.quiet = False
        self.encap: list[EncapAddress] = []
        self.keepalive: float | None = None
        self.show = ""
        for name, value in iter_options(arguments, _SYNTAX):
            match name:
                case "--netns=":
                    self.netns = _not_empty(name, value)
                case "--pfkey=":
                    self.pfkey = _not_empty(name, value)
                case "--encap=":
                    from kamexfrm.kamexfrmd.encap import parse_encap

                    self.encap += parse_encap(_not_empty(name, value))
                case "--keepalive=":
                    self.keepalive = _seconds(name, value)
                case "--once":
                    self.once = True
                case "--quiet":
                    self.quiet = True
                case "":
                    raise UsageError(_UNKNOWN.format(word=value))
                case _:
                    self.show = name
        if self.once and self.pfkey:
            raise UsageError("--once does not serve PF_KEY")
        if self.once and self.encap:
            raise UsageError("--once takes no ESP in UDP: it ends at once")
        if self.keepalive is not None and not self.encap:
            raise UsageError("--keepalive is about the sockets of --encap")


def _not_empty(name: str, value: str) -> str:
    if not value:
        raise UsageError(f"option '{name.rstrip('=')}' needs a value that is not empty")
    return value


def _seconds(name: str, value: str) -> float:
    if not value.isascii() or not value.isdigit() or int(value) > _KEEPALIVE_MAX:
        option = name.rstrip("=")
        raise UsageError(f"option '{option}' needs seconds, 0 to {_KEEPALIVE_MAX}; 0 sends none")
    return float(value)


def main(arguments: list[str] | None = None) -> int:
    """Run kamexfrmd; return its exit status: 0, 1 for trouble, 2 for usage."""
    words = sys.argv[1:] if arguments is None else arguments
    return guarded("kamexfrmd", lambda: _main(words))


def _main(arguments: list[str]) -> int:
    try:
        options = Options(arguments)
    except UsageError as error:
        say(f"kamexfrmd: {error}\n{USAGE}")
        return 2
    if options.show:
        version = f"kamexfrmd {kamexfrm.__version__}\n"
        sys.stdout.write(version if options.show == "--version" else USAGE)
        return 0
    try:
        return _serve(options)
    except KamexfrmError as error:
        say(f"kamexfrmd: {error}\n")
        return 1


def _serve(options: Options) -> int:
    from kamexfrm.hub.event_loop import EventLoop
    from kamexfrm.kamexfrmd.daemon import run
    from kamexfrm.kamexfrmd.only_one import only_one
    from kamexfrm.kamexfrmd.reconciler import Reconciler
    from kamexfrm.kamexfrmd.service_manager import ServiceManager
    from kamexfrm.kernel.netlink import NetlinkKernel

    def log(text: str) -> None:
        if not options.quiet:
            say(f"kamexfrmd: {text}\n")

    service_manager = ServiceManager(log)
    if options.netns:
        from kamexfrm.kernel.namespace import enter

        enter(options.netns)
    kernel = NetlinkKernel()
    reconciler = Reconciler(kernel, log)
    if options.once:
        reconciler.reconcile()
        return 0
    with only_one(kernel):
        loop = EventLoop()
        encap = _encap(kernel, options, loop, log) if options.encap else None
        service = _service(kernel, options.pfkey, loop, log) if options.pfkey else None
        try:
            stop = _stop_descriptor()
            reconciler.reconcile()
            log("following this namespace's SAs and policies")
            service_manager.notify("READY=1")
            run(loop, reconciler, service, stop, encap)
            service_manager.notify("STOPPING=1")
        finally:
            if encap is not None:
                encap.close()
            if service is not None:
                service.close()
            service_manager.close()
    return 0


def _encap(
    kernel: "NetlinkKernel", options: Options, loop: "EventLoop", log: Callable[[str], None]
) -> "Encap":
    """Open the sockets for ESP in UDP; raises KernelError."""
    from kamexfrm.kamexfrmd.encap import INTERVAL, Encap

    interval = INTERVAL if options.keepalive is None else options.keepalive
    return Encap(kernel, options.encap, loop, log, interval)


def _service(
    kernel: "NetlinkKernel", path: str, loop: "EventLoop", log: Callable[[str], None]
) -> "Service":
    """Open PF_KEY at a path; raises KernelError."""
    from kamexfrm.hub.algorithms import prepare
    from kamexfrm.hub.hub import Hub
    from kamexfrm.hub.served import use_all_descriptors
    from kamexfrm.kamexfrmd.daemon import Service
    from kamexfrm.kamexfrmd.listener import Listener

    use_all_descriptors()
    listener = Listener(path)
    try:
        prepare(kernel)  # clients must not wait for modules: setkey gives up after a second
    except KamexfrmError:
        listener.close()
        raise
    log(f"serving PF_KEY at {printable(path, kept='')}")
    return Service(Hub(kernel, log=log), listener, loop, log)


def _stop_descriptor() -> int:
    """Return a descriptor that is readable once SIGTERM or SIGINT has come."""
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return readable
