"""The dumps against what setkey of ipsec-tools printed on a Linux kernel with AF_KEY.

``samples/*.txt`` hold a script and then the output. Entries are built from the script, times and
counters from the output; the defects that are mended here are mended in the expectation too.
"""

import calendar
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.model.association import (
    Key,
    Lifetime,
    NatTraversal,
    SadEntry,
    SaFlag,
    SaState,
    SecurityAssociation,
)
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    Owner,
    PolicyType,
    SecurityContext,
    SecurityPolicy,
    Selector,
    SpdEntry,
)
from kamexfrm.net import Address
from kamexfrm.setkey.dates import format_date
from kamexfrm.setkey.dump_sa import (
    SHORT_HEADER,
    format_sa,
    format_sa_short,
    sa_to_dict,
)
from kamexfrm.setkey.dump_sp import format_hidden_sockets, format_sp, sp_to_dict
from kamexfrm.setkey.parser import parse
from kamexfrm.setkey.statements import Add, GetSpi, SpdAdd
from tests.setkey.setkey_reading import resolve

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.txt"))


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    format_date.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    format_date.cache_clear()


def _sections(text: str) -> list[tuple[str, str]]:
    parts = re.split(r"^### (.*?) *\[exit \d+\]\n", text, flags=re.MULTILINE)[1:]
    found = []
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        output = body.partition("--- stdout\n")[2].partition("--- stderr\n")[0]
        found.append((title, output))
    return found


def _script(text: str) -> str:
    return "".join(re.findall(r"^(?:add|getspi|spdadd) .*\n", text, re.MULTILINE))


def _blocks(output: str) -> list[str]:
    """Cut a dump into entries: each begins at a line that is not indented."""
    return re.findall(r"^[^\s].*\n(?:[\t ].*\n)+", output, re.MULTILINE)


def _date(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%b %d %H:%M:%S %Y")) if text.strip() else 0


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, f"{pattern} not in {text}"
    return match[1]


def _recorded_sas() -> list[tuple[str, str, str, bool]]:
    """Return name, script, block and whether ports are shown, for each case."""
    cases = []
    for path in SAMPLES:
        text = path.read_text()
        for title, output in _sections(text):
            if "-DP" in title or " -l" in title:
                continue
            for number, block in enumerate(_blocks(output)):
                if "\tseq=" in block and "sadb_seq" in block:
                    name = f"{path.stem}-{title}-{number}"
                    cases.append((name, text, block, "-Dp" in title))
    return cases


def _association(text: str, block: str) -> SecurityAssociation:
    """Find the script's SA with this block's SPI, and make of it what Linux made of it."""
    spi = int(_find(r"spi=(\d+)", block))
    protocol = _find(r"\t(\w+)", block)
    mode = Mode[_find(r"mode=(\w+)", block).upper()]
    for statement in parse(_script(text), resolve=resolve):
        if isinstance(statement, Add | GetSpi):
            for sa in statement.associations:
                if sa.spi in (spi, 0) and sa.protocol.name.lower() == protocol.partition("-")[0]:
                    break
            else:
                continue
            break
    else:
        raise AssertionError(f"no SA with SPI {spi}")
    nat, label = sa.nat_traversal, sa.label
    return sa._replace(
        spi=spi,
        mode=mode,
        replay_window=min(sa.replay_window, 32),
        hard=Lifetime(addtime=30) if "larval" in block else sa.hard,
        nat_traversal=nat and nat._replace(original_address=None),
        label=label and label._replace(label=label.label + b"\0\0"),
    )


RECORDED_SAS = _recorded_sas()


@pytest.mark.parametrize(
    ("text", "block", "ports"),
    [case[1:] for case in RECORDED_SAS],
    ids=[case[0] for case in RECORDED_SAS],
)
def test_sa_is_printed_as_setkey_printed_it(text: str, block: str, ports: bool) -> None:
    sa = _association(text, block)
    # Names with several addresses gave several entries; the block says which one it is.
    source, destination = re.split(r"(?:\[\d+\])* ", block.partition("\n")[0])[:2]
    sa = sa._replace(source=Address.parse(source), destination=Address.parse(destination))
    entry = SadEntry(
        sa,
        SaState[_find(r"state=(\w+)", block).upper()],
        created=_date(_find(r"created: (.{20})", block)),
        last_used=_date(_find(r"last: (.{20})", block)),
        bytes=int(_find(r"current: (\d+)\(bytes", block)),
        packets=int(_find(r"allocated: (\d+)", block)),
    )
    printed = format_sa(
        entry,
        sequence=int(_find(r"sadb_seq=(\d+)", block)),
        pid=int(_find(r" pid=(\d+)", block)),
        ports=ports,
        now=_date(_find(r"\tcurrent: (.{20})", block)),
    )
    mended = block.replace("C: deflate \tseq", "C: deflate \n\tseq")
    mended = re.sub(r"^ (?=[0-9a-f]{8})", "\t ", mended, flags=re.MULTILINE)
    # Ours shows an algorithm without a key too.
    assert re.sub(r"\t[EA]: null \n", "", printed) == mended


def _recorded_policies() -> list[tuple[str, str, bool]]:
    """Return name, block and whether ports are shown, for each case."""
    cases = []
    for path in SAMPLES:
        for title, output in _sections(path.read_text()):
            if "-DP" not in title:
                continue
            for number, block in enumerate(_blocks(output)):
                cases.append((f"{path.stem}-{title}-{number}", block, "-DPp" in title))
    return cases


RECORDED_POLICIES = _recorded_policies()


RECORDED_POLICIES = _recorded_policies()


@pytest.mark.parametrize(
    ("block", "ports"),
    [case[1:] for case in RECORDED_POLICIES],
    ids=[case[0] for case in RECORDED_POLICIES],
)
def test_policy_is_printed_as_setkey_printed_it_and_can_be_read_back(
    block: str, ports: bool
) -> None:
    head, action = block.split("\n\t", 1)
    text = action.split("\tcreated:")[0]
    socket = "per-socket" in head
    selector = "0.0.0.0/0 0.0.0.0/0 any" if socket else head
    [statement] = parse(f"spdadd {selector} -P {text.replace('(socket)', '')};")
    assert isinstance(statement, SpdAdd)
    policy = statement.policy._replace(
        lifetime=int(_find(r"lifetime: (\d+)", block)),
        validtime=int(_find(r"validtime: (\d+)", block)),
    )
    if "prio" not in text:  # which is how the priority 0 is shown
        policy = policy._replace(priority=0)
    if "security context" in block:
        label = _find(r"context: (.*)", block).encode() + b"\0\0"
        policy = policy._replace(label=SecurityContext(1, 1, label))
    entry = SpdEntry(
        policy,
        id=int(_find(r"spid=(\d+)", block)),
        created=_date(_find(r"created: (.{20})", block)),
        last_used=_date(_find(r"lastused: (.{20})", block)),
        owner=Owner.OURS,
        order=1,
        kernel_priority=5,
        socket=socket,
    )
    printed = format_sp(
        entry,
        sequence=int(_find(r" seq=(\d+)", block)),
        pid=int(_find(r" pid=(\d+)", block)),
        ports=ports,
        refcnt=int(_find(r"refcnt=(\d+)", block)),
    )
    assert printed == block


def test_the_samples_hold_what_they_held_when_they_were_recorded() -> None:
    assert len(RECORDED_SAS) >= 25
    assert len(RECORDED_POLICIES) >= 55


def test_hidden_socket_policies_are_counted() -> None:
    assert format_hidden_sockets(3) == "3 per-socket policies not shown (filtered by -N)\n"
    assert format_hidden_sockets(1) == "1 per-socket policy not shown (filtered by -N)\n"


A, B = Address.parse("10.99.0.1"), Address.parse("10.99.0.2")
NOW = _date("Nov 23 13:31:24 2026")
PLAIN = SecurityAssociation(A, B, IpsecProtocol.ESP, 0xC001)


def _key(kind: Kind, name: str, length: int, icv_bits: int = 0) -> Key:
    algorithm = by_name(kind, name)
    assert algorithm
    return Key(algorithm, bytes(range(length)), icv_bits or algorithm.icv_bits)


def _sad_entry(sa: SecurityAssociation = PLAIN) -> SadEntry:
    return SadEntry(sa, SaState.MATURE, NOW - 4, 0, 0, 0)


def _lines(
    entry: SadEntry, *, ports: bool = False, keys: bool = True, wrap: bool = True
) -> list[str]:
    text = format_sa(entry, sequence=0, pid=1, now=NOW, ports=ports, keys=keys, wrap=wrap)
    return text.splitlines()


def test_short_form_is_that_of_option_l() -> None:
    assert SHORT_HEADER == "time p   s spi      ltime   src -> dst\n"
    entry = _sad_entry()
    assert format_sa_short(entry, now=NOW) == (
        "3124 esp M 0000c001   4/0   10.99.0.1 -> 10.99.0.2\n"
    )
    entry = _sad_entry(PLAIN._replace(hard=Lifetime(addtime=1000)))
    assert format_sa_short(entry, now=NOW) == (
        "3124 esp M 0000c001   4/big 10.99.0.1 -> 10.99.0.2\n"
    )
    entry = _sad_entry(PLAIN._replace(hard=Lifetime(addtime=100), protocol=IpsecProtocol.IPCOMP))
    entry = entry._replace(state=SaState.DYING)
    assert format_sa_short(entry, now=NOW) == (
        "3124 #9  D 0000c001   4/100 10.99.0.1 -> 10.99.0.2\n"
    )


def test_an_algorithm_without_a_key_has_a_line_to_make_the_sa_from() -> None:
    null = Key(by_name(Kind.ENCRYPTION, "null"), b"")
    entry = _sad_entry(PLAIN._replace(encryption=null))
    assert _lines(entry)[2] == "\tE: null "


def test_a_long_key_is_one_line_where_no_wrapping_is_wanted() -> None:
    key = _key(Kind.AUTHENTICATION, "hmac-sha512", 64)
    entry = _sad_entry(PLAIN._replace(authentication=key))
    assert len(_lines(entry)) == len(_lines(entry, wrap=False)) + 1
    assert bytes.fromhex(_lines(entry, wrap=False)[2].partition("  ")[2]) == key.material


def test_esn_is_a_flag() -> None:
    entry = _sad_entry(PLAIN._replace(esn=True, replay_window=64))
    assert "replay=64 flags=0x00000400 state=" in "\n".join(_lines(entry))


def test_beet_has_a_word() -> None:
    assert _lines(_sad_entry(PLAIN._replace(mode=Mode.BEET)))[1].startswith("\tesp mode=beet ")


def test_sa_of_mode_any_says_so() -> None:
    assert _lines(_sad_entry())[1] == "\tesp mode=any spi=49153(0x0000c001) reqid=0(0x00000000)"


def test_mode_without_a_word_is_a_number_and_flags_show_what_linux_was_told() -> None:
    entry = _sad_entry()._replace(mode_number=3)
    flags = SaFlag.NOECN | SaFlag.DECAP_DSCP | SaFlag.NOPMTUDISC
    entry = entry._replace(association=entry.association._replace(flags=flags))
    lines = _lines(entry)
    assert "esp mode=3 spi=" in lines[1]
    assert "flags=0xe0000000" in lines[2]


def test_aead_key_has_a_line_of_its_own() -> None:
    entry = _sad_entry(PLAIN._replace(encryption=_key(Kind.AEAD, "aes-gcm-16", 20)))
    assert _lines(entry)[2] == "\tE: aes-gcm-16  00010203 04050607 08090a0b 0c0d0e0f 10111213"


def test_icv_of_sha256_shows_in_the_name() -> None:
    for bits, name in ((96, "hmac-sha256"), (128, "hmac-sha256-128")):
        entry = _sad_entry(
            PLAIN._replace(authentication=_key(Kind.AUTHENTICATION, "hmac-sha256", 32, bits))
        )
        assert _lines(entry)[2].startswith(f"\tA: {name}  00010203")


def test_key_whose_length_is_no_multiple_of_four_is_printed_whole() -> None:
    entry = _sad_entry(PLAIN._replace(encryption=_key(Kind.ENCRYPTION, "blowfish-cbc", 5)))
    assert _lines(entry)[2] == "\tE: blowfish-cbc  00010203 04"


def test_algorithm_without_a_pfkey_name_goes_by_the_kernels() -> None:
    entry = _sad_entry(PLAIN._replace(authentication=Key(None, bytes(4), 96, "cmac(aes)")))
    assert _lines(entry)[2] == "\tA: cmac(aes)  00000000"


def test_no_key_is_printed_where_none_is_wanted() -> None:
    key = _key(Kind.ENCRYPTION, "aes-cbc", 16)
    entry = _sad_entry(PLAIN._replace(encryption=key))
    printed = "\n".join(_lines(entry, keys=False))
    assert "\tE: aes-cbc  (128 bits)" in printed
    assert "04050607" not in printed
    assert key.material.hex() not in json.dumps(sa_to_dict(entry))
    assert sa_to_dict(entry, keys=True)["encryption"]["key"] == key.material.hex()


def test_original_address_of_nat_traversal_has_a_line() -> None:
    entry = _sad_entry(
        PLAIN._replace(nat_traversal=NatTraversal(4500, 4501, Address.parse("198.51.100.7")))
    )
    lines = _lines(entry, ports=True)
    assert lines[0] == "10.99.0.1[0][4500] 10.99.0.2[0][4501] "
    assert lines[1].startswith("\tesp-udp mode=")
    assert lines[2] == "\tNAT OA=198.51.100.7"


def _spd_entry(
    upper: int = 255, source_port: int | None = None, destination_port: int | None = None
) -> SpdEntry:
    policy = SecurityPolicy(
        Selector(A, 32, B, 24, upper, source_port, destination_port),
        Direction.OUT,
        PolicyType.IPSEC,
        (IpsecRequest(IpsecProtocol.ESP, Mode.TRANSPORT),),
    )
    return SpdEntry(policy, 9, NOW, 0, Owner.OURS, 1, 5)


@pytest.mark.parametrize(
    ("upper", "first", "second", "line"),
    [
        (255, None, None, "10.99.0.1[any] 10.99.0.2/24[any] 255"),
        (6, 80, None, "10.99.0.1[80] 10.99.0.2/24[any] tcp"),
        (1, 8, None, "10.99.0.1 10.99.0.2/24 icmp 8,0"),
        (1, 0, None, "10.99.0.1 10.99.0.2/24 icmp 0"),
        (1, None, None, "10.99.0.1 10.99.0.2/24 icmp"),
        (58, 135, 4, "10.99.0.1 10.99.0.2/24 ipv6-icmp 135,4"),
        (47, 0, 1234, "10.99.0.1 10.99.0.2/24 gre 1234"),
        (47, 0x0102, 0x0304, "10.99.0.1 10.99.0.2/24 gre 16909060"),
        (253, None, 7, "10.99.0.1[any] 10.99.0.2/24[7] 253"),
    ],
)
def test_selector_line_is_readable_and_can_be_read_back(
    upper: int, first: int | None, second: int | None, line: str
) -> None:
    entry = _spd_entry(upper, first, second)
    assert format_sp(entry, sequence=0, pid=1).splitlines()[0] == line
    [statement] = parse(f"spdadd {line} -P out none;")
    assert isinstance(statement, SpdAdd)
    assert statement.policy.selector == entry.policy.selector


@pytest.mark.parametrize(
    ("level", "reqid", "text"),
    [
        (Level.DEFAULT, 0, "default"),
        (Level.USE, 0, "use"),
        (Level.USE, 7, "use:7"),
        (Level.REQUIRE, 0, "require"),
        (Level.REQUIRE, 7, "unique:7"),
        (Level.UNIQUE, 0, "unique"),
        (Level.UNIQUE, 0x3FFF, "unique:16383"),
        (Level.UNIQUE, 0x4000, "unique#16384"),
    ],
)
def test_level_is_printed_as_written(level: Level, reqid: int, text: str) -> None:
    requests = (IpsecRequest(IpsecProtocol.ESP, Mode.TRANSPORT, level, reqid),)
    entry = _spd_entry()
    entry = entry._replace(policy=entry.policy._replace(requests=requests))
    printed = format_sp(entry, sequence=0, pid=1)
    assert printed.splitlines()[2] == f"\tesp/transport//{text}"


def test_policy_as_data_has_stable_names() -> None:
    data = sp_to_dict(_spd_entry(6, 80, None))
    assert json.loads(json.dumps(data)) == data
    assert data["source"] == "10.99.0.1/32"
    assert data["source_port"] == 80
    assert data["destination_port"] is None
    assert data["upper"] == "tcp"
    assert data["direction"] == "out"
    assert data["action"] == "ipsec"
    assert data["requests"][0]["level"] == "default"
    icmp = sp_to_dict(_spd_entry(1, 8, None))
    assert (icmp["type"], icmp["code"]) == (8, None)


def test_association_as_data_can_be_written_as_json() -> None:
    entry = _sad_entry(
        PLAIN._replace(
            label=SecurityContext(1, 1, b"label\0"),
            nat_traversal=NatTraversal(4500, 4500, A),
            authentication=_key(Kind.AUTHENTICATION, "hmac-sha256", 32, 128),
        )
    )
    data = sa_to_dict(entry)
    assert json.loads(json.dumps(data)) == data
    assert data["context"]["label"] == "label"
    assert data["authentication"]["algorithm"] == "hmac-sha256-128"
    assert data["authentication"]["icv_bits"] == 128


def test_a_date_beyond_the_calendar_is_a_number() -> None:
    assert format_date(2**63) == str(2**63)
