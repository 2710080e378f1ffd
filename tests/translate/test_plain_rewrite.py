"""Rewriting policies by their bytes and one by one gives the same operations."""

from collections.abc import Sequence
from random import Random

import pytest

from kamexfrm import xfrm
from kamexfrm.errors import WireError
from kamexfrm.model.knobs import FamilyKnobs, Knobs
from kamexfrm.model.policy import IpsecRequest, SecurityPolicy
from kamexfrm.translate.xfrm.marker import NO_FLAGS, MarkerFlag
from kamexfrm.translate.xfrm.plain_rewrite import plain_rewritten
from kamexfrm.translate.xfrm.rewrite import Rewriting, catch_alls, rewritten
from kamexfrm.xfrm import Operation
from tests import policies_of_all_kinds as policies

NOW = 1_790_000_100


class Sas:
    """SAs with reqids for all requests, or none."""

    def __init__(self, there: bool) -> None:
        self.there = there

    def without_sa(self, requests: Sequence[IpsecRequest]) -> tuple[IpsecRequest, ...]:
        return () if self.there else tuple(requests)

    def with_sa_reqids(
        self, policy: SecurityPolicy, without_sa: Sequence[IpsecRequest] = ()
    ) -> tuple[IpsecRequest, ...]:
        if not self.there:
            return policy.requests
        number = 1 + sum(policy.selector.source.packed)
        return tuple(r._replace(reqid=r.reqid or number) for r in policy.requests)

    def spis(
        self,
        policy: SecurityPolicy,
        requests: Sequence[IpsecRequest],
        without_sa: Sequence[IpsecRequest] = (),
    ) -> tuple[int, ...]:
        return tuple(0x1000 + r.reqid if self.there else 0 for r in requests)


def _knobs(random: Random) -> Knobs:
    def family() -> FamilyKnobs:
        levels = [random.choice((1, 2)) for _ in range(4)]
        return FamilyKnobs(random.choice((0, 1)), *levels)

    return Knobs(family(), family(), preferred_oldsa=random.choice((0, 0, 1)))


def _way(
    way: str, payloads: list[bytes], knobs: Knobs, sas: Sas
) -> tuple[list[Operation], Rewriting] | str:
    try:
        if way == "careful":
            decoded = [xfrm.decode_policy(payload) for payload in payloads]
            return catch_alls(decoded, knobs), rewritten(decoded, knobs, sas, NOW)
        plain = plain_rewritten(payloads, knobs, lambda: sas.there)
        found = rewritten(plain.rest, knobs, sas, NOW)
        any_reqid = MarkerFlag.HAS_ANY_REQID if plain.has_any_reqid else NO_FLAGS
        return catch_alls(plain.rest, knobs), found._replace(
            operations=[*found.operations, *plain.operations], flags=found.flags | any_reqid
        )
    except WireError as error:
        return str(error)


def _said(operation: Operation) -> Operation:
    """Return an operation without what may stand in the unused part of an address."""
    if operation.type != xfrm.XfrmMsg.UPDPOLICY:
        return operation
    payload = xfrm.encode_policy(xfrm.decode_policy(operation.payload))
    return operation._replace(payload=payload)


@pytest.mark.parametrize("seed", range(10))
def test_both_ways_of_rewriting_are_one(seed: int) -> None:
    random = Random(seed)
    changed = 0
    for _ in range(60):
        payloads = policies.payloads(random, random.randrange(30))
        if payloads and random.random() < 0.2:
            payloads[0] = policies.spoilt(random, payloads[0])
        knobs, sas = _knobs(random), Sas(random.random() < 0.5)
        careful = _way("careful", payloads, knobs, sas)
        plain = _way("plain", payloads, knobs, sas)
        if isinstance(careful, str) or isinstance(plain, str):
            assert plain == careful
            continue
        assert plain[0] == careful[0]
        mine, theirs = plain[1], careful[1]
        assert sorted(map(_said, mine.operations)) == sorted(map(_said, theirs.operations))
        assert mine[2:] == theirs[2:]
        # what may only follow another operation follows the same one
        followers = [
            (_said(r.operations[at - 1]), _said(r.operations[at]))
            for r in (mine, theirs)
            for at in sorted(r.after)
        ]
        assert followers[: len(mine.after)] == followers[len(mine.after) :]
        changed += len(theirs.operations)
    assert changed > 10
