"""Packets that leave: which entry, which SA, which headers, and which errors."""

import errno

import pytest

from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import SadEntry, SaState
from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.decision import EntryPolicy, Outcome, OutputDecision, Rule, Verdict
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.packet import Packet, Path, SocketAction, SocketPolicies, SocketRule
from kamexfrm.model.policy import (
    PRIORITY_DEFAULT,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    Direction,
    Mode,
    Owner,
    PolicyType,
    SecurityPolicy,
    SpdEntry,
)
from kamexfrm.net import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Address,
)
from tests.model.decide_cases import (
    AH,
    ELSEWHERE,
    ENDS,
    ESP,
    FAMILIES,
    GATES,
    TRANSPORT,
    TUNNEL,
    forward,
    inward,
    out,
    outward,
    packet,
    requests,
    sa,
    selector,
)

ESP_USE = requests("esp/transport//use")[0]
ESP_REQUIRE = requests("esp/transport//require")[0]


def entry_of(decision: OutputDecision) -> EntryPolicy:
    assert isinstance(decision.governing, EntryPolicy)
    return decision.governing


def spis(decision: OutputDecision) -> list[int]:
    return [layer.spi for layer in decision.bundle]


def test_the_oldest_of_equal_priority_matches_first() -> None:
    spd = [outward(AF_INET, "none"), outward(AF_INET, "discard")]
    assert out(spd).verdict is Verdict.CLEAR
    assert out(spd[::-1]).verdict is Verdict.DROPPED


def test_the_lower_priority_value_matches_first_and_the_unmarked_are_between() -> None:
    low = outward(AF_INET, "discard")._replace(priority=PRIORITY_LOW)
    unmarked = outward(AF_INET, "esp/transport//use")
    high = outward(AF_INET, "none")._replace(priority=PRIORITY_HIGH)
    assert unmarked.priority == PRIORITY_DEFAULT
    assert entry_of(out([low, unmarked, high])).policy == high
    assert entry_of(out([low, unmarked])).policy == unmarked
    assert entry_of(out([low, unmarked, high])).position == 1


def test_host_bits_of_a_prefix_do_not_keep_it_from_matching() -> None:
    wide = outward(AF_INET, "discard")
    wide = wide._replace(
        selector=wide.selector._replace(source=Address.parse("10.1.0.77"), source_prefix=24)
    )
    assert out([wide]).verdict is Verdict.DROPPED
    narrow = wide._replace(selector=wide.selector._replace(source_prefix=30))
    assert out([narrow]).verdict is Verdict.CLEAR


@pytest.mark.parametrize("family", FAMILIES)
def test_an_entry_of_the_other_family_never_matches(family: int) -> None:
    other = AF_INET6 if family == AF_INET else AF_INET
    every = outward(other, "discard")
    every = every._replace(selector=every.selector._replace(source_prefix=0, destination_prefix=0))
    assert out([every], family=family).verdict is Verdict.CLEAR


def only_to(upper: int, port: int | None, family: int = AF_INET) -> SecurityPolicy:
    return SecurityPolicy(selector(family, upper, port), Direction.OUT, PolicyType.DISCARD)


def test_ports_match_what_is_sent_but_are_unseen_in_fragments() -> None:
    spd = [only_to(IPPROTO_UDP, 7000)]
    sent = packet(Path.OUT)
    assert out(spd).verdict is Verdict.DROPPED
    assert out(spd, sent=packet(Path.OUT, port=7001)).verdict is Verdict.CLEAR
    assert out(spd, sent=sent._replace(fragment=True)).verdict is Verdict.CLEAR
    assert out([only_to(IPPROTO_UDP, None)], sent=sent._replace(fragment=True)).verdict is (
        Verdict.CLEAR
    )
    assert out([only_to(IPPROTO_TCP, 7000)]).verdict is Verdict.CLEAR


@pytest.mark.parametrize("family", FAMILIES)
def test_forwarding_sees_the_protocol_and_not_the_ports(family: int) -> None:
    assert forward([only_to(IPPROTO_UDP, 7000, family)], family=family).verdict is Verdict.CLEAR
    assert forward([only_to(IPPROTO_UDP, None, family)], family=family).verdict is Verdict.DROPPED


@pytest.mark.parametrize(("family", "icmp"), [(AF_INET, IPPROTO_ICMP), (AF_INET6, IPPROTO_ICMPV6)])
def test_an_icmp_type_is_matched_as_a_source_port_type_0_too(family: int, icmp: int) -> None:
    source, destination = ENDS[family]
    wanted = only_to(icmp, None, family)
    for type_ in (0, 8):
        spd = [wanted._replace(selector=wanted.selector._replace(source_port=type_))]
        for sent_type in (0, 8):
            sent = Packet(Path.OUT, source, destination, icmp, sent_type, 0)
            dropped = out(spd, sent=sent).verdict is Verdict.DROPPED
            assert dropped is (type_ == sent_type)
            # Not so the ports: forwarding sees types.
            transit = decide(sent._replace(path=Path.FORWARDED), Spd.of(spd))
            assert (transit.verdict is Verdict.DROPPED) is dropped


@pytest.mark.parametrize("type_", [PolicyType.ENTRUST, PolicyType.BYPASS])
def test_an_entry_cannot_have_a_type_for_sockets_only(type_: PolicyType) -> None:
    with pytest.raises(KamexfrmError) as refused:
        Spd.of([outward(AF_INET, "none")._replace(type=type_)])
    assert refused.value.errno == errno.EINVAL


def test_an_explicit_fwd_entry_is_not_kames_and_not_asked() -> None:
    fwd = inward(AF_INET, "discard")._replace(direction=Direction.FWD)
    assert forward([fwd]).verdict is Verdict.CLEAR


def test_the_entries_that_sockets_have_in_a_dump_govern_no_other_packet() -> None:
    entry = SpdEntry(outward(AF_INET, "discard"), 12, 0, 0, Owner.FOREIGN, 0, 0)
    assert decide(packet(Path.OUT), Spd.of([entry])).verdict is Verdict.DROPPED
    spd = Spd.of([entry._replace(socket=True)])
    assert decide(packet(Path.OUT), spd).verdict is Verdict.CLEAR


def test_a_socket_does_not_affect_packets_in_transit() -> None:
    rule = SocketRule(SocketAction.BYPASS)
    for privileged in (False, True):
        socket = SocketPolicies(rule, rule, privileged)
        for spd in (Spd.of([outward(AF_INET, "discard")]), Spd()):
            transit = packet(Path.FORWARDED)
            assert decide(transit, spd, socket=socket) == decide(transit, spd)


@pytest.mark.parametrize("text", ["esp/transport//require", "esp/tunnel/A-B/require"])
def test_an_sa_of_mode_any_matches_both_modes_and_no_other_mode_does(text: str) -> None:
    (request,) = requests(text)
    spd = [outward(AF_INET, text)]
    other = TUNNEL if request.mode is TRANSPORT else TRANSPORT
    for mode, verdict in (
        (Mode.ANY, Verdict.PROTECTED),
        (request.mode, Verdict.PROTECTED),
        (other, Verdict.DROPPED),
    ):
        assert out(spd, (sa(request, mode=mode),)).verdict is verdict
    served = out(spd, (sa(request, mode=Mode.ANY),))
    assert served.bundle[0].mode is request.mode


def test_an_sa_must_have_the_very_addresses() -> None:
    there = sa(ESP_REQUIRE)
    away = there.association._replace(destination=ELSEWHERE[AF_INET])
    spd = [outward(AF_INET, "esp/transport//require")]
    assert out(spd, (there._replace(association=away),)).verdict is Verdict.DROPPED
    assert out(spd, (there,)).verdict is Verdict.PROTECTED


def chosen(*sad: SadEntry, preferred_oldsa: int = 0) -> list[int]:
    knobs = Knobs(preferred_oldsa=preferred_oldsa)
    return spis(out([outward(AF_INET, "esp/transport//require")], sad, knobs))


def test_of_sas_alike_the_dying_goes_first_then_the_oldest_where_that_is_preferred() -> None:
    old = sa(ESP_REQUIRE, spi=300, created=10)
    new = sa(ESP_REQUIRE, spi=301, created=20)
    assert chosen(old, new, preferred_oldsa=1) == chosen(new, old, preferred_oldsa=1) == [300]
    dying = new._replace(state=SaState.DYING)
    assert chosen(old, dying, preferred_oldsa=1) == [301]


def test_of_sas_alike_the_mature_goes_first_then_the_newest() -> None:
    old = sa(ESP_REQUIRE, spi=300, created=10)
    new = sa(ESP_REQUIRE, spi=301, created=20)
    assert chosen(old, new) == chosen(new, old) == [301]
    assert chosen(old, new._replace(state=SaState.DYING)) == [300]


def test_of_sas_of_different_reqid_or_mode_the_newest_kind_is_taken() -> None:
    first = sa(ESP_REQUIRE, spi=300, reqid=1, created=10)
    second = sa(ESP_REQUIRE, spi=301, reqid=2, created=20)
    again = sa(ESP_REQUIRE, spi=302, reqid=1, created=30)
    assert chosen(first, second, again) == [301]
    assert chosen(sa(ESP_REQUIRE, spi=300), sa(ESP_REQUIRE, spi=301, mode=Mode.ANY)) == [301]


def test_an_unusable_sa_of_a_newer_kind_hides_an_older_one() -> None:
    usable = sa(ESP_REQUIRE, spi=300, created=10)
    larval = sa(ESP_REQUIRE, state=SaState.LARVAL, spi=301, reqid=2, created=20)
    assert chosen(usable, larval) == []
    assert chosen(usable, larval._replace(association=larval.association._replace(spi=0))) == [300]


def test_the_reqid_of_unique_must_be_the_sas() -> None:
    spd = [outward(AF_INET, "esp/transport//unique:7")]
    assert out(spd, (sa(ESP_REQUIRE, reqid=8),)).verdict is Verdict.DROPPED
    assert out(spd, (sa(ESP_REQUIRE, reqid=7),)).verdict is Verdict.PROTECTED
    assert out(spd).acquires[0].reqid == 7


@pytest.mark.parametrize("family", FAMILIES)
def test_after_a_tunnel_a_transport_request_is_between_the_gateways(family: int) -> None:
    text = "esp/tunnel/A-B/use ah/transport//require"
    inner, outer = requests(text, family)
    near, far = GATES[family]
    tunnel = sa(inner, family, spi=300)
    between = sa(outer._replace(source=near, destination=far), family, spi=301)
    decision = out([outward(family, text)], (tunnel, between), family=family)
    assert spis(decision) == [300, 301]
    assert decision.bundle[1][2:4] == (near, far)
    # A tunnel that is skipped leaves the packet's own addresses.
    plain = sa(outer, family, spi=302)
    assert spis(out([outward(family, text)], (plain,), family=family)) == [302]
    assert out([outward(family, text)], (between,), family=family).verdict is Verdict.DROPPED


def test_a_transport_request_may_name_its_own_endpoints() -> None:
    near, far = GATES[AF_INET]
    text = f"esp/transport/{near}-{far}/require"
    (request,) = requests(text)
    assert out([outward(AF_INET, text)], (sa(request),)).verdict is Verdict.PROTECTED
    assert out([outward(AF_INET, text)], (sa(ESP_REQUIRE),)).verdict is Verdict.DROPPED


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tunnel_may_be_of_the_other_family(family: int) -> None:
    other = AF_INET6 if family == AF_INET else AF_INET
    wanted = requests("esp/tunnel/A-B/require", other)
    decision = out([outward(family, wanted)], (sa(wanted[0], other),), family=family)
    assert decision.verdict is Verdict.PROTECTED
    assert decision.bundle[0].source == GATES[other][0]


def test_a_use_request_without_an_sa_is_skipped_and_acquired() -> None:
    decision = out([outward(AF_INET, "esp/transport//use ah/transport//use")])
    assert decision.verdict is Verdict.CLEAR
    assert [sought.protocol for sought in decision.acquires] == [ESP, AH]
    assert decision.errno == 0


def test_a_require_request_without_an_sa_stops_before_later_requests() -> None:
    decision = out([outward(AF_INET, "ah/transport//use esp/transport//require ah/transport")])
    assert [result.outcome for result in decision.results] == [
        Outcome.SKIPPED,
        Outcome.MISSING,
        Outcome.NOT_REACHED,
    ]
    assert decision.errno == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("esp/transport//require", True),
        ("esp/transport//use ah/transport//require", True),
        ("esp/tunnel/A-B/require", False),
        ("esp/tunnel/A-B/use ah/transport//require", False),
        ("esp/transport//use", False),
    ],
)
def test_ipv6_sends_itself_an_error_about_a_drop_before_any_tunnel(text: str, told: bool) -> None:
    assert out([outward(AF_INET6, text)], family=AF_INET6).admin_prohibited is told
    assert not out([outward(AF_INET, text)]).admin_prohibited


def test_ipv6_forwarding_begins_with_the_first_tunnel() -> None:
    text = "ah/transport//require esp/tunnel/A-B/require"
    _, tunnel = requests(text, AF_INET6)
    decision = forward([outward(AF_INET6, text)], sad=(sa(tunnel, AF_INET6),), family=AF_INET6)
    assert decision.verdict is Verdict.PROTECTED
    assert decision.departure
    assert [layer.mode for layer in decision.departure.bundle] == [TUNNEL]
    assert forward([outward(AF_INET, text)]).verdict is Verdict.DROPPED


def test_def_policy_of_the_packets_family_decides_without_a_match() -> None:
    discard = Knobs(inet=Knobs().inet._replace(def_policy=0))
    assert out([], knobs=discard).rule is Rule.DISCARD
    assert out([], knobs=discard, family=AF_INET6).verdict is Verdict.CLEAR
    assert out([outward(AF_INET, "none")], knobs=discard).verdict is Verdict.CLEAR
    assert out([], knobs=discard).errno == 0


def test_a_socket_without_a_policy_changes_nothing() -> None:
    for spd in ([], [outward(AF_INET, "discard")], [outward(AF_INET, "esp/transport//use")]):
        for privileged in (False, True):
            assert out(spd, socket=SocketPolicies(privileged=privileged)) == out(spd)
