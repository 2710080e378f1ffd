"""The words of a decision name the entry, the knob and the rule."""

from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.explain import explain_text
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.packet import Path, SocketAction, SocketPolicies, SocketRule
from kamexfrm.model.policy import Owner, SpdEntry
from kamexfrm.model.wording import packet_text
from kamexfrm.net import AF_INET, AF_INET6
from tests.model.decide_cases import (
    ESP,
    TRANSPORT,
    TUNNEL,
    arrive,
    forward,
    inward,
    only,
    out,
    outward,
    packet,
    requests,
    sa,
    seal,
)


def test_a_drop_is_explained_with_each_request_its_knob_and_the_acquires() -> None:
    text = "esp/transport//default ah/transport//require"
    assert explain_text(out([outward(AF_INET, text)])) == [
        f"policy: entry 1 of out: 10.1.0.1 10.2.0.1 any out ipsec {text}",
        "request 1: esp/transport//default (net.inet.ipsec.esp_trans_deflev=1 makes it use):"
        " skipped, no ESP transport SA from 10.1.0.1 to 10.2.0.1",
        "request 2: ah/transport//require: missing, no AH transport SA from 10.1.0.1 to 10.2.0.1",
        "ACQUIRE is due: ESP transport SA from 10.1.0.1 to 10.2.0.1",
        "ACQUIRE is due: AH transport SA from 10.1.0.1 to 10.2.0.1",
        "dropped without a word: entry 1 of out asks for ah/transport//require,"
        " and there is no AH transport SA from 10.1.0.1 to 10.2.0.1",
        "the sender is told: success",
    ]


def test_a_bundle_is_explained_from_the_outside_in() -> None:
    text = "esp/transport//use ah/tunnel/A-B/unique:7"
    inner, outer = requests(text)
    sad = (sa(inner), sa(outer, spi=0x2000))
    lines = explain_text(out([outward(AF_INET, text)], sad))
    assert lines[1:4] == [
        "request 1: esp/transport//use: applied, SA with spi 0x1000",
        "request 2: ah/tunnel/192.0.2.1-192.0.2.2/unique:7: applied, SA with spi 0x2000",
        "on the wire: AH(spi 0x2000) tunnel 192.0.2.1-192.0.2.2,"
        " in it ESP(spi 0x1000) transport 10.1.0.1-10.2.0.1",
    ]


def test_def_policy_is_named_where_no_entry_matches() -> None:
    knobs = Knobs(inet6=Knobs().inet6._replace(def_policy=0))
    assert explain_text(out([], knobs=knobs, family=AF_INET6)) == [
        "policy: no entry matches; net.inet6.ipsec6.def_policy=0 (discard)",
        "dropped without a word: no entry matches, and net.inet6.ipsec6.def_policy=0 means discard",
        "the sender is told: success",
    ]
    assert out([]).reason == (
        "sent in clear: no entry matches, and net.inet.ipsec.def_policy=1 means none"
    )


def test_an_entry_of_a_dump_is_named_by_its_id_and_place() -> None:
    policy = outward(AF_INET, "none")
    held = [SpdEntry(policy, id_, 0, 0, Owner.OURS, at, 0) for at, id_ in enumerate((17, 9), 1)]
    decision = decide(packet(Path.OUT), Spd.of(reversed(held)))
    assert decision.reason == "sent in clear: entry 1 of out (id 17) says none"


def test_a_sockets_own_policy_is_named() -> None:
    rule = SocketRule(SocketAction.BYPASS)
    lines = explain_text(out([], socket=SocketPolicies(rule, privileged=True)))
    assert lines[:2] == [
        "policy: the privileged socket's own policy: bypass",
        "sent in clear: the privileged socket's own policy says bypass",
    ]
    lines = explain_text(out([], socket=SocketPolicies(rule)))
    assert lines[-1] == "the sender is told: EINVAL"


def test_input_is_explained_with_what_arrived_and_what_it_lacks() -> None:
    spd = [inward(AF_INET, "esp/tunnel/A-B/require ah/transport//default")]
    knobs = only(AF_INET, "ah_trans_deflev", 2)
    assert explain_text(arrive(spd, seal(ESP, TUNNEL), knobs=knobs)) == [
        "policy: entry 1 of in: 10.1.0.1 10.2.0.1 any in ipsec"
        " esp/tunnel/192.0.2.1-192.0.2.2/require ah/transport//default",
        "the packet arrived: decrypted",
        "request 1: esp/tunnel/192.0.2.1-192.0.2.2/require: met",
        "request 2: ah/transport//default (net.inet.ipsec.ah_trans_deflev=2 makes it require):"
        " not met",
        "rejected: entry 1 of in asks for ah/transport//default"
        " (net.inet.ipsec.ah_trans_deflev=2 makes it require),"
        " and the packet has no AH of its own (AH around a tunnel does not count)",
    ]


def test_a_packet_rejected_before_any_policy_is_explained() -> None:
    sealed = seal(ESP, TRANSPORT)._replace(spi=0x1000)
    assert explain_text(arrive([], sealed)) == [
        "rejected: no usable SA for ESP transport from 10.1.0.1 to 10.2.0.1 (spi 0x1000)"
    ]
    assert arrive([], seal(ESP, TUNNEL)).reason == (
        "rejected: no inbound entry asks for a tunnel 192.0.2.1-192.0.2.2 for what is inside,"
        " so ESP tunnel from 192.0.2.1 to 192.0.2.2 is plain IP in IP"
    )


def test_a_packet_in_transit_is_explained_in_two_halves() -> None:
    lines = explain_text(forward([outward(AF_INET6, "esp/transport//require")], family=AF_INET6))
    assert [line.split(":")[0] for line in lines] == ["arriving"] * 3 + ["leaving"] * 3
    assert lines[-1] == (
        "leaving: sent in clear: entry 1 of out asks for transport mode only,"
        " and IPv6 forwarding looks at tunnels"
    )


def test_an_empty_list_of_requests_and_ipcomps_default_have_their_words() -> None:
    lines = explain_text(out([outward(AF_INET, "ipsec")]))
    assert "SPDACQUIRE is due: the entry has no request" in lines
    decision = out([outward(AF_INET, "ipcomp/transport//default")])
    assert "(IPComp's default is always use)" in decision.reason


def test_a_packet_has_a_short_name() -> None:
    assert packet_text(packet(Path.OUT)) == "10.1.0.1[1024] 10.2.0.1[7000] udp"
