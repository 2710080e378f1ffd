"""What the running kernel can do, found out by doing it in a namespace of its own."""

import errno
import functools
import sys
from collections.abc import Callable

from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.net import AF_INET, IPPROTO_AH, IPPROTO_ESP, Address
from kamexfrm.rig.namespace import Namespace
from kamexfrm.xfrm import (
    Algorithm,
    AuthAlgorithm,
    Operation,
    Selector,
    State,
    XfrmMsg,
    encode_state,
)

#: The kernel's errors for what it does not have.
_ABSENT = {
    errno.EPROTONOSUPPORT,
    errno.ENOENT,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EAFNOSUPPORT,
    errno.EOPNOTSUPP,
    errno.ESOCKTNOSUPPORT,
}


#: An SA between two documentation addresses (RFC 5737).
_SOURCE, _DESTINATION = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
_SA = State(
    Selector(_DESTINATION, _SOURCE, family=AF_INET, destination_prefix=32, source_prefix=32),
    _DESTINATION,
    spi=0x1000,
    protocol=IPPROTO_ESP,
    source=_SOURCE,
    family=AF_INET,
    authentication=AuthAlgorithm("hmac(sha1)", bytes(range(20)), 160),
)


@functools.cache
def kernel_has_esp() -> bool:
    """Return whether the running kernel accepts an ESP SA; needs CAP_SYS_ADMIN, else False."""
    return _accepts(_SA._replace(encryption=Algorithm("ecb(cipher_null)", b"", 0)))


@functools.cache
def kernel_has_ah() -> bool:
    """Return whether the running kernel accepts an AH SA; needs CAP_SYS_ADMIN, else False."""
    return _accepts(_SA._replace(protocol=IPPROTO_AH))


@functools.cache
def kernel_has_netem() -> bool:
    """Return whether the running kernel delays and loses packets (tc-netem(8))."""
    from kamexfrm.rig import wiring

    return _makes(lambda: wiring.impair("lo", 1.0, 0.0))


@functools.cache
def kernel_has_nat() -> bool:
    """Return whether the running kernel translates addresses (tc-ct(8))."""
    from kamexfrm.rig import nat

    return _makes(lambda: nat.masquerade("lo", "192.0.2.1"))


@functools.cache
def kernel_has_bridge() -> bool:
    """Return whether the running kernel makes bridges."""
    from kamexfrm.rig import wiring

    return _makes(lambda: wiring.bridge("br0", []))


@functools.cache
def kernel_has_xfrm_interfaces() -> bool:
    """Return whether the running kernel makes XFRM interfaces (CONFIG_XFRM_INTERFACE)."""
    from kamexfrm.kernel import xfrm_link

    def make() -> None:
        try:
            xfrm_link.add("ipsec0", 1)
        except KamexfrmError as error:
            raise OSError(error.errno, str(error)) from None

    return _makes(make)


#: What a scenario may need of a kernel, and how the running one is probed.
ABILITIES: dict[str, Callable[[], bool]] = {
    "ESP": kernel_has_esp,
    "AH": kernel_has_ah,
    "netem": kernel_has_netem,
    "NAT": kernel_has_nat,
    "bridges": kernel_has_bridge,
    "XFRM interfaces": kernel_has_xfrm_interfaces,
}


def _accepts(state: State) -> bool:
    """Whether the kernel accepts an SA."""

    def add() -> None:
        try:
            kernel = NetlinkKernel()
            try:
                failures = kernel.apply([Operation(XfrmMsg.NEWSA, encode_state(state))])
            finally:
                kernel.close()
        except KamexfrmError as error:  # a kernel without XFRM has no such netlink family
            raise OSError(error.errno, str(error)) from None
        for failure in failures:
            raise OSError(failure.error.errno, str(failure.error))

    return _makes(add)


def _makes(make: Callable[[], None]) -> bool:
    """Whether something can be made in a namespace of its own."""
    try:
        namespace = Namespace()
    except PermissionError:
        return False
    try:
        with namespace.enter():
            make()
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise
    finally:
        namespace.close()
    return True


if __name__ == "__main__":
    sys.exit(not all(ABILITIES[need]() for need in sys.argv[1:]))
