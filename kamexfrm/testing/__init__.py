"""For tests of programs that use kamexfrm: a kernel in memory, and what every kernel must do.

:class:`FakeKernel` holds policies and SAs as Linux does, needs no rights, and goes where a
:class:`Kernel` goes: ``kamexfrm.Ipsec(FakeKernel())`` is a namespace of a test's own.
:mod:`kamexfrm.testing.conformance` is the suite that it and Linux pass; that module alone needs
pytest.
"""

from kamexfrm.kernel.fake import FakeEvents, FakeKernel, FakeLock
from kamexfrm.kernel.interface import Event, Events, Failure, Kernel, Lock

__all__ = [
    "Event",
    "Events",
    "Failure",
    "FakeEvents",
    "FakeKernel",
    "FakeLock",
    "Kernel",
    "Lock",
]
