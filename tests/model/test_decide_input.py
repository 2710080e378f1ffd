"""Packets that arrive: the marks of their protection, and what the policy requires of it."""

import pytest

from kamexfrm.model.association import SaState
from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.decision import Marks, Outcome, Rule, Verdict
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.packet import Path, Protection, SocketAction, SocketPolicies, SocketRule
from kamexfrm.model.policy import IpsecProtocol, Level, Mode
from kamexfrm.net import AF_INET, AF_INET6, Address
from tests.model.decide_cases import (
    AH,
    ESP,
    FAMILIES,
    GATES,
    IPCOMP,
    TRANSPORT,
    TUNNEL,
    arrive,
    forward,
    inward,
    only,
    outward,
    packet,
    requests,
    sa,
    seal,
)

TUNNELS = inward(AF_INET, "esp/tunnel/A-B/use")


@pytest.mark.parametrize(
    ("protections", "marks"),
    [
        ((), Marks()),
        ((seal(ESP, TRANSPORT),), Marks(True, False, True)),
        ((seal(ESP, TRANSPORT, authenticated=False),), Marks(True)),
        ((seal(AH, TRANSPORT),), Marks(False, True, True)),
        ((seal(IPCOMP, TRANSPORT),), Marks(True)),
        ((seal(AH, TRANSPORT), seal(ESP, TRANSPORT)), Marks(True, True, True)),
        ((seal(ESP, TUNNEL),), Marks(True)),
        ((seal(AH, TUNNEL),), Marks()),
        ((seal(ESP, TUNNEL), seal(AH, TRANSPORT)), Marks(True, True, True)),
        ((seal(AH, TUNNEL), seal(ESP, TRANSPORT)), Marks(True, False, True)),
    ],
)
def test_a_tunnels_end_keeps_the_decryption_and_clears_the_authentication(
    protections: tuple[Protection, ...], marks: Marks
) -> None:
    decision = arrive([TUNNELS], *protections)
    assert decision.verdict is Verdict.ACCEPTED
    assert decision.marks == marks


def test_ah_before_a_tunnel_does_not_authenticate_what_is_inside() -> None:
    near, far = GATES[AF_INET]
    outer_ah = Protection(AH, TRANSPORT, near, far)
    spd = [inward(AF_INET, "esp/tunnel/A-B/require ah/transport//require")]
    assert arrive(spd, outer_ah, seal(ESP, TUNNEL)).verdict is Verdict.REJECTED
    assert arrive(spd, seal(ESP, TUNNEL), seal(AH, TRANSPORT)).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", [ESP, AH])
@pytest.mark.parametrize("mode", [TRANSPORT, TUNNEL])
def test_default_follows_the_familys_own_knob(
    family: int, protocol: IpsecProtocol, mode: Mode
) -> None:
    name = protocol.name.lower()
    field = f"{name}_{'net' if mode is TUNNEL else 'trans'}_deflev"
    spd = [inward(family, f"{name}/{mode.name.lower()}/{'A-B' if mode is TUNNEL else ''}/default")]
    for value in Level.USE, Level.REQUIRE:
        decision = arrive(spd, knobs=only(family, field, int(value)), family=family)
        assert (decision.verdict is Verdict.REJECTED) is (value is Level.REQUIRE)
        knob = decision.results[0].knob
        assert knob
        assert (knob.family, knob.field) == (family, field)


def test_unique_adds_nothing_on_input() -> None:
    spd = [inward(AF_INET, "esp/transport//unique:7")]
    sealed = seal(ESP, TRANSPORT)._replace(spi=0x1000, reqid=8)
    sad = (sa(requests("esp/transport")[0], reqid=8),)
    assert arrive(spd, sealed, sad=sad).verdict is Verdict.ACCEPTED


def test_the_source_of_an_sa_is_not_compared() -> None:
    (request,) = requests("esp/transport")
    sealed = seal(ESP, TRANSPORT)._replace(spi=0x1000)
    known = sa(request)
    away = known.association._replace(source=GATES[AF_INET][0])
    assert arrive([], sealed, sad=(known._replace(association=away),)).verdict is Verdict.ACCEPTED
    wrong = known.association._replace(destination=GATES[AF_INET][0])
    assert arrive([], sealed, sad=(known._replace(association=wrong),)).rule is Rule.NO_SUCH_SA


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (SaState.LARVAL, Verdict.REJECTED),
        (SaState.MATURE, Verdict.ACCEPTED),
        (SaState.DYING, Verdict.ACCEPTED),
        (SaState.DEAD, Verdict.REJECTED),
    ],
)
def test_an_sa_receives_while_it_may_be_used(state: SaState, verdict: Verdict) -> None:
    sealed = seal(ESP, TRANSPORT)._replace(spi=0x1000)
    sad = (sa(requests("esp/transport")[0], state=state),)
    assert arrive([], sealed, sad=sad).verdict is verdict


def test_a_well_known_compression_index_needs_no_sa() -> None:
    deflate = seal(IPCOMP, TRANSPORT)._replace(spi=2)
    assert arrive([], deflate).verdict is Verdict.ACCEPTED
    assert arrive([], deflate._replace(spi=256)).rule is Rule.NO_SUCH_SA


def test_a_tunnel_is_opened_only_where_an_inbound_entry_asks_for_it() -> None:
    sealed = seal(ESP, TUNNEL)
    for spd in ([], [inward(AF_INET, "none")], [inward(AF_INET, "esp/transport//use")]):
        assert arrive(spd, sealed).rule is Rule.NO_TUNNEL_ENTRY
    assert arrive([inward(AF_INET, "none"), TUNNELS], sealed).verdict is Verdict.ACCEPTED
    assert arrive([inward(AF_INET, "discard"), TUNNELS], sealed).rule is Rule.DISCARD
    outbound = outward(AF_INET, "esp/tunnel/A-B/use")
    assert arrive([outbound], sealed).rule is Rule.NO_TUNNEL_ENTRY


def test_nested_tunnels_are_opened_by_the_order_of_the_requests() -> None:
    ends = Address.parse("203.0.113.1"), Address.parse("203.0.113.2")
    inner = Protection(ESP, TUNNEL, *ends)
    within, around = f"esp/tunnel/{ends[0]}-{ends[1]}/require", "esp/tunnel/A-B/require"
    spd = [inward(AF_INET, f"{within} {around}")]
    assert arrive(spd, seal(ESP, TUNNEL), inner).verdict is Verdict.ACCEPTED
    assert arrive(spd, inner).verdict is Verdict.ACCEPTED
    assert arrive(spd, seal(ESP, TUNNEL)).rule is Rule.NO_TUNNEL_ENTRY
    spd = [inward(AF_INET, f"{around} {within}")]
    assert arrive(spd, seal(ESP, TUNNEL), inner).rule is Rule.NO_TUNNEL_ENTRY


def test_fragments_are_put_together_before_the_inbound_policy_is_asked() -> None:
    entry = inward(AF_INET, "discard")
    spd = Spd.of([entry._replace(selector=entry.selector._replace(destination_port=7000))])
    for path, verdict in ((Path.IN, Verdict.REJECTED), (Path.FORWARDED, Verdict.CLEAR)):
        fragment = packet(path)._replace(fragment=True)
        assert decide(fragment, spd).verdict is verdict


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tunnel_of_the_other_family_is_opened_too(family: int) -> None:
    other = AF_INET6 if family == AF_INET else AF_INET
    spd = [inward(family, requests("esp/tunnel/A-B/require", other))]
    assert arrive(spd, seal(ESP, TUNNEL, other), family=family).verdict is Verdict.ACCEPTED


def test_each_unmet_demand_is_explained() -> None:
    spd = [
        inward(AF_INET, "esp/transport//require ah/transport//require ipcomp/transport//require")
    ]
    decision = arrive(spd, seal(ESP, TRANSPORT))
    assert [result.outcome for result in decision.results] == [
        Outcome.MET,
        Outcome.UNMET,
        Outcome.NOT_ASKED,
    ]
    assert decision.verdict is Verdict.REJECTED


def test_a_privileged_socket_may_accept_what_an_entry_rejects() -> None:
    rule = SocketRule(SocketAction.BYPASS)
    spd = [inward(AF_INET, "discard")]
    for privileged, verdict in ((True, Verdict.ACCEPTED), (False, Verdict.REJECTED)):
        socket = SocketPolicies(inbound=rule, privileged=privileged)
        assert arrive(spd, socket=socket).verdict is verdict


def test_a_packet_in_transit_meets_the_inbound_entry_then_the_outbound() -> None:
    inbound, outbound = inward(AF_INET, "esp/tunnel/A-B/require"), outward(AF_INET, "discard")
    assert forward([inbound, outbound]).verdict is Verdict.REJECTED
    decision = forward([inbound, outbound], seal(ESP, TUNNEL))
    assert decision.arrival.verdict is Verdict.ACCEPTED
    assert decision.verdict is Verdict.DROPPED
    assert forward([inbound], seal(ESP, TUNNEL)).verdict is Verdict.CLEAR


def test_def_policy_0_rejects_what_no_entry_matches() -> None:
    knobs = Knobs(inet6=Knobs().inet6._replace(def_policy=0))
    assert arrive([], knobs=knobs, family=AF_INET6).rule is Rule.DISCARD
    assert arrive([], knobs=knobs).verdict is Verdict.ACCEPTED
