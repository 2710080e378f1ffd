"""What the engine answers: rejected requests, in order, and what ended a run of writes."""

import errno
from collections.abc import Iterator

import pytest

from kamexfrm.engine import Engine, IncompleteWrite, SetKnob, SpdAdd, Written
from kamexfrm.errors import KernelError
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.model.knobs import POLICY_KNOBS
from kamexfrm.xfrm import Policy
from tests.engine.engine_samples import ipsec


class NoDump(FakeKernel):
    """A kernel that has no memory for a dump of its policies."""

    def policies(self, *, stream: bool = False) -> Iterator[Policy]:
        raise KernelError(errno.ENOMEM)


def test_an_error_that_ends_a_run_of_writes_carries_what_was_rejected_before() -> None:
    engine = Engine(NoDump())
    for write in (SpdAdd(ipsec()), SpdAdd(ipsec()), SetKnob(POLICY_KNOBS[1], 2)):
        assert engine.try_submit(write) is None
    with pytest.raises(IncompleteWrite) as caught:
        engine.try_flush()
    assert caught.value.errno == errno.ENOMEM
    assert [(r.request, r.error.errno) for r in caught.value.rejected] == [
        (SpdAdd(ipsec()), errno.EEXIST)
    ]


def test_a_long_queue_is_written_by_a_submit_which_answers() -> None:
    engine = Engine(FakeKernel())
    answers = [engine.try_submit(SpdAdd(ipsec(at % 1000))) for at in range(2048)]
    written = [answer for answer in answers if answer]
    assert [len(answer.rejected) for answer in written] == [24, 1024]
    assert engine.try_flush() == Written()
