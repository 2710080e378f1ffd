"""Plans: from what is held to what should be, once and no further, and nothing of others."""

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import IpsecRequest, Owner, SecurityPolicy
from kamexfrm.translate.xfrm.order import Position
from kamexfrm.translate.xfrm.policy_from_kernel import (
    has_sidecar,
    is_ordinary,
    sidecars_of,
    spd_entries_from_kernel,
)
from kamexfrm.translate.xfrm.policy_to_kernel import Placement, policy_to_kernel, tunnel_uses
from kamexfrm.translate.xfrm.rewrite import (
    catch_alls,
    delete_by_index,
    remaining,
    renumbered,
    rewritten,
)
from kamexfrm.translate.xfrm.tag import policy_words, share_of
from kamexfrm.xfrm import Operation, Policy, XfrmMsg, encode_policy
from tests.examples_of_laws import examples
from tests.translate.translate_samples import (
    kernel_policies,
    knobs,
    policy_tags,
    security_policies,
    share_tags,
)

NOW = 1_700_000_000
slow = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples(60)
)
written_policies = st.lists(
    security_policies().map(lambda p: p._replace(lifetime=0, validtime=0)),
    max_size=5,
    unique_by=lambda p: p.selector,
)


class Sas:
    """SAs for all requests or for none; they have no reqids."""

    def __init__(self, *, served: bool) -> None:
        self.served = served

    def without_sa(self, requests: Sequence[IpsecRequest]) -> tuple[IpsecRequest, ...]:
        return () if self.served else tuple(requests)

    def with_sa_reqids(
        self, policy: SecurityPolicy, without_sa: Sequence[IpsecRequest] = ()
    ) -> tuple[IpsecRequest, ...]:
        return policy.requests

    def spis(
        self,
        policy: SecurityPolicy,
        requests: Sequence[IpsecRequest],
        without_sa: Sequence[IpsecRequest] = (),
    ) -> tuple[int, ...]:
        return tuple(0x1000 if self.served else 0 for _ in requests)


def installed_kernel(
    policies: list[SecurityPolicy], in_force: Knobs, *, served: bool
) -> FakeKernel:
    """Return a kernel that holds some policies as these knobs install them."""
    kernel = FakeKernel(lambda: NOW)
    for at, policy in enumerate(policies, 1):
        without_sa = () if served else tunnel_uses(policy, in_force)
        both = policy_to_kernel(policy, in_force, Placement(at, at), NOW, without_sa=without_sa)
        carry_out(kernel, [Operation(XfrmMsg.NEWPOLICY, encode_policy(p)) for p in both if p])
    return kernel


def carry_out(kernel: FakeKernel, operations: list[Operation]) -> None:
    assert kernel.apply(operations) == []


def image(kernel: FakeKernel) -> set[Policy]:
    """Return all that is held; a helper's index does not matter."""
    return {p._replace(index=0) if p.if_id else p for p in kernel.policies()}


def plan(kernel: FakeKernel, in_force: Knobs, *, served: bool) -> list[Operation]:
    return rewritten(list(kernel.policies()), in_force, Sas(served=served), NOW).operations


@given(written_policies, knobs, knobs, st.booleans(), st.booleans())
@slow
def test_applying_a_plan_gives_what_installing_gives(
    policies: list[SecurityPolicy], before: Knobs, after: Knobs, then: bool, now: bool
) -> None:
    kernel = installed_kernel(policies, before, served=then)
    carry_out(kernel, plan(kernel, after, served=now))
    anew = installed_kernel(policies, after, served=now)
    assert {p._replace(index=0) for p in image(kernel)} == {
        p._replace(index=0) for p in image(anew)
    }


@given(written_policies, knobs, knobs, st.booleans())
@slow
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(
    policies: list[SecurityPolicy], before: Knobs, after: Knobs, served: bool
) -> None:
    kernel = installed_kernel(policies, before, served=served)
    assert plan(kernel, before, served=served) == []
    carry_out(kernel, plan(kernel, after, served=served))
    assert plan(kernel, after, served=served) == []


@given(written_policies, knobs, knobs)
@slow
def test_there_and_back_is_the_first_image(
    policies: list[SecurityPolicy], before: Knobs, after: Knobs
) -> None:
    kernel = installed_kernel(policies, before, served=False)
    first = image(kernel)
    carry_out(kernel, plan(kernel, after, served=True))
    carry_out(kernel, plan(kernel, before, served=False))
    assert image(kernel) == first


@given(written_policies, knobs, knobs)
@slow
def test_at_no_step_of_a_plan_does_an_entry_read_differently(
    policies: list[SecurityPolicy], before: Knobs, after: Knobs
) -> None:
    kernel = installed_kernel(policies, before, served=True)

    def shown() -> set[SecurityPolicy]:
        held = list(kernel.policies())
        return {e.policy for e in spd_entries_from_kernel(held, sidecars_of(held).get)}

    for step in plan(kernel, after, served=False):
        carry_out(kernel, [step])
        assert shown() == set(policies)


tagged = policy_tags.map(policy_words)
our_shares = share_tags.map(share_of)


@given(st.lists(kernel_policies(), max_size=4), knobs)
@slow
def test_what_is_not_ours_is_in_no_plan(policies: list[Policy], in_force: Knobs) -> None:
    assert rewritten(policies, in_force, Sas(served=False), NOW).operations == []
    assert (
        renumbered(policies, {Position(p.priority, 0, p.priority): (0, 5) for p in policies}, NOW)
        == []
    )


@given(st.lists(kernel_policies(tagged, our_shares), max_size=4), knobs)
@slow
def test_a_plan_over_forgeries_is_made_without_an_error(
    policies: list[Policy], in_force: Knobs
) -> None:
    rewritten(policies, in_force, Sas(served=False), NOW)
    catch_alls(policies, in_force)


@given(security_policies(), st.integers(2, 255), knobs)
@slow
def test_a_newer_entry_and_its_sidecar_are_in_no_plan(
    policy: SecurityPolicy, version: int, in_force: Knobs
) -> None:
    without_sa = tunnel_uses(policy, Knobs())
    newer = []
    for each in policy_to_kernel(policy, Knobs(), Placement(1, 1), NOW, without_sa=without_sa):
        if each:
            first = each.lifetime.soft_bytes & ~(0xFF << 32) | version << 32
            life = each.lifetime._replace(soft_bytes=first)
            newer.append(each._replace(lifetime=life))
    assert rewritten(newer, in_force, Sas(served=True), NOW).operations == []
    assert [e.owner for e in spd_entries_from_kernel(newer, sidecars_of(newer).get)] == [
        Owner.NEWER
    ]


@given(written_policies, knobs)
@slow
def test_renumbering_changes_numbers_and_nothing_else(
    policies: list[SecurityPolicy], in_force: Knobs
) -> None:
    kernel = installed_kernel(policies, in_force, served=False)
    before = {p.index: p for p in kernel.policies()}
    moves = {Position(p.priority, at, at): (at, 1000 + at) for at, p in enumerate(policies, 1)}
    carry_out(kernel, renumbered(list(kernel.policies()), moves, NOW))
    for after in kernel.policies():
        if is_ordinary(after):
            assert after.priority == before[after.index].priority + 1000
        assert after._replace(priority=0) == before[after.index]._replace(priority=0)


@given(written_policies)
@slow
def test_a_sidecar_without_its_entry_is_taken_away(policies: list[SecurityPolicy]) -> None:
    kernel = installed_kernel(policies, Knobs(), served=False)
    for policy in list(kernel.policies()):
        if has_sidecar(policy):
            carry_out(kernel, [delete_by_index(policy)])
    carry_out(kernel, plan(kernel, Knobs(), served=False))
    assert sidecars_of(kernel.policies()) == {}


@given(security_policies(), st.integers(0, 5000), st.integers(0, 5000))
@slow
def test_what_is_left_of_a_life_never_grows_and_never_is_no_limit(
    policy: SecurityPolicy, age: int, more: int
) -> None:
    wanted = policy._replace(lifetime=policy.lifetime % 4000, validtime=policy.validtime % 4000)
    kernel = installed_kernel([wanted], Knobs(), served=True)
    held = next(p for p in kernel.policies() if is_ordinary(p))
    (entry,) = spd_entries_from_kernel([held], lambda selector: None)
    life, valid = remaining(held, entry, NOW + age)
    assert (life == 0) == (wanted.lifetime == 0)
    assert (valid == 0) == (wanted.validtime == 0)
    assert life <= wanted.lifetime
    assert valid <= wanted.validtime
    assert remaining(held, entry, NOW + age + more) <= (life, valid)


@given(knobs, knobs)
def test_catch_alls_follow_def_policy(before: Knobs, after: Knobs) -> None:
    kernel = FakeKernel()
    for in_force in (before, after):
        carry_out(kernel, catch_alls(list(kernel.policies()), in_force))
        assert catch_alls(list(kernel.policies()), in_force) == []
        families = {p.selector.family for p in kernel.policies()}
        assert families == {f for f in (2, 10) if not in_force.of(f).def_policy}
        assert len(list(kernel.policies())) == 3 * len(families)
