"""Every row of the table of KAME's behaviour: run against ``decide``, or named with a reason."""

import errno
import re
from collections.abc import Callable

import pytest

from kamexfrm.model.association import SadEntry, SaState
from kamexfrm.model.decision import (
    DefaultPolicy,
    EntryPolicy,
    InputDecision,
    Outcome,
    OutputDecision,
    OwnPolicy,
    Rule,
    Verdict,
)
from kamexfrm.model.knobs import POLICY_KNOBS, KnobError
from kamexfrm.model.packet import Protection, SocketAction, SocketPolicies, SocketRule
from kamexfrm.model.policy import Level, Mode, SecurityPolicy
from kamexfrm.net import AF_INET6
from tests.model.decide_cases import (
    AH,
    ELSEWHERE,
    ESP,
    IPCOMP,
    TRANSPORT,
    TUNNEL,
    arrive,
    forward,
    inward,
    only,
    out,
    outward,
    requests,
    sa,
    seal,
)
from tests.model.decide_truth import (
    ALL_ONE,
    ALL_TWO,
    NOT_RUN,
    ROWS,
    Row,
    compare_counters,
    compare_numbers,
    knobs_of,
    written,
)


def _level(row: Row) -> None:
    if row.id == "L037":
        for knob in POLICY_KNOBS:
            for value in (2 if knob.field == "def_policy" else 0, 3, -1):
                with pytest.raises(KnobError) as refused:
                    ALL_ONE.replace(knob, value)
                assert refused.value.errno == errno.EINVAL
        return
    if row.id == "L034":
        for value, level in ((1, Level.USE), (2, Level.REQUIRE)):
            knobs = only(AF_INET6, "esp_trans_deflev", value)
            decision = arrive(
                [inward(AF_INET6, "esp/transport//default")], knobs=knobs, family=AF_INET6
            )
            assert decision.results[0].level is level
        return
    found = re.match(r"effective=(use|require)", row.outcome)
    assert found, row.outcome
    level = Level[found[1].upper()]
    for family in row.families:
        for text in written(row.request):
            for knobs in knobs_of(row, family):
                sent = out([outward(family, text)], knobs=knobs, family=family)
                come = arrive([inward(family, text)], knobs=knobs, family=family)
                assert sent.results[0].level is level
                assert come.results[0].level is level
                sought = sent.results[0].sought
                assert sought
                assert sought.reqid == (7 if text.endswith(":7") else 0)
            if "SA reqid must equal" in row.outcome:
                _only_its_reqid_serves(re.sub("unique.*", "unique:7", text), family)


def _only_its_reqid_serves(text: str, family: int) -> None:
    (request,) = requests(text, family)
    spd = [outward(family, text)]
    served = out(spd, (sa(request, family, reqid=7),), family=family)
    other = out(spd, (sa(request, family, reqid=8),), family=family)
    assert served.verdict is Verdict.PROTECTED
    assert other.verdict is Verdict.DROPPED


_STATES = {
    "mature": (SaState.MATURE,),
    "dying": (SaState.DYING,),
    "larval-only": (SaState.LARVAL,),
    "absent": (),
    "absent; no PF_KEY listener": (),
}


def _output(row: Row) -> None:
    for family in row.families:
        for knobs in knobs_of(row, family):
            (text,) = written(row.request)
            (request,) = requests(text, family)
            sad = tuple(sa(request, family, state) for state in _STATES[row.sa_state])
            decision = out([outward(family, text)], sad, knobs, family=family)
            applied = re.match(r"(ESP|AH) (transport|tunnel) applied", row.outcome)
            if applied:
                assert decision.verdict is Verdict.PROTECTED
                (layer,) = decision.bundle
                assert (layer.protocol.name, layer.mode.name.lower()) == applied.groups()
            elif row.outcome.startswith("dropped"):
                assert decision.verdict is Verdict.DROPPED
            else:
                assert row.outcome.startswith(("sent in clear", "sent uncompressed"))
                assert decision.verdict is Verdict.CLEAR
            compare_numbers(row, decision)


def _present(row: Row, family: int) -> tuple[SadEntry, ...]:
    """Return the SAs that a bundle's row says are present, in the order of its requests."""
    wanted = requests(row.request, family)
    if row.sa_state in ("both absent", "both present"):
        here = [row.sa_state == "both present"] * 2
    else:
        here = [part.endswith("present") for part in row.sa_state.split(", ")]
    pairs = zip(wanted, here, strict=True)
    return tuple(
        sa(request, family, spi=i) for i, (request, is_here) in enumerate(pairs, 256) if is_here
    )


def _bundle(row: Row) -> None:
    (family,) = row.families
    decision = out([outward(family, row.request)], _present(row, family), family=family)
    if row.outcome.startswith("dropped"):
        assert decision.verdict is Verdict.DROPPED
        if "first request" in row.outcome:
            assert decision.results[1].outcome is Outcome.NOT_REACHED
    elif row.outcome == "sent in clear":
        assert decision.verdict is Verdict.CLEAR
    else:
        assert decision.verdict is Verdict.PROTECTED
        wire = re.match(r"IP6?((?: ESP| AH)+) payload", row.outcome)
        assert wire, row.outcome
        assert [x.protocol.name for x in reversed(decision.bundle)] == wire[1].split()
        assert all(layer.mode is TRANSPORT for layer in decision.bundle)
    compare_numbers(row, decision)


def _policies(row: Row, family: int) -> list[SecurityPolicy]:
    texts = {
        "discard (SPD)": ["discard"],
        "none (SPD)": ["none"],
        "no SPD match": [],
        "ipsec with zero requests (SPDSETIDX)": ["ipsec"],
    }[row.policy]
    make = outward if row.dir == "out" else inward
    return [make(family, text) for text in texts]


def _policy(row: Row) -> None:
    (family,) = row.families
    for knobs in knobs_of(row, family):
        spd = _policies(row, family)
        if row.dir == "out":
            sad = tuple(sa(r, family) for r in requests("esp/transport ah/transport"))
            decision = out(spd, sad if row.sa_state == "present" else (), knobs, family=family)
            dropped = row.outcome.startswith("dropped")
            assert dropped or row.outcome.startswith("sent in clear")
            assert decision.verdict is (Verdict.DROPPED if dropped else Verdict.CLEAR)
            compare_numbers(row, decision)
            continue
        protected = (seal(AH, TRANSPORT, family), seal(ESP, TRANSPORT, family))
        seals: list[tuple[Protection, ...]] = [(), protected]
        seals = {"clear": seals[:1], "ESP/AH protected": seals[1:]}.get(row.packet, seals)
        for some in seals:
            come = arrive(spd, *some, knobs=knobs, family=family)
            assert come.verdict.value == row.outcome
            compare_counters(row, come.counters)


def _seals(family: int) -> dict[str, tuple[Protection, ...]]:
    bare = seal(ESP, TRANSPORT, family, authenticated=False)
    return {
        "clear": (),
        "ESP transport no ICV": (bare,),
        "ESP transport with ICV": (seal(ESP, TRANSPORT, family),),
        "AH transport": (seal(AH, TRANSPORT, family),),
        "AH over ESP transport (IP AH ESP)": (seal(AH, TRANSPORT, family), bare),
        "after ESP tunnel decap (inner)": (seal(ESP, TUNNEL, family),),
        "after AH tunnel decap (inner)": (seal(AH, TUNNEL, family),),
        "IPComp only": (seal(IPCOMP, TRANSPORT, family),),
    }


def _input(row: Row) -> None:
    special = {"I311": _wrong_tunnel, "I312": _transport_sa, "I313": _no_sa, "I314": _no_policy}
    if row.id in special:
        for family in row.families:
            special[row.id](row, family)
        return
    (family,) = row.families
    verdict = Verdict[row.outcome.split(maxsplit=1)[0].upper()]
    for knobs in (ALL_ONE, ALL_TWO):
        for mode in (TRANSPORT, TUNNEL):
            ends = "A-B" if mode is TUNNEL else ""
            text = row.request.replace("/*/", f"/{mode.name.lower()}/{ends}/")
            # The tunnel of a later entry lets the packet be taken out; the first is what judges.
            spd = [inward(family, text), inward(family, "esp/tunnel/A-B/use")]
            decision = arrive(spd, *_seals(family)[row.packet], knobs=knobs, family=family)
            assert decision.verdict is verdict
            compare_counters(row, decision.counters)


def _wrong_tunnel(row: Row, family: int) -> None:
    assert row.outcome.startswith("not decapsulated")
    right, away = seal(ESP, TUNNEL, family), ELSEWHERE[family]
    spd = [inward(family, "esp/tunnel/A-B/require")]
    assert arrive(spd, right, family=family).verdict is Verdict.ACCEPTED
    for wrong in (right._replace(source=away), right._replace(destination=away)):
        assert arrive(spd, wrong, family=family).rule is Rule.NO_TUNNEL_ENTRY
    narrow = spd[0]._replace(selector=spd[0].selector._replace(source=away))
    assert arrive([narrow], right, family=family).rule is Rule.NO_TUNNEL_ENTRY


def _transport_sa(row: Row, family: int) -> None:
    assert row.outcome.startswith("not decapsulated")
    (request,) = requests("esp/tunnel/A-B/require", family)
    come = seal(ESP, TUNNEL, family)._replace(spi=0x1000)
    rules = {}
    for mode in (Mode.ANY, Mode.TUNNEL, Mode.TRANSPORT):
        sad = (sa(request, family, mode=mode),)
        rules[mode] = arrive([inward(family, (request,))], come, sad=sad, family=family).rule
    assert rules == {
        Mode.ANY: Rule.DEMANDS_MET,
        Mode.TUNNEL: Rule.DEMANDS_MET,
        Mode.TRANSPORT: Rule.SA_NOT_TUNNEL,
    }


def _no_sa(row: Row, family: int) -> None:
    for text in ("none", "discard", "esp/transport//use", "ah/transport//require"):
        come = seal(ESP, TRANSPORT, family)._replace(spi=0x1000)
        decision = arrive([inward(family, text)], come, family=family)
        assert decision.verdict is Verdict.REJECTED
        assert decision.governing is None
        compare_counters(row, decision.counters)


def _no_policy(row: Row, family: int) -> None:
    socket = SocketPolicies(inbound=SocketRule(SocketAction.BYPASS))
    for some in _seals(family).values():
        if all(protection.mode is TRANSPORT for protection in some):
            assert arrive([], *some, family=family, socket=socket).verdict is Verdict.ACCEPTED


def _forward(row: Row) -> None:
    (family,) = row.families
    text = row.request if row.request not in ("-", "any") else row.policy
    inbound = row.dir == "in"
    if "/*/" in text:
        text = text.replace("/*/", "/transport//")
    spd = [(inward if inbound else outward)(family, text)]
    sad: tuple[SadEntry, ...] = ()
    if row.sa_state == "present":
        sad = tuple(sa(request, family) for request in requests(text, family))
    some = (seal(ESP, TUNNEL, family),) if "decapsulated" in row.packet else ()
    decision = forward(spd, *some, sad=sad, family=family)
    if inbound:
        rejected = row.outcome.startswith("dropped")
        assert rejected or row.outcome == "forwarded"
        assert decision.verdict is (Verdict.REJECTED if rejected else Verdict.CLEAR)
        assert (decision.departure is None) is rejected
        compare_counters(row, decision.arrival.counters)
        return
    words = {"dropped": Verdict.DROPPED, "forwarded": Verdict.CLEAR, "transport": Verdict.PROTECTED}
    assert decision.departure
    assert decision.verdict is words[re.split(r"\W", row.outcome)[0]]
    compare_numbers(row, decision.departure)


def _socket(row: Row) -> None:
    found = re.fullmatch(r"socket=(\w+) \((non)?priv pcb\), SPD (no)?match", row.policy)
    assert found, row.policy
    rule = SocketRule(SocketAction[found[1].upper()])
    if rule.action is SocketAction.IPSEC:
        rule = SocketRule(rule.action, requests("ah/transport//require"))
    socket = SocketPolicies(rule, rule, privileged=found[2] is None)
    for family in row.families:
        for direction in row.dir.split("/"):
            make = outward if direction == "out" else inward
            spd = [] if found[3] else [make(family, "esp/transport//require")]
            decision: OutputDecision | InputDecision
            if direction == "out":
                decision = out(spd, family=family, socket=socket)
            else:
                decision = arrive(spd, family=family, socket=socket)
            if row.outcome.startswith("error"):
                assert decision.rule is Rule.BYPASS_WITHOUT_PRIVILEGE
                dropped = Verdict.DROPPED if direction == "out" else Verdict.ACCEPTED
                assert decision.verdict is dropped
                if isinstance(decision, OutputDecision):
                    assert decision.errno == errno.EINVAL
                    assert decision.counters == ("out_inval",)
                continue
            kind = {
                "SPD entry": EntryPolicy,
                "def_policy": DefaultPolicy,
                "socket bypass: clear out / accept in": OwnPolicy,
                "socket's own requests": OwnPolicy,
            }[row.outcome]
            assert type(decision.governing) is kind
            if "bypass" in row.outcome:
                assert decision.verdict in (Verdict.CLEAR, Verdict.ACCEPTED)


def _first_packet(row: Row) -> None:
    """S352: a socket's ipsec without requests is taken; its first packet is not."""
    assert row.id == "S352"
    socket = SocketPolicies(SocketRule(SocketAction.IPSEC), privileged=True)
    for family in row.families:
        decision = out([], family=family, socket=socket)
        assert decision.verdict is Verdict.DROPPED
        assert decision.errno == errno.EOPNOTSUPP
        assert not decision.spd_acquire


RUN: dict[str, Callable[[Row], None]] = {
    "LEVEL": _level,
    "OUTPUT": _output,
    "BUNDLE": _bundle,
    "POLICY": _policy,
    "INPUT": _input,
    "FORWARD": _forward,
    "SOCKET": _socket,
    "SETSOCKOPT": _first_packet,
}


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.id not in NOT_RUN], ids=lambda row: row.id
)
def test_a_row_of_the_truth_table_holds(row: Row) -> None:
    assert row.kind in RUN, f"{row.id} is neither run nor named"
    RUN[row.kind](row)


def test_the_rows_not_run_are_rows_of_the_table() -> None:
    ids = [row.id for row in ROWS]
    assert len(ids) == len(set(ids)) == 352
    assert NOT_RUN.keys() <= set(ids)


def test_a_row_that_another_beats_is_beaten_by_one_that_is_run() -> None:
    run = {row.id for row in ROWS} - NOT_RUN.keys()
    named = {match[1] for why in NOT_RUN.values() if (match := re.search(r"beats it: (\w+)", why))}
    assert named
    assert named <= run
