"""A change that takes itself back unless somebody confirms it in time.

A process of its own holds what was there, in its memory alone. It belongs to no terminal, and it
acts when the time is over, when it is told to or when it gets SIGTERM. It listens at a socket of
the namespace in a folder that only its owner can enter. If it is killed by SIGKILL, the change
stays.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import stat
import syslog
import time
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from kamexfrm.engine.snapshot import Snapshot, put_back
from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.namespace import HERE
from kamexfrm.kernel.netlink import NetlinkKernel

_CONFIRM, _REVERT, _ASK = b"confirm", b"revert", b"ask"
_ARMED, _CANCELLED, _READY = b"a", b"c", b"r"

#: Longest answer and question, in bytes.
_LONGEST = 200


class Pending(NamedTuple):
    """A change that waits to be confirmed: the seconds that are left."""

    seconds: float


class Guard:
    """The process that takes a change back, as the one that makes the change sees it."""

    def __init__(self, control: int) -> None:
        self._control = control

    def arm(self) -> None:
        """Let the time begin: the change is made."""
        self._tell(_ARMED)

    def cancel(self) -> None:
        """End the process: there is no change."""
        self._tell(_CANCELLED)

    def _tell(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it was killed
            os.write(self._control, word)
        os.close(self._control)


def _folder() -> str:
    """Return the folder of the sockets, which is made; raises KamexfrmError."""
    for path in ("/run/kamexfrm-confirm", _of_user()):
        with contextlib.suppress(OSError):
            os.makedirs(path, mode=0o700, exist_ok=True)
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                os.chmod(path, 0o700)
                return path
    raise KamexfrmError(
        "no folder for the socket: /run/kamexfrm-confirm cannot be made", errno=errno.EACCES
    )


def _of_user() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return f"{runtime}/kamexfrm-confirm" if runtime else f"/tmp/kamexfrm-confirm-{os.geteuid()}"  # noqa: S108 - its owner is checked


def _path() -> str:
    return f"{_folder()}/{os.stat(HERE).st_ino}"


def start(snapshot: Snapshot, seconds: float) -> Guard:
    """Start the process that puts a snapshot back after ``seconds``; raises KamexfrmError.

    The caller may hold the namespace's lock.
    """
    path = _path()
    if ask() is not None:
        raise KamexfrmError("another change waits for `kamexfrm confirm`", errno=errno.EBUSY)
    control, guard_control = os.pipe()[::-1]
    ready, guard_ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        _leave_parent((guard_control, guard_ready))
        _guard(snapshot, seconds, path, guard_control, guard_ready)
    os.close(guard_control)
    os.close(guard_ready)
    os.waitpid(pid, 0)
    with os.fdopen(ready, "rb") as answer:
        if answer.read(1) != _READY:
            os.close(control)
            raise KamexfrmError("the process that takes a change back does not start")
    return Guard(control)


def _leave_parent(kept: tuple[int, ...]) -> None:
    """Leave terminal, parent and open files, the lock of the namespace among them."""
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _guard(snapshot: Snapshot, seconds: float, path: str, control: int, ready: int) -> NoReturn:
    """Wait, and take the change back or not; never returns."""
    status = 1
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of one that was killed
        listener.bind(path)
        listener.listen(4)
        with contextlib.suppress(OSError):
            _spare_from_lack_of_memory()
        os.write(ready, _READY)
        os.close(ready)
        _wait(snapshot, seconds, path, control, listener)
        status = 0
    except BaseException as error:
        with contextlib.suppress(Exception):
            syslog.syslog(syslog.LOG_ERR, f"kamexfrm: a change is not taken back: {error!r}")
    finally:
        os._exit(status)


def _spare_from_lack_of_memory() -> None:
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-900")


class _TermError(Exception):
    """SIGTERM came."""


def _wait(
    snapshot: Snapshot, seconds: float, path: str, control: int, listener: socket.socket
) -> None:
    def end(*_: object) -> None:
        raise _TermError

    signal.signal(signal.SIGTERM, end)
    try:
        until = time.monotonic() + seconds
        waited: list[int | socket.socket] = [control, listener]
        while (left := until - time.monotonic()) > 0:
            readable, _, _ = select.select(waited, (), (), left)
            if control in readable:
                word = os.read(control, 1)
                if word == _CANCELLED:
                    os.unlink(path)
                    return
                if word == _ARMED:
                    until = time.monotonic() + seconds
                else:  # its end: who makes the change has ended, or was killed
                    waited.remove(control)
            if listener in readable:
                word = _answered(listener, until, path)
                if word == _CONFIRM:
                    return
                if word == _REVERT:
                    break
    except _TermError:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    revert(snapshot)


def _answered(listener: socket.socket, until: float, path: str) -> bytes:
    """Answer one client; return what it wants, empty where that is an answer alone."""
    connection, _ = listener.accept()
    connection.settimeout(1)
    word = b""
    with contextlib.suppress(OSError):
        word = connection.recv(_LONGEST)
        if word == _CONFIRM:
            os.unlink(path)
            connection.sendall(b"confirmed")
        elif word == _REVERT:
            connection.sendall(b"reverting")
            connection.detach()  # open to the end of this process, which the client waits for
        elif word == _ASK:
            connection.sendall(f"{max(0.0, until - time.monotonic()):.1f}".encode())
    connection.close()
    return word


def revert(snapshot: Snapshot) -> None:
    """Put a snapshot back into this namespace; raises KernelError."""
    kernel = NetlinkKernel()
    try:
        with kernel.lock():
            put_back(kernel, snapshot, int(time.time()))
    finally:
        kernel.close()
    syslog.syslog(syslog.LOG_NOTICE, "kamexfrm: a change that nobody confirmed was taken back")


@contextlib.contextmanager
def _connection() -> Iterator[socket.socket | None]:
    """Yield a connection to the process that waits here, None where none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as link:
        link.settimeout(5)
        try:
            link.connect(_path())
        except (FileNotFoundError, ConnectionRefusedError):
            yield None
            return
        yield link


def _ask(word: bytes) -> bytes:
    with _connection() as link:
        if link is None:
            return b""
        try:
            link.sendall(word)
            return link.recv(_LONGEST)
        except OSError:
            return b""


def ask() -> Pending | None:
    """Return the change that waits to be confirmed in this namespace, None for none."""
    answer = _ask(_ASK)
    return Pending(float(answer)) if answer else None


def confirm() -> bool:
    """Let the change stay; return whether there was one that waited."""
    return _ask(_CONFIRM) == b"confirmed"


def take_back() -> bool:
    """Take the change back at once; return whether there was one that waited.

    It is done when this returns.
    """
    with _connection() as link:
        if link is None:
            return False
        link.sendall(_REVERT)
        if link.recv(_LONGEST) != b"reverting":
            return False
        link.settimeout(None)
        while link.recv(_LONGEST):  # its end comes with the end of the process
            pass
        return True
