"""A rehearsal: what the kernel would refuse of a difference, found where it harms nobody.

All that is to be written is written into a new network namespace, which is gone afterwards. So a
refusal is known before anything of the namespace itself is touched.
"""

import contextlib
import os
from collections.abc import Iterator

from kamexfrm.engine.difference import Difference
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import Rejected, SaAdd, SetKnob, SpdAdd, Written
from kamexfrm.errors import KernelError
from kamexfrm.kernel.namespace import leave_for_new, open_here, switch
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import KNOBS, Knobs


@contextlib.contextmanager
def scratch_kernel() -> Iterator[NetlinkKernel | None]:
    """Yield the kernel of a new namespace; None where none can be made (CAP_SYS_ADMIN)."""
    try:
        before = open_here()
    except OSError:
        yield None
        return
    try:
        try:
            leave_for_new()
        except OSError:
            yield None
            return
        try:
            inside = open_here()
        finally:
            switch(before)
        kernel = NetlinkKernel(namespace=inside)
        try:
            yield kernel
        finally:
            kernel.close()
            os.close(inside)
    finally:
        os.close(before)


def rehearse(found: Difference, knobs: Knobs) -> tuple[Rejected, ...]:
    """Return what the kernel refuses of a difference, under these variables."""
    requests: list[SaAdd | SpdAdd] = [
        change.request._replace(replace=False)
        for change in found.associations.changes
        if change.request is not None
    ]
    requests += [write.request for write in found.policies.writes]
    if not requests:
        return ()
    with scratch_kernel() as kernel:
        if kernel is None:
            return ()
        try:
            return _rejected(Engine(kernel), knobs, requests)
        except KernelError:
            return ()  # what concerns no single request is met again in earnest


def _rejected(engine: Engine, knobs: Knobs, requests: list[SaAdd | SpdAdd]) -> tuple[Rejected, ...]:
    start = Knobs()
    for knob in KNOBS:
        if knob.field != "larval_lifetime" and knobs.value(knob) != start.value(knob):
            engine.try_submit(SetKnob(knob, knobs.value(knob)))
    written = [engine.try_submit(request) for request in requests]
    written.append(engine.try_flush(reconcile=False))
    return tuple(each for part in written if isinstance(part, Written) for each in part.rejected)
