"""Laws of decisions: they hold for any SPD, SAD, knobs, socket and packet."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from kamexfrm.model.association import SaState
from kamexfrm.model.decide_spd import Spd, first_match
from kamexfrm.model.decider import decide
from kamexfrm.model.decision import (
    Decision,
    DefaultPolicy,
    EntryPolicy,
    ForwardDecision,
    InputDecision,
    Outcome,
    OutputDecision,
    Verdict,
)
from kamexfrm.model.explain import explain_text
from kamexfrm.model.knobs import FamilyKnobs, Knobs
from kamexfrm.model.packet import Path
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    Level,
    Owner,
    PolicyType,
    SecurityPolicy,
    SpdEntry,
)
from tests.model.decide_cases import FAMILIES
from tests.model.decide_strategies import FAMILY_KNOBS, Case, cases, entry_of

ONLY_IPSEC = (PolicyType.IPSEC,)
OUTPUT_VERDICTS = {Verdict.CLEAR, Verdict.PROTECTED, Verdict.DROPPED}


@given(cases())
def test_a_decision_is_the_same_each_time_and_can_be_explained(case: Case) -> None:
    first, second = case.decide(), case.decide()
    assert first == second
    lines = explain_text(first)
    assert lines == explain_text(second)
    assert any(line.endswith(first.reason) for line in lines)
    assert all(line and "\n" not in line for line in lines)


@given(cases())
def test_the_path_says_which_kind_of_decision_it_is(case: Case) -> None:
    match case.decide():
        case OutputDecision(verdict):
            assert case.packet.path is Path.OUT
            assert verdict in OUTPUT_VERDICTS
        case InputDecision(verdict):
            assert case.packet.path is Path.IN
            assert verdict in (Verdict.ACCEPTED, Verdict.REJECTED)
        case ForwardDecision(arrival, departure) as decision:
            assert case.packet.path is Path.FORWARDED
            assert (departure is None) is (arrival.verdict is Verdict.REJECTED)
            assert decision.verdict in OUTPUT_VERDICTS | {Verdict.REJECTED}


@given(cases(path=Path.OUT, levels=(Level.USE,), types=ONLY_IPSEC, socket=False))
def test_use_never_drops_on_output(case: Case) -> None:
    decision = case.decide(knobs=case.knobs._replace(inet=FamilyKnobs(), inet6=FamilyKnobs()))
    assert decision.verdict is not Verdict.DROPPED


@given(cases(path=Path.IN, levels=(Level.USE,), types=ONLY_IPSEC, socket=False))
def test_use_never_rejects_on_input(case: Case) -> None:
    case.packet = case.packet._replace(protections=())
    decision = case.decide(knobs=Knobs())
    assert decision.verdict is Verdict.ACCEPTED


@given(cases(path=Path.OUT, levels=(Level.REQUIRE, Level.UNIQUE), types=ONLY_IPSEC, socket=False))
def test_require_never_sends_in_clear(case: Case) -> None:
    decision = case.decide()
    assert isinstance(decision, OutputDecision)
    if isinstance(decision.governing, EntryPolicy):
        assert decision.verdict is not Verdict.CLEAR
        if decision.verdict is Verdict.PROTECTED:
            assert len(decision.bundle) == len(decision.results)


@given(cases(path=Path.IN, levels=(Level.REQUIRE, Level.UNIQUE), types=ONLY_IPSEC, socket=False))
def test_require_never_accepts_clear_text(case: Case) -> None:
    case.packet = case.packet._replace(protections=())
    decision = case.decide()
    assert isinstance(decision, InputDecision)
    if isinstance(decision.governing, EntryPolicy):
        asked = {r.protocol for r in decision.governing.policy.requests} - {IpsecProtocol.IPCOMP}
        assert (decision.verdict is Verdict.REJECTED) is bool(asked)


@given(cases(socket=False), st.data())
def test_an_entry_after_the_first_match_never_matters(case: Case, data: st.DataObject) -> None:
    # Tunnels are looked for in all entries on input: without protections none are.
    case.packet = case.packet._replace(protections=())
    spd = Spd.of(case.spd)
    kept = Spd(
        *(
            tuple(
                e
                for e in spd.entries(d)
                if (m := first_match(case.packet, d, spd)) is None or e.position <= m.position
            )
            for d in (Direction.IN, Direction.OUT)
        )
    )
    late = data.draw(entry_of(case.packet.family, tuple(Level), tuple(PolicyType)[:3]))
    more = spd._replace(outbound=(*spd.outbound, EntryPolicy(99, late)))
    before = decide(case.packet, spd, case.sad, case.knobs)
    assert decide(case.packet, kept, case.sad, case.knobs) == before
    if first_match(case.packet, Direction.OUT, spd):
        assert decide(case.packet, more, case.sad, case.knobs) == before


@given(cases())
def test_the_order_of_insertion_matters_only_within_a_priority(case: Case) -> None:
    by_priority = sorted(case.spd, key=lambda entry: entry.priority)
    assert case.decide(spd=by_priority) == case.decide()


def _levels(decision: Decision) -> set[Level]:
    match decision:
        case OutputDecision(results=results) | InputDecision(results=results):
            return {result.request.level for result in results}
        case ForwardDecision(arrival, departure):
            return _levels(arrival) | (_levels(departure) if departure else set())


def _governing(decision: Decision) -> list[object]:
    match decision:
        case OutputDecision(governing=governing) | InputDecision(governing=governing):
            return [governing]
        case ForwardDecision(arrival, departure):
            return _governing(arrival) + (_governing(departure) if departure else [])


@given(cases(), FAMILY_KNOBS, FAMILY_KNOBS)
def test_the_deflevs_matter_only_for_the_level_default(
    case: Case, inet: FamilyKnobs, inet6: FamilyKnobs
) -> None:
    before = case.decide()
    if Level.DEFAULT not in _levels(before):
        other = Knobs(
            inet._replace(def_policy=case.knobs.inet.def_policy),
            inet6._replace(def_policy=case.knobs.inet6.def_policy),
        )
        assert case.decide(knobs=other) == before


@given(cases())
def test_def_policy_matters_only_without_a_match(case: Case) -> None:
    before = case.decide()
    if not any(isinstance(governing, DefaultPolicy) for governing in _governing(before)):
        inet, inet6 = case.knobs[:2]
        other = Knobs(
            inet._replace(def_policy=1 - inet.def_policy),
            inet6._replace(def_policy=1 - inet6.def_policy),
        )
        assert case.decide(knobs=other) == before


@given(cases(), FAMILY_KNOBS)
def test_the_other_familys_knobs_never_matter(case: Case, other: FamilyKnobs) -> None:
    if case.packet.family == FAMILIES[0]:
        assert case.decide(knobs=case.knobs._replace(inet6=other)) == case.decide()
    else:
        assert case.decide(knobs=case.knobs._replace(inet=other)) == case.decide()


def _held(spd: list[SecurityPolicy]) -> list[SpdEntry]:
    return [SpdEntry(p, i * 8, 0, 0, Owner.OURS, i, i) for i, p in enumerate(spd, 1)]


@given(cases(), st.randoms(use_true_random=False))
def test_twins_and_the_sequence_of_a_dump_are_irrelevant(case: Case, random: Random) -> None:
    held = _held(case.spd)
    twins = [
        entry._replace(
            policy=entry.policy._replace(direction=Direction.FWD, type=PolicyType.DISCARD),
            twin=True,
        )
        for entry in held
    ]
    shuffled = held + twins
    random.shuffle(shuffled)
    ends = (case.sad, case.knobs, case.socket)
    with_twins = decide(case.packet, Spd.of(shuffled), *ends)
    assert with_twins == decide(case.packet, Spd.of(held), *ends)
    assert with_twins.verdict is case.decide().verdict


@given(cases())
def test_reqids_and_authentication_of_what_arrived_do_not_matter(case: Case) -> None:
    before = case.decide()
    plain = tuple(p._replace(reqid=9, authenticated=False) for p in case.packet.protections)
    case.packet = case.packet._replace(protections=plain)
    after = case.decide()
    assert (after.verdict, after.reason) == (before.verdict, before.reason)


@given(cases(path=Path.OUT))
def test_an_acquire_is_due_for_each_request_reached_without_an_sa(case: Case) -> None:
    decision = case.decide()
    assert isinstance(decision, OutputDecision)
    unserved = [r for r in decision.results if r.sought is not None and r.entry is None]
    assert list(decision.acquires) == [result.sought for result in unserved]
    missing = [r.outcome for r in decision.results].count(Outcome.MISSING)
    assert missing == (decision.verdict is Verdict.DROPPED and bool(decision.results))


@given(cases(path=Path.OUT))
def test_only_a_usable_sa_protects(case: Case) -> None:
    decision = case.decide()
    assert isinstance(decision, OutputDecision)
    for result in decision.results:
        if result.entry is not None:
            assert result.entry in case.sad
            assert result.entry.state in (SaState.MATURE, SaState.DYING)
    usable = [entry for entry in case.sad if entry.state in (SaState.MATURE, SaState.DYING)]
    if not usable:
        assert decision.verdict is not Verdict.PROTECTED
