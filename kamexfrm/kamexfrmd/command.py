"""The command kamexfrmd: one daemon for each network namespace, in the foreground."""

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING

import kamexfrm
from kamexfrm.command_line import Syntax, UsageError, guarded, iter_options, printable, say
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kamexfrmd.log import Log
from kamexfrm.log_level import LogLevel, log_level

if TYPE_CHECKING:
    from kamexfrm.hub.event_loop import EventLoop
    from kamexfrm.kamexfrmd.daemon import Service
    from kamexfrm.kamexfrmd.encap import Encap, EncapAddress
    from kamexfrm.kernel.netlink import NetlinkKernel

USAGE = """\
usage: kamexfrmd [--netns NAME|PATH] [--pfkey [SOCKET]] [--encap [ADDRESS:]PORT]...
                 [--keepalive SECONDS] [--log-level LEVEL]
       kamexfrmd [--netns NAME|PATH] --once [--log-level LEVEL]
       kamexfrmd --help | --version
"""

#: The folder of PF_KEY's path when --pfkey names none.
DEFAULT_FOLDER = "/run/kamexfrm"

_KEEPALIVE_MAX = 86400

HELP = f"""\
{USAGE}
Keep the IPsec policies of a network namespace consistent with its SAs, whichever program
changes them, until SIGTERM or SIGINT. It needs CAP_NET_ADMIN. See kamexfrmd(8).

  --netns NAME|PATH        work in another network namespace
  --once                   put right what has to be, and end
  --pfkey [SOCKET]         serve PF_KEY, too, at this path ({DEFAULT_FOLDER}/pfkey)
  --encap [ADDRESS:]PORT   take ESP in UDP, too, at this port; may be given several times
  --keepalive SECONDS      send keepalives from the ports of --encap so often (20); 0 sends none
  --log-level LEVEL        say no more than this on standard error: error, warning, info, debug
                           (info); lines to systemd's journal have their level before them
  -q, --quiet              the same as --log-level error
  -h, --help               show this text
  -V, --version            show the version
"""

_UNKNOWN = "unrecognized option '{word}'"
SYNTAX = Syntax(
    frozenset(
        (
            *("-h", "--help", "-V", "--version", "--netns=", "--once", "--pfkey="),
            *("--encap=", "--keepalive=", "--log-level=", "-q", "--quiet"),
        )
    ),
    unknown=_UNKNOWN,
    unknown_letter=_UNKNOWN,
    no_value="option '{option}' needs a value",
)


class Options:
    """The command line, read; raises UsageError."""

    def __init__(self, arguments: list[str]) -> None:
        self.netns = self.pfkey = ""
        self.once = False
        self.log_level = LogLevel.INFO
        self.encap: list[EncapAddress] = []
        self.keepalive: float | None = None
        self.show = ""
        words = _without_bare("--pfkey", arguments)
        self.makes_folder = words != arguments
        for name, value in iter_options(words, SYNTAX):
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
                case "--log-level=":
                    self.log_level = log_level(value)
                case "-q" | "--quiet":
                    self.log_level = LogLevel.ERROR
                case "":
                    raise UsageError(_UNKNOWN.format(word=value))
                case _:
                    self.show = name
        if self.makes_folder:
            self.pfkey = _default_path(self.netns)
        if self.once and self.pfkey:
            raise UsageError("--once does not serve PF_KEY")
        if self.once and self.encap:
            raise UsageError("--once takes no ESP in UDP: it ends at once")
        if self.keepalive is not None and not self.encap:
            raise UsageError("--keepalive is about the sockets of --encap")


def _without_bare(option: str, arguments: list[str]) -> list[str]:
    """Return the words without an option that no value follows."""
    ends = [at for at, word in enumerate(arguments, 1) if word == option]
    bare = {at - 1 for at in ends if all(w.startswith("-") for w in arguments[at : at + 1])}
    return [word for at, word in enumerate(arguments) if at not in bare]


def _default_path(netns: str) -> str:
    """Return where PF_KEY of a namespace is served, of one that has a name by it."""
    name = f"pfkey-{netns}" if netns and "/" not in netns else "pfkey"
    return f"{DEFAULT_FOLDER}/{name}"


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
        sys.stdout.write(HELP if options.show in ("-h", "--help") else version)
        return 0
    log = Log(options.log_level)
    try:
        return _serve(options, log)
    except KamexfrmError as error:
        log.error(str(error))
        return 1


def _serve(options: Options, log: Log) -> int:
    from kamexfrm.hub.event_loop import EventLoop
    from kamexfrm.kamexfrmd.daemon import run
    from kamexfrm.kamexfrmd.only_one import only_one
    from kamexfrm.kamexfrmd.reconciler import Reconciler
    from kamexfrm.kamexfrmd.service_manager import ServiceManager
    from kamexfrm.kernel.netlink import NetlinkKernel

    service_manager = ServiceManager(log.warning)
    if options.netns:
        from kamexfrm.kernel.namespace import enter

        enter(options.netns)
    kernel = NetlinkKernel()
    reconciler = Reconciler(kernel, log.warning, log.debug)
    if options.once:
        reconciler.reconcile()
        return 0
    with only_one(kernel):
        loop = EventLoop()
        encap = _encap(kernel, options, loop, log) if options.encap else None
        service = _service(kernel, options, loop, log) if options.pfkey else None
        try:
            stop = _stop_descriptor()
            reconciler.reconcile()
            log.info("following this namespace's SAs and policies")
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


def _encap(kernel: "NetlinkKernel", options: Options, loop: "EventLoop", log: Log) -> "Encap":
    """Open the sockets for ESP in UDP; raises KernelError."""
    from kamexfrm.kamexfrmd.encap import INTERVAL, Encap

    interval = INTERVAL if options.keepalive is None else options.keepalive
    encap = Encap(kernel, options.encap, loop, log.warning, interval)
    for at in encap.addresses:
        log.info(f"taking ESP in UDP at {at}")
    return encap


def _service(kernel: "NetlinkKernel", options: Options, loop: "EventLoop", log: Log) -> "Service":
    """Open PF_KEY at a path; raises KernelError."""
    from kamexfrm.hub.algorithms import prepare
    from kamexfrm.hub.hub import Hub
    from kamexfrm.hub.served import use_all_descriptors
    from kamexfrm.kamexfrmd.daemon import Service
    from kamexfrm.kamexfrmd.listener import Listener

    use_all_descriptors()
    if options.makes_folder:
        _make_folder()
    listener = Listener(options.pfkey)
    try:
        prepare(kernel)  # clients must not wait for modules: setkey gives up after a second
    except KamexfrmError:
        listener.close()
        raise
    log.info(f"serving PF_KEY at {printable(options.pfkey, kept='')}")
    return Service(Hub(kernel, log=log.warning), listener, loop, log.warning)


def _make_folder() -> None:
    """Make the folder of the default path; raises KernelError."""
    try:
        os.makedirs(DEFAULT_FOLDER, 0o755, exist_ok=True)
    except OSError as error:
        reason = f"{DEFAULT_FOLDER}; --pfkey SOCKET names another path"
        raise KernelError(error.errno or errno.EIO, reason) from None


def _stop_descriptor() -> int:
    """Return a descriptor that is readable once SIGTERM or SIGINT has come."""
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return readable
