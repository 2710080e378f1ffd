"""Forced policies, which the command line gives a program: read and tried before it starts."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KamexfrmError, KernelError, LanguageError, Place
from kamexfrm.exec.caller import CAP_NET_ADMIN, Caller, owners
from kamexfrm.exec.policies import set_on, socket_policy_of
from kamexfrm.kernel.namespace import open_here
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import SocketPolicy
from kamexfrm.model.policy_text import PolicyError

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def read_policies(texts: Sequence[str]) -> tuple[SocketPolicy, ...]:
    """Return the policies of texts, at most one for each direction, each tried on a socket of ours.

    Raises LanguageError with its place, KernelError (EPERM) without CAP_NET_ADMIN.
    """
    found: dict[int, SocketPolicy] = {}
    places = []
    for position, text in enumerate(texts, 1):
        place = Place("--policy", position)
        with _at(place):
            policy = socket_policy_of(parse_policy(text))
            if policy.direction in found:
                raise KamexfrmError("a second policy for this direction")
        found[policy.direction] = policy
        places.append(place)
    _check_right()
    kernel = NetlinkKernel()
    try:
        for policy, place in zip(found.values(), places, strict=True):
            with _at(place):
                _try(policy, Engine(kernel))
    finally:
        kernel.close()
    return tuple(found.values())


@contextlib.contextmanager
def _at(place: Place) -> Iterator[None]:
    """Let errors say which text they are about, and where in it."""
    try:
        yield
    except PolicyError as error:
        error.place = place._replace(column=error.offset + 1)
        raise
    except KamexfrmError as error:
        raise LanguageError(str(error), place=place, errno=error.errno) from None


def _check_right() -> None:
    here = open_here()
    try:
        allowed = Caller(os.getpid()).is_capable(CAP_NET_ADMIN, owners(here))
    finally:
        os.close(here)
    if not allowed:
        raise KernelError(errno.EPERM, "--policy needs CAP_NET_ADMIN in this network namespace")


def _try(policy: SocketPolicy, engine: Engine) -> None:
    for family in _FAMILIES:
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
        except OSError:
            continue  # a kernel without the family
        with sock:
            try:
                set_on(sock, policy, lambda: engine)
            except OSError as error:
                raise KernelError(error.errno or errno.EIO) from None


def inherited_sockets() -> list[str]:
    """Return a line on each descriptor that the program inherits and policies do not reach."""
    found = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
            if not os.get_inheritable(int(name)):
                continue
        except OSError:  # that of the listing itself
            continue
        if target == "anon_inode:[io_uring]":
            found.append(f"descriptor {name} is an io_uring")
        elif target.startswith("socket:"):
            with socket.socket(fileno=os.dup(int(name))) as sock:
                if sock.family != socket.AF_UNIX and sock.family != socket.AF_NETLINK:
                    family = getattr(sock.family, "name", f"family {sock.family}")
                    found.append(f"descriptor {name} is a socket of {family}")
    return found
