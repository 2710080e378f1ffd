"""The algorithms of the running kernel, read once in a process."""

from kamexfrm.algorithms import Algorithm
from kamexfrm.kernel.interface import Kernel
from kamexfrm.translate.pfkey.register import NAMEABLE
from kamexfrm.translate.xfrm.probe import available, first_associations, probe

_cached: tuple[Algorithm, ...] = ()


def algorithms(kernel: Kernel) -> tuple[Algorithm, ...]:
    """Return what REGISTER lists; raises KernelError (EPERM).

    The first time, modules may be loaded, which can take a second.
    """
    global _cached  # noqa: PLW0603  the same in all namespaces of a kernel
    if not _cached:
        failures = kernel.apply([probe(row) for row in NAMEABLE])
        errors = [(failure.position, failure.error.errno) for failure in failures]
        _cached = available(NAMEABLE, errors)
    return _cached


def prepare(kernel: Kernel) -> None:
    """Have the kernel load what REGISTER and the first SAs need; raises KernelError (EPERM).

    The first time in a process, that may take seconds.
    """
    if not _cached:
        algorithms(kernel)
        kernel.apply(first_associations())
