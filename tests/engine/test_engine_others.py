"""Others at work beside us, and kills: the next command that writes leaves all as it should be."""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from kamexfrm.engine.requests import SaAdd, SaDelete, SaFlush, SetKnob, SpdAdd, SpdDelete, SpdFlush
from kamexfrm.engine.session import Session
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.knobs import POLICY_KNOBS
from kamexfrm.model.policy import Mode, PolicyType, SecurityPolicy, Selector
from kamexfrm.translate.xfrm.marker import MarkerFlag
from kamexfrm.translate.xfrm.rewrite import catch_alls, delete_by_index, rewritten
from kamexfrm.translate.xfrm.sa_to_kernel import sa_to_kernel
from kamexfrm.xfrm import (
    Operation,
    XfrmMsg,
    encode_policy,
    encode_policy_flush,
    encode_state,
    encode_state_flush,
)
from tests.engine.engine_samples import (
    AH,
    DEFAULT,
    FWD,
    IN,
    IPCOMP,
    OUT,
    REQUIRE,
    TRANSPORT,
    TUNNEL,
    UNIQUE,
    USE,
    A,
    Asker,
    B,
    Clock,
    Killed,
    Mortal,
    assert_first_match,
    association,
    foreign,
    foreign_template,
    ipsec,
    request,
    selector,
    verdict,
)

REQUESTS = [
    (request(),),
    (request(REQUIRE, AH),),
    (request(USE, ends=(A, B)),),
    (request(UNIQUE, reqid=77),),
    (request(UNIQUE),),
    (request(mode=TUNNEL),),
    (request(USE, mode=TUNNEL), request(DEFAULT, AH)),
    (request(DEFAULT, AH, TUNNEL), request(UNIQUE, IPCOMP, reqid=5)),
]
SELECTORS = [selector(0), selector(1), Selector(A, 32, B, 32), Selector(A, 24, B, 24)]


class Dice(random.Random):
    """What happens next."""

    def policy(self) -> SecurityPolicy:
        of, direction = self.choice(SELECTORS), self.choice([IN, OUT, OUT, FWD])
        fields = {
            "priority": self.choice([0x80000000, 5, 6, 0x80000001]),
            "lifetime": self.choice([0, 0, 50]),
        }
        kind = self.choice([PolicyType.IPSEC] * 4 + [PolicyType.NONE, PolicyType.DISCARD])
        if kind is PolicyType.IPSEC:
            return ipsec(of, direction, *self.choice(REQUESTS), **fields)
        return verdict(kind, of, direction, **fields)

    def sa(self, *modes: Mode) -> SecurityAssociation:
        spi = 0x1000 + self.randrange(4)
        return association(spi, self.choice(modes), reqid=self.choice([0, 0, 5, 77]))

    def write(self) -> Any:
        modes = (Mode.ANY, TUNNEL, TRANSPORT)
        makers: list[Callable[[], Any]] = [
            lambda: SpdAdd(self.policy(), self.random() < 0.8, self.random() < 0.3),
            lambda: SpdAdd(self.policy()),
            lambda: SpdDelete(self.choice(SELECTORS), self.choice([IN, OUT, FWD])),
            SpdFlush,
            lambda: SaAdd(self.sa(*modes), self.random() < 0.3),
            lambda: SaAdd(self.sa(*modes)),
            lambda: SaDelete(self.sa(*modes).id),
            SaFlush,
            lambda: SetKnob(self.choice(POLICY_KNOBS), self.choice([0, 1, 2])),
        ]
        return self.choice(makers)()

    def others(self, kernel: FakeKernel) -> Operation:
        """Return what somebody else does, but to what is only there for our sake."""
        theirs = [p for p in kernel.policies() if not p.if_id and not p.selector.user]
        what = self.randrange(5)
        if what == 0:
            return Operation(XfrmMsg.FLUSHPOLICY, encode_policy_flush())
        if what == 1 and theirs:
            return delete_by_index(self.choice(theirs))
        if what == 2 and theirs:
            taken = self.choice(theirs)._replace(
                lifetime=foreign().lifetime,
                templates=(foreign_template(),),
                priority=9,
            )
            return Operation(XfrmMsg.UPDPOLICY, encode_policy(taken))
        if what == 3:
            return Operation(XfrmMsg.FLUSHSA, encode_state_flush())
        sa = self.sa(TUNNEL, TRANSPORT)
        return Operation(XfrmMsg.NEWSA, encode_state(sa_to_kernel(sa, sa.mode)))


def assert_sound(kernel: FakeKernel, clock: Clock) -> None:
    policies = list(kernel.policies())
    session = Session(kernel, lambda: clock.now)
    assert not session.marker.flags & MarkerFlag.UNFINISHED
    operations = rewritten(policies, session.knobs, session, session.now).operations
    # A sidecar whose entry somebody else deleted is harmless, and goes at the next look.
    assert [step for step in operations if step[0] != XfrmMsg.DELPOLICY] == []
    assert catch_alls(policies, session.knobs) == []


@pytest.mark.parametrize("seeds", [range(at, at + 100) for at in range(0, 600, 100)], ids=str)
def test_whatever_others_do_the_next_command_leaves_all_as_it_should_be(seeds: range) -> None:
    for seed in seeds:
        dice, clock = Dice(seed), Clock()
        kernel = FakeKernel(clock)
        for _ in range(dice.randrange(3, 25)):
            clock.now += dice.choice([0, 0, 1, 20, 60])
            if dice.random() < 0.4:
                kernel.apply([dice.others(kernel)])
                continue
            life = dice.choice([1 << 30] * 3 + [dice.randrange(1, 12)])
            with contextlib.suppress(Killed):
                writes = [dice.write() for _ in range(dice.randrange(1, 4))]
                Asker(Mortal(kernel, life), clock).ask(*writes)
        asker = Asker(kernel, clock)
        asker.add(ipsec(99, OUT, request(REQUIRE)))
        assert_sound(kernel, clock)
        assert_first_match(e for e in asker.entries() if not e.twin)
