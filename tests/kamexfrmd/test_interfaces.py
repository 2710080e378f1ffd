"""SAs of an interface's reqid that other programs add: the reconciler gives them to it."""

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import InterfaceAdd
from kamexfrm.kamexfrmd.consequences import Consequence, consequence
from kamexfrm.kamexfrmd.reconciler import Reconciler
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Event
from kamexfrm.model.policy import Mode
from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel
from kamexfrm.translate.xfrm.marker import NO_FLAGS, MarkerFlag
from kamexfrm.translate.xfrm.sa_to_kernel import sa_to_kernel
from kamexfrm.xfrm import XfrmMsg, encode_state
from tests.engine.engine_samples import A, B, association, perform

HAS = MarkerFlag.HAS_INTERFACE


def added(reqid: int, mode: Mode = Mode.TUNNEL, if_id: int = 0) -> bytes:
    return encode_state(sa_to_kernel(association(1, mode, reqid=reqid), mode)._replace(if_id=if_id))


def test_only_an_sa_that_may_belong_to_one_is_looked_into() -> None:
    def follows(payload: bytes, flags: MarkerFlag) -> bool:
        found = consequence(Event(XfrmMsg.NEWSA, payload, 0, 1), flags)
        return found is Consequence.RESYNC

    assert follows(added(7), HAS)
    assert not follows(added(7), NO_FLAGS)
    assert not follows(added(0), HAS)
    assert not follows(added(7, if_id=7), HAS)
    assert not follows(added(7, Mode.TRANSPORT), HAS)


def test_an_sa_of_another_program_is_taken() -> None:
    kernel = FakeKernel()
    engine = Engine(kernel)
    engine.submit(InterfaceAdd(InterfaceTunnel(7, A, B)))
    engine.flush()
    reconciler = Reconciler(kernel, lambda _: None)
    perform(kernel, XfrmMsg.NEWSA, added(7))
    reconciler.reconcile()
    assert [state.if_id for state in kernel.states()] == [7]
    reconciler.close()
