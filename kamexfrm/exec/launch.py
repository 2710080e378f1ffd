"""Starting a program with a supervisor beside it.

The program keeps the process id of the command, so exit status, signals and job control are its
own. The keeper is an orphaned grandchild in a session of its own, and the supervisor its child: the
program gets no SIGCHLD and no result of wait(2) that it does not expect.
"""

import contextlib
import errno
import gc
import mmap
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.exec.filter import AF_KEY, UNTRAPPED
from kamexfrm.exec.keeper import keep
from kamexfrm.exec.seccomp import PAGE_BYTES, Listener, install

#: The supervisor's answer to the first call of all, which is ours and only tests whether calls
#: arrive: an errno that no filter returns.
ARRIVED = errno.EUCLEAN

#: Signals that a user or a service manager sends to all processes of a program.
_IGNORED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGPIPE,
    signal.SIGALRM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_DESCRIPTOR = struct.Struct("@i")

#: Values of oom_score_adj (proc(5)), where we may lower it: the programs' memory is freed first.
_OOM_SUPERVISOR, _OOM_KEEPER = -900, -1000

#: Runs the supervisor on its listener.
Serve = Callable[[Listener], None]


def start_supervisor(prepare: Callable[[], Serve], kept: Sequence[int] = ()) -> socket.socket:
    """Start the supervisor and its keeper; return the socket on which both wait for the listener.

    The supervisor calls ``prepare`` at once, and what that returned when it has the listener. It
    keeps the descriptors ``kept`` and no other of ours. Raises KamexfrmError where /proc does not
    show this process.
    """
    _check_proc()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    if not (child := os.fork()):
        with _exit_after():
            ours.close()
            os.setsid()
            if not os.fork():
                _detach((theirs.fileno(), *kept))
                _serve_and_keep(theirs, prepare, kept)
    theirs.close()
    with contextlib.suppress(ChildProcessError):  # SIGCHLD is ignored: it has ended all the same
        os.waitpid(child, 0)
    return ours


def _serve_and_keep(
    source: socket.socket, prepare: Callable[[], Serve], kept: Sequence[int]
) -> None:
    """Fork the supervisor, before it loads anything, and be its keeper."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would hide the exit status
    page = mmap.mmap(-1, PAGE_BYTES)
    gc.freeze()  # a collection would make copies of the pages that the two processes share
    if supervisor := os.fork():
        _set_name("kamexfrm-keeper")
        _lower_oom_score(_OOM_KEEPER)
        for descriptor in kept:  # a log whose reader waits for its end
            os.close(descriptor)
        with source:
            listener = Listener(_receive_descriptor(source), page)
        keep(listener, supervisor)
        return
    _set_name("kamexfrm-exec")
    _lower_oom_score(_OOM_SUPERVISOR)
    with source:
        serve = prepare()
        listener = Listener(_receive_descriptor(source), page)
    _confirm(listener)
    serve(listener)


def _check_proc() -> None:
    """Check that /proc is that of our PID namespace."""
    try:
        shown = os.readlink("/proc/self")
    except OSError:
        shown = ""
    if shown != str(os.getpid()):
        raise KamexfrmError(
            "/proc is missing, or that of another PID namespace: mount it (unshare --mount-proc)",
            errno=errno.ENOENT,
        )


@contextlib.contextmanager
def _exit_after() -> Iterator[None]:
    """End the process after the block in any case, without the caller's clean-up."""
    status = 1
    try:
        yield
        status = 0
    finally:
        os._exit(status)


def _detach(kept: Sequence[int]) -> None:
    """Detach the supervisor from the program's terminal, pipes and signals."""
    for each in _IGNORED:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        if number not in kept:
            os.dup2(nowhere, number)
    # Pipes and sockets of the command's caller, which waits for them to close.
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _set_name(name: str) -> None:
    """Set the name that ps(1) shows."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(name)


def _lower_oom_score(adjustment: int) -> None:
    """Make the OOM killer prefer other processes; this needs CAP_SYS_RESOURCE."""
    with contextlib.suppress(OSError):
        file = os.open("/proc/self/oom_score_adj", os.O_RDWR)
        try:
            if int(os.read(file, 16)) > adjustment:
                os.pwrite(file, str(adjustment).encode(), 0)
        finally:
            os.close(file)


def hand_over(program: bytes, to: socket.socket) -> None:
    """Install the filter on this process and give its listener to the supervisor and the keeper.

    Raises KernelError where the system forbids it.
    """
    listener = install(program)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(listener))
    try:
        for _ in range(2):  # one message for each
            to.sendmsg([b"\0"], [rights], UNTRAPPED)
    except (BrokenPipeError, ConnectionResetError):
        raise KamexfrmError(_ENDED) from None
    os.close(listener)
    to.close()
    try:
        socket.socket(AF_KEY, socket.SOCK_RAW, 0).close()
        number = 0
    except OSError as error:
        number = error.errno or errno.EIO
    if number == errno.ENOSYS:
        raise KamexfrmError(_ENDED)
    if number != ARRIVED:
        raise KernelError(number, _OTHER_FILTER)


_ENDED = "the supervisor ended before the program started"
_OTHER_FILTER = (
    "another filter answers socket(AF_KEY) before ours is asked: allow AF_KEY in the container's "
    "seccomp profile, or in the service's RestrictAddressFamilies= and SystemCallFilter="
)


def _receive_descriptor(source: socket.socket) -> int:
    _, descriptors, _, _ = socket.recv_fds(source, 1, 1)
    if not descriptors:
        raise EOFError("no listener")
    return descriptors[0]


def _confirm(listener: Listener) -> None:
    listener.refuse(listener.receive(), ARRIVED)


def become(program: Sequence[str]) -> NoReturn:
    """Replace this process by a program, searched in PATH, with the environment as given to us.

    Raises OSError if there is no such program.
    """
    # Python changed these for itself (signal(7): ignored signals stay so over execve(2)).
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execvpe(program[0], list(program), _environment())  # noqa: S606  # no shell is meant


def _environment() -> dict[bytes, bytes]:
    """Return the environment without LC_CTYPE if Python set that (PEP 538)."""
    with open("/proc/self/environ", "rb") as given:
        before = given.read()
    environment = dict(os.environb)
    if not before.startswith(b"LC_CTYPE=") and b"\0LC_CTYPE=" not in before:
        environment.pop(b"LC_CTYPE", None)
    return environment
