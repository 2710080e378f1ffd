"""An event that cannot be decoded: the reconciler counts and logs it, reads all again, goes on."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob
from kamexfrm.kamexfrmd.reconciler import Reconciler
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Event
from kamexfrm.model.knobs import knob
from kamexfrm.testing.conformance.samples import update
from kamexfrm.translate.xfrm.marker import Marker, marker_policy
from kamexfrm.translate.xfrm.tag import MARKER_IF_ID
from kamexfrm.xfrm import XFRMNLGRP_POLICY, Policy, XfrmMsg, encode_policy
from tests.examples_of_laws import examples

MARKER = encode_policy(marker_policy(Marker()))


class CountingKernel(FakeKernel):
    """A kernel that counts the dumps of the SPD."""

    dumps = 0

    def policies(self, *, stream: bool = False) -> Iterator[Policy]:
        self.dumps += 1
        return super().policies(stream=stream)


class Following:
    """A reconciler on a fake kernel, and what it logged."""

    def __init__(self) -> None:
        self.kernel = CountingKernel()
        self.log: list[str] = []
        self.reconciler = Reconciler(self.kernel, self.log.append)
        self.reconciler.reconcile()

    def send(self, *events: tuple[int, bytes]) -> None:
        for type_, payload in events:
            self.kernel._broadcast(XFRMNLGRP_POLICY, Event(type_, payload, 0, 77))
        self.reconciler.process_events()
        self.reconciler._backoff.cancel()
        self.reconciler.run_deferred()


def test_they_are_counted_and_logged_and_answered_by_a_resync() -> None:
    following = Following()
    reads = following.kernel.dumps
    following.send((XfrmMsg.NEWPOLICY, b"short"), (XfrmMsg.UPDPOLICY, b""))
    assert following.kernel.dumps > reads
    (line,) = following.log
    assert line.startswith("2 events could not be read (type 0x19: ")
    assert line.endswith("2 since the start: looking at everything")
    following.send((XfrmMsg.NEWSA, b"short"))
    assert following.log[1].startswith("an event could not be read (type 0x10: ")
    assert ", 3 since the start" in following.log[1]


def test_a_marker_that_is_cut_short_is_one_of_them() -> None:
    following = Following()
    following.send((XfrmMsg.UPDPOLICY, MARKER[:-2]), (XfrmMsg.UPDPOLICY, MARKER[:100]))
    assert ", 2 since the start" in following.log[0]


def test_a_marker_that_cannot_be_understood_is_logged_and_no_end() -> None:
    following = Following()
    Engine(following.kernel).submit(SetKnob(knob("net.inet.ipsec.ah_net_deflev"), 2))
    marker = marker_policy(Marker())
    newer = marker._replace(lifetime=marker.lifetime._replace(soft_bytes=0x4B584DFF << 32))
    assert newer.if_id == MARKER_IF_ID
    assert following.kernel.apply([update(newer)]) == []
    following.send((XfrmMsg.NEWSA, b"short"))
    assert following.log[-1].startswith("could not look after the policies: ")


@pytest.fixture(scope="module")
def following() -> Following:
    return Following()


@given(
    st.lists(
        st.tuples(
            st.integers(0x0E, 0x2A),
            st.one_of(
                st.binary(max_size=300),
                st.builds(lambda n, tail: MARKER[:n] + tail, st.integers(0, 300), st.binary()),
            ),
        ),
        max_size=4,
    )
)
@settings(max_examples=examples(200), deadline=None)
def test_no_bytes_end_it(following: Following, events: list[tuple[int, bytes]]) -> None:
    following.send(*events)
