"""Entries that `ip xfrm` made: both tools show them, packets meet them, and we let them be."""

import re

import pytest

from kamexfrm.model.knobs import KNOBS
from kamexfrm.net import IPPROTO_ESP
from kamexfrm.rig import Host, TwoHosts
from tests.dataplane.dataplane_proof import (
    ESP_KEYS,
    Watch,
    knob,
    load,
    ping,
    send,
    setkey,
    waits_for_counter,
)

pytestmark = pytest.mark.dataplane

A, B = "10.0.0.1", "10.0.0.2"


def ip(host: Host, *words: str) -> str:
    return host.run(["ip", *words], check=True).stdout


def entries(host: Host) -> dict[str, str]:
    """Return what ``ip xfrm policy`` shows, by selector and direction."""
    blocks = re.split(r"(?m)^(?=src )", ip(host, "xfrm", "policy"))
    found = {}
    for block in filter(None, blocks):
        head = re.match(r"src (\S+) dst (\S+).*\n\s+dir (\w+)", block)
        assert head, block
        found[" ".join(head.groups())] = block
    return found


FOREIGN_OUT = "10.9.0.0/16 10.8.0.0/16 out"
FOREIGN_IN = "10.8.0.0/16 10.9.0.0/16 in"


def add_foreign(host: Host) -> dict[str, str]:
    template = "tmpl src {} dst {} proto esp mode tunnel reqid 5 level required"
    for key, source, destination in ((FOREIGN_OUT, A, B), (FOREIGN_IN, B, A)):
        left, right, direction = key.split()
        ip(
            host,
            *f"xfrm policy add src {left} dst {right} dir {direction} priority 77".split(),
            *template.format(source, destination).split(),
        )
    return entries(host)


def test_both_tools_show_a_foreign_entry_beside_ours(two_hosts: TwoHosts) -> None:
    a = two_hosts.a
    add_foreign(a)
    load(a, f"spdadd {A} {B} any -P out ipsec esp/transport//default;")
    ours = setkey(a, "-DP")
    assert "10.9.0.0/16[any] 10.8.0.0/16[any] 255\n\tout prio" in ours
    assert f"esp/tunnel/{A}-{B}/unique:5" in ours
    assert f"esp/tunnel/{B}-{A}/unique:5" in ours
    assert "esp/transport//default" in ours
    assert {FOREIGN_OUT, FOREIGN_IN, f"{A}/32 {B}/32 out"} <= set(entries(a))


def test_nothing_of_ours_but_a_flush_touches_a_foreign_entry(two_hosts: TwoHosts) -> None:
    a = two_hosts.a
    before = add_foreign(a)

    def untouched() -> bool:
        now = entries(a)
        return all(now[key] == before[key] for key in (FOREIGN_OUT, FOREIGN_IN))

    load(a, f"spdadd {A} {B} any -P out ipsec esp/tunnel/{A}-{B}/default ah/transport//default;")
    load(a, f"spdadd {B} {A} any -P in ipsec esp/tunnel/{B}-{A}/default ah/transport//default;")
    assert untouched()
    for value in (2, 1):
        knob(a, *(f"{k.name}={value}" for k in KNOBS if k.field.endswith("deflev")))
    for value in (0, 1):
        knob(a, *(f"{k.name}={value}" for k in KNOBS if k.field == "def_policy"))
    assert untouched()
    # An SA of mode any, and one that a tunnel at level use waits for.
    load(a, f"add {A} {B} esp 0x1000 {ESP_KEYS}; flush;")
    for n in range(40):  # until the numbers between two of ours run out and all get new ones
        load(a, f"spdadd 10.7.{n}.0/24 10.8.0.0/16 any -P out prio def + 1 none;")
    assert untouched()
    load(a, f"spddelete {A} {B} any -P out; spddelete {B} {A} any -P in;")
    assert untouched()
    setkey(a, "-FP")
    assert not {FOREIGN_OUT, FOREIGN_IN} & set(entries(a))


def test_a_foreign_sa_keeps_its_mode_whatever_our_policies_ask(two_hosts: TwoHosts) -> None:
    a = two_hosts.a
    ip(
        a,
        *f"xfrm state add src {A} dst {B} proto esp spi 0x5000 mode transport".split(),
        *("enc", "cbc(aes)", "0x" + bytes(range(16)).hex()),
        *("auth-trunc", "hmac(sha1)", "0x" + bytes(range(20)).hex(), "96"),
    )
    before = ip(a, "xfrm", "state")
    load(a, f"add {A} {B} esp 0x1000 {ESP_KEYS};")
    load(a, f"spdadd {A} {B} any -P out ipsec esp/tunnel/{A}-{B}/use;")
    load(a, f"delete {A} {B} esp 0x1000; spdflush;")
    assert ip(a, "xfrm", "state") == before
    assert "spi=20480(0x00005000)" in setkey(a, "-D")


def test_a_foreign_block_meets_packets_before_and_after_a_knob_is_written(
    two_hosts: TwoHosts,
) -> None:
    a = two_hosts.a
    assert ping(a, B)
    ip(a, *f"xfrm policy add src {A} dst {B} dir out action block priority 1".split())
    load(a, f"spdadd {A} {B} udp -P out none;")
    for value in (1, 2, 1):
        knob(a, f"net.inet.ipsec.esp_trans_deflev={value}")
        before = a.counters()
        with Watch([a], a) as watch:
            send(a, B, 9)
        waits_for_counter(a, "XfrmOutPolBlock", before)
        watch.assert_nothing_left()


def test_policies_of_ours_work_with_sas_of_others_and_the_reverse(two_hosts: TwoHosts) -> None:
    # One host configured by setkey, the other by ip xfrm: they understand each other.
    a, b = two_hosts
    there = f"add {A} {B} esp 0x1000 -m transport {ESP_KEYS};"
    back = f"add {B} {A} esp 0x1001 -m transport {ESP_KEYS};"
    load(a, there + back + f"spdadd {A} {B} any -P out ipsec esp/transport//require;")
    load(a, f"spdadd {B} {A} any -P in ipsec esp/transport//require;")
    keys = [
        *("enc", "cbc(aes)", "0x" + bytes(range(16)).hex()),
        *("auth-trunc", "hmac(sha1)", "0x" + bytes(range(20)).hex(), "96"),
    ]
    for source, destination, spi, direction in ((A, B, "0x1000", "in"), (B, A, "0x1001", "out")):
        ends = ["src", source, "dst", destination]
        state = ["proto", "esp", "spi", spi, "mode", "transport"]
        ip(b, "xfrm", "state", "add", *ends, *state, *keys)
        template = ["tmpl", "proto", "esp", "mode", "transport"]
        ip(b, "xfrm", "policy", "add", *ends, "dir", direction, *template)
    with Watch(two_hosts, a) as watch:
        assert ping(a, B)
        assert ping(b, A)
    watch.assert_protected(IPPROTO_ESP)
