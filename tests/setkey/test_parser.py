"""Scripts into statements: what each command says, where it stands, how reading goes on."""

import itertools

import pytest

from kamexfrm.algorithms import Algorithm, Kind, by_name
from kamexfrm.errors import Place
from kamexfrm.model.association import (
    Key,
    Lifetime,
    LinuxParts,
    NatTraversal,
    Offload,
    SaId,
    key_name,
)
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    Mark,
    Mode,
    Scope,
    SecurityContext,
    Selector,
)
from kamexfrm.net import Address
from kamexfrm.pfkey.saflags import (
    SADB_X_EXT_CYCSEQ,
    SADB_X_EXT_DERIV,
    SADB_X_EXT_IV4B,
    SADB_X_EXT_OLD,
    SADB_X_EXT_PRAND,
    SADB_X_EXT_PZERO,
    SADB_X_EXT_RAWCPI,
)
from kamexfrm.setkey.command import main
from kamexfrm.setkey.errors import (
    ScriptError,
)
from kamexfrm.setkey.lexer import complete_length
from kamexfrm.setkey.parser import Parser, parse
from kamexfrm.setkey.statements import (
    ALL_PROTOCOLS,
    Add,
    Delete,
    DeleteAll,
    Dump,
    Exit,
    Flush,
    Get,
    GetSpi,
    SpdAdd,
    SpdDelete,
    SpdDeleteId,
    SpdGetId,
    Update,
)
from tests.setkey.setkey_reading import read, resolve, script_error

ESP, AH, IPCOMP = IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP
A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
AES = bytes(range(16))
AES_TEXT = "-E aes-cbc 0x000102030405060708090a0b0c0d0e0f"


def _algorithm(kind: Kind, name: str) -> Algorithm:
    found = by_name(kind, name)
    assert found
    return found


def _algorithm_of(key: Key | None) -> Algorithm:
    assert key
    assert key.algorithm
    return key.algorithm


def test_add_carries_all_options() -> None:
    statement = read(
        Add,
        "add 10.0.0.1 10.0.0.2 esp 0x1001 -m tunnel -u 100 -r 64 -lh 100 -ls 90 -bh 1000 -bs 900"
        f' -f zero-pad -f random-pad -ctx 1 2 "a:b" -esn -natt_mtu 1400 -hwif eth0 {AES_TEXT}'
        " -A hmac-sha256-128 0x" + "11" * 32 + ";",
    )
    [sa] = statement.associations
    assert (sa.source, sa.destination, sa.protocol, sa.spi) == (A, B, ESP, 0x1001)
    assert (sa.mode, sa.reqid, sa.replay_window, sa.esn) == (Mode.TUNNEL, 100, 64, True)
    assert sa.hard == Lifetime(bytes=1000, addtime=100)
    assert sa.soft == Lifetime(bytes=900, addtime=90)
    assert sa.label == SecurityContext(1, 2, b"a:b")
    assert sa.encryption == Key(_algorithm(Kind.ENCRYPTION, "aes-cbc"), AES)
    assert sa.authentication
    assert sa.authentication.algorithm == _algorithm(Kind.AUTHENTICATION, "hmac-sha256-128")
    assert sa.authentication.icv_bits == 128
    assert statement.sadb_flags == SADB_X_EXT_CYCSEQ | SADB_X_EXT_PZERO | SADB_X_EXT_PRAND
    assert (statement.word, statement.natt_mtu) == ("esp", 1400)
    assert sa.linux == LinuxParts(offload=Offload(2))
    assert statement.place == Place("f", 1, 1)


def test_what_linux_alone_has_is_read_with_and_without_dashes() -> None:
    [sa] = read(
        Add,
        "add 10.0.0.1 10.0.0.2 esp 0x1001 sel 10.1.0.0/16[80] 10.2.0.0/16 tcp -dev eth0"
        f" mark 5/0xff output-mark 0x10 -if_id 7 dir out replay 64 -esn {AES_TEXT};",
    ).associations
    assert sa.linux == LinuxParts(
        Selector(Address.parse("10.1.0.0"), 16, Address.parse("10.2.0.0"), 16, 6, 80),
        2,
        Mark(5, 0xFF),
        Mark(0x10),
        7,
        Direction.OUT,
    )
    assert (sa.replay_window, sa.esn, sa.id.mark) == (64, True, Mark(5, 0xFF))
    get = read(Get, "get 10.0.0.1 10.0.0.2 esp 7 mark 9;")
    assert get.ids == (SaId(B, ESP, 7, Mark(9)),)


@pytest.mark.parametrize("dash", ["", "-"])
def test_keepalives_and_the_processor_of_an_sa_are_read(dash: str) -> None:
    options = f"{dash}pcpu-num 0 {dash}nat-keepalive-interval 20"
    [sa] = read(Add, f"add 10.0.0.1 10.0.0.2 esp 0x1001 {options} {AES_TEXT};").associations
    assert sa.linux == LinuxParts(nat_keepalive=20, processor=0)
    [sa] = read(Add, f"add 10.0.0.1 10.0.0.2 esp 0x1001 pcpu-num 0 {AES_TEXT};").associations
    assert sa.linux == LinuxParts(processor=0)


def test_a_selector_of_an_sa_needs_no_protocol() -> None:
    [sa] = read(Add, f"add 10.0.0.1 10.0.0.2 esp 7 sel ::1 ::2 -u 5 {AES_TEXT};").associations
    assert sa.linux
    assert sa.linux.selector == Selector(Address.parse("::1"), 128, Address.parse("::2"), 128)


@pytest.mark.parametrize(
    ("words", "scope"),
    [
        ("any dev eth0 mark 0x5/0xf if_id 0x10", Scope(2, Mark(5, 15), 16)),
        ('any -if_id 1 -ctx 1 1 "l" -mark 0', Scope(0, Mark(0), 1)),
        ("icmp6 dev lo", Scope(1)),
    ],
)
def test_a_policy_is_narrowed(words: str, scope: Scope) -> None:
    statement = read(SpdAdd, f"spdadd ::1 ::2 {words} -P out none;")
    assert statement.policy.selector.scope == scope
    assert read(SpdDelete, f"spddelete ::1 ::2 {words} -P out;").selector.scope == scope


def test_a_scope_in_an_address_is_the_device_of_a_policy() -> None:
    statement = read(SpdAdd, "spdadd fe80::1%lo ::/0 any -P out none;")
    assert statement.policy.selector.scope == Scope(1)


def test_a_scope_in_an_sas_address_is_told() -> None:
    statement = read(Add, f"add fe80::1%lo ::2 esp 7 {AES_TEXT};")
    assert [(w.text, w.token) for w in statement.warnings] == [
        ("an SA has no device: the scope is left out (dev NAME sets one)", "fe80::1%lo")
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("any dev eth9 -P out none", "No such device"),
        ("any mark 0x100/0xff -P out none", "Invalid argument"),
        ("any mark 4294967296 -P out none", "mark too big"),
        ("any if_id none -P out none", "syntax error"),
    ],
)
def test_a_scope_that_cannot_be_is_refused(words: str, reason: str) -> None:
    assert script_error(f"spdadd ::1 ::2 {words};").reason == reason


def test_update_is_like_add() -> None:
    statement = read(Update, f"update 10.0.0.1 10.0.0.2 esp 5 {AES_TEXT};")
    assert statement.associations[0].spi == 5


def test_add_without_mode_is_of_mode_any() -> None:
    assert read(Add, f"add 10.0.0.1 10.0.0.2 esp 5 {AES_TEXT};").associations[0].mode is Mode.ANY


def test_of_a_repeated_option_the_last_holds() -> None:
    options = "-u 1 -m tunnel -u 2 -m transport"
    statement = read(Add, f"add 10.0.0.1 10.0.0.2 esp 5 {options} {AES_TEXT};")
    assert statement.associations[0].reqid == 2
    assert statement.associations[0].mode is Mode.TRANSPORT


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("esp 5 -f nocyclic-seq", 0),
        ("esp 5 -f seq-pad", SADB_X_EXT_CYCSEQ),
        ("esp-old 5", SADB_X_EXT_CYCSEQ | SADB_X_EXT_OLD),
    ],
)
def test_flags_are_those_that_setkey_sends(words: str, flags: int) -> None:
    assert read(Add, f"add 10.0.0.1 10.0.0.2 {words} {AES_TEXT};").sadb_flags == flags


def test_flavours_of_des_are_flags() -> None:
    key = "0x0011223344556677"
    statement = read(Add, f"add 10.0.0.1 10.0.0.2 esp-old 5 -E des-32iv {key};")
    assert statement.sadb_flags & SADB_X_EXT_IV4B
    assert statement.word == "esp-old"
    statement = read(Add, f"add 10.0.0.1 10.0.0.2 esp 5 -E des-deriv {key};")
    assert statement.sadb_flags & SADB_X_EXT_DERIV
    assert _algorithm_of(statement.associations[0].encryption).name == "des-cbc"
    error = script_error(f"add 10.0.0.1 10.0.0.2 esp-old 5 -E des-deriv {key};")
    assert error.reason == "algorithm mismatched"


def test_compression_takes_no_key_and_perhaps_raw_cpi() -> None:
    statement = read(Add, "add 10.0.0.1 10.0.0.2 ipcomp 0x600 -C deflate -R;")
    assert _algorithm_of(statement.associations[0].compression).name == "deflate"
    assert statement.sadb_flags & SADB_X_EXT_RAWCPI


@pytest.mark.parametrize("name", ["aes-gcm-16", "chacha20-poly1305"])
def test_aead_goes_with_option_e(name: str) -> None:
    statement = read(Add, f"add 10.0.0.1 10.0.0.2 esp 5 -E {name} 0x{'00' * 36};")
    assert _algorithm_of(statement.associations[0].encryption).kind is Kind.AEAD


def test_obsolete_algorithm_is_null_with_a_warning() -> None:
    statement = read(Add, "add 10.0.0.1 10.0.0.2 esp 5 -E simple;")
    assert _algorithm_of(statement.associations[0].encryption).name == "null"
    [warning] = statement.warnings
    assert (warning.text, warning.token) == ("WARNING: obsolete algorithm", "simple")


def test_quoted_key_may_hold_any_bytes() -> None:
    key = bytes(range(1, 34)) + b"\xff\x80\xc3\xa9;#\n\r$\\-"
    key = key.replace(b'"', b"")[:32]
    statement = read(Add, b'add 10.0.0.1 10.0.0.2 esp 5 -E aes-cbc "' + key + b'";')
    [sa] = statement.associations
    assert sa.encryption
    assert sa.encryption.material == key


def test_hexadecimal_key_with_an_odd_digit_begins_with_zero() -> None:
    statement = read(Add, "add 10.0.0.1 10.0.0.2 esp 5 -E blowfish-cbc 0x123456789;")
    [sa] = statement.associations
    assert sa.encryption
    assert sa.encryption.material == bytes.fromhex("0123456789")


@pytest.mark.parametrize(
    ("words", "token", "way"),
    [
        (f"ah 5 -A keyed-md5 0x{'00' * 16}", "keyed-md5", "hmac-md5"),
        (f"ah 5 -A keyed-sha1 0x{'00' * 20}", "keyed-sha1", "hmac-sha1"),
        (f"esp 5 -E camellia-ctr 0x{'00' * 20}", "camellia-ctr", "aes-ctr"),
    ],
)
def test_an_algorithm_that_linux_lacks_is_refused_by_itself(
    words: str, token: str, way: str
) -> None:
    refusal = read(Add, f"add 10.0.0.1 10.0.0.2 {words};").refusal
    assert refusal
    assert refusal.token == token
    assert way in refusal.text


@pytest.mark.parametrize(
    ("written", "bits", "name", "warned"),
    [
        ("aes-gmac", 160, "aes-gmac", False),
        ("aes-ccm-8", 152, "aes-ccm-8", False),
        ("aes-gcm-12", 288, "aes-gcm-12", False),
        ("aes128-gcm", 160, "aes-gcm-16", False),
        ("aes-128-cbc", 128, "aes-cbc", False),
        ("aes-cbc-256", 256, "aes-cbc", False),
        ("aes256", 256, "aes-cbc", False),
        ("aes256", 128, "aes-cbc", True),
        ("des-ede3-cbc", 192, "3des-cbc", False),
        ("3des", 192, "3des-cbc", False),
        ("twofish", 128, "twofish-cbc", False),
    ],
)
def test_names_of_other_systems_are_read_where_they_are_clear(
    written: str, bits: int, name: str, warned: bool
) -> None:
    statement = read(Add, f"add 10.0.0.1 10.0.0.2 esp 5 -E {written} 0x{'00' * (bits // 8)};")
    key = statement.associations[0].encryption
    assert key
    assert key_name(key) == name
    assert bool(statement.warnings) == warned
    assert not statement.warnings or statement.warnings[0].token == written


def test_mode_beet_without_its_inner_addresses_is_told() -> None:
    text = f"add 10.0.0.1 10.0.0.2 esp 5 -m beet {{}} {AES_TEXT};"
    assert read(Add, text.format("sel 10.1.0.1 10.1.0.2")).warnings == ()
    assert len(read(Add, text.format("")).warnings) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spdadd 10.0.0.0/33 10.0.0.2 any -P out none;", "Invalid prefix length"),
        ("spdadd 10.0.0.1 10.0.0.2 any -P out ipsec;", "at least one request"),
        ('add 10.0.0.1 10.0.0.2 tcp 7 -A tcp-md5 "0123456789";', "TCP_MD5SIG"),
        ('add ::1 ::2 ah 7 -A keyed-md5 "0123456789abcdef";', "at `keyed-md5'"),
        ("spdadd ::1 ::2 any -P out none; spdadd ::1 ::2 any -P out discard;", "File exists"),
        ("spddelete ::1 ::2 any -P out; delete ::1 ::2 esp 7; spdget spid=9; dump;", ""),
        ("spdadd fe80::1%eth77 ::2 any -P out none;", ""),
    ],
)
def test_checking_finds_what_needs_no_kernel(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-n", "-e", text]) == 0
    errors = capsys.readouterr().err
    assert said in errors
    assert bool(said) == bool(errors)


def test_a_key_of_null_is_ignored_and_told_and_an_empty_one_is_none() -> None:
    text = "add 10.0.0.1 10.0.0.2 esp 5 -E null {} -A null;"
    assert read(Add, text.format('""')).warnings == read(Add, text.format("0x")).warnings == ()
    [warning] = read(Add, text.format("0x1234")).warnings
    assert warning.text == "null takes no key: this one is ignored"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("sha1", "hmac-sha1"), ("sha256", "hmac-sha256-128"), ("hmac-sha", "hmac-sha1")],
)
def test_a_hint_names_an_algorithm_that_works(name: str, hint: str) -> None:
    error = script_error(f"add 10.0.0.1 10.0.0.2 ah 5 -A {name} 0x{'00' * 20};")
    assert hint in error.hints[0]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("flush spdflush;", "`;' missing"),
        ("spdadd 10.0.0.1 10.0.0.2 any -P out none\nspdflush;", "`;' missing"),
        ("spdadd 10.0.0.1 10.0.0.2 any \u2013P out none;", "write -"),
        ("spdadd ::1 ::2 any -P in ipsec esp/tunnel/::1\u2013::2/use;", "write -"),
        ("add ::1 ::2 esp 5 -E aes-cbc \u201cabc\u201d;", 'write "'),
        ("spdadd ::1 \\ \n ::2 any -P out none;", "a blank follows it"),
        ('include "x";', "-f ONE -f OTHER"),
        ("spdadd ::1 ::2 any -P out prio medium none;", "low, def or high"),
        ('add ::1 ::2 esp 5 -A hmac-md5 "1234567890123456" -E null;', "-E comes before -A"),
    ],
)
def test_a_usual_mistake_has_a_hint(text: str, hint: str) -> None:
    assert hint in script_error(text).hints[0]


@pytest.mark.parametrize(("name", "number"), [("mh", 135), ("ipv4", 4), ("carp", 112)])
def test_names_of_the_bsds_protocols_are_known(name: str, number: int) -> None:
    assert read(SpdAdd, f"spdadd ::1 ::2 {name} -P out none;").policy.selector.upper == number


def test_what_may_not_be_meant_is_told() -> None:
    statement = read(SpdAdd, "spdadd 10.1 10.2/16 any -P out none esp/transport//use;")
    assert [warning.text for warning in statement.warnings] == [
        "10.1 is read as 10.0.0.1",
        "10.2 is read as 10.0.0.2",
        "none has no requests: those written are ignored",
    ]


def test_entries_are_named_by_what_dumps_show() -> None:
    assert read(SpdDeleteId, "spddelete spid=9;").id == 9
    assert read(SpdGetId, "spdget spid=16;").id == 16
    written = "delete 10.0.0.1 10.0.0.2 esp mode=tunnel spi=7(0x00000007) reqid=5(0x00000005);"
    assert read(Delete, written).id == SaId(B, ESP, 7)
    assert read(Delete, "delete 10.0.0.1 10.0.0.2 esp spi=0x7;").id == SaId(B, ESP, 7)
    assert script_error("spddelete spid=x9;").reason == "syntax error"


def test_names_with_several_addresses_make_an_sa_for_each_pair() -> None:
    statement = read(Add, f"add multi1 multi2 esp 5 {AES_TEXT};")
    pairs = [(str(sa.source), str(sa.destination)) for sa in statement.associations]
    assert pairs == list(itertools.product(("10.5.0.1", "10.5.0.2"), ("10.6.0.1", "10.6.0.2")))
    statement = read(Add, "add dual1 dual2 esp 5 -E null;")
    assert [sa.source.family for sa in statement.associations] == [2, 10]


@pytest.mark.parametrize(("flag", "families"), [("-4", [2]), ("-6", [10]), ("-46", [10])])
def test_family_flags_choose_addresses(flag: str, families: list[int]) -> None:
    statement = read(Add, f"add {flag} dual1 dual2 esp 5 -E null;")
    assert [sa.source.family for sa in statement.associations] == families


def test_flag_n_asks_for_no_names() -> None:
    error = script_error("add -n multi1 10.0.0.2 esp 5 -E null;")
    assert (error.reason, error.token) == ("Name or service not known", "10.0.0.2")
    assert error.place == Place("f", 1, 8)


def test_scope_is_read_and_dropped() -> None:
    statement = read(Add, "add ::1 fe80::1%lo ah 5 -A null;")
    assert statement.associations[0].destination == Address.parse("fe80::1")


def test_udp_encapsulation_has_ports_and_perhaps_an_address() -> None:
    statement = read(Add, "add 10.0.0.1[4500] 10.0.0.2[30000] esp-udp 5 -E null;")
    assert statement.associations[0].nat_traversal == NatTraversal(4500, 30000)
    statement = read(Add, "add 10.0.0.1 10.0.0.2 esp-udp 198.51.100.7 0x7002 -E null;")
    original = Address.parse("198.51.100.7")
    assert statement.associations[0].nat_traversal == NatTraversal(4500, 4500, original)
    assert statement.word == "esp-udp"
    statement = read(Add, "add 10.0.0.1[1000] 10.0.0.2[2000] esp 5 -E null;")
    assert statement.associations[0].nat_traversal is None


def test_freebsds_nat_traversal_option_is_read() -> None:
    option = "-natt 10.0.0.7 [4500] 10.0.0.2[500]"
    statement = read(Add, f"add 10.0.0.1 10.0.0.2 esp 5 {option} -E null;")
    original = Address.parse("10.0.0.7")
    assert statement.associations[0].nat_traversal == NatTraversal(4500, 500, original)


def test_add_without_protocol_has_no_associations() -> None:
    statement = read(Add, "add 10.0.0.1 10.0.0.2 5 -E null;")
    assert (statement.word, statement.associations) == ("", ())


def test_get_and_delete_name_one_sa_by_destination_protocol_and_spi() -> None:
    get = read(Get, "get multi1 10.0.0.2 ah 7;")
    assert get.ids == (SaId(B, AH, 7), SaId(B, AH, 7))
    delete = read(Delete, "delete 10.0.0.1 10.0.0.2 esp 7 -m tunnel;")
    assert delete.id == SaId(B, ESP, 7)
    assert delete.source == A
    assert delete.warnings[0][:2] == ("WARNING: mode is obsolete", ";")
    assert read(Delete, "delete 10.0.0.1 10.0.0.2 7;").id is None


def test_getspi_makes_larval_associations() -> None:
    statement = read(GetSpi, "getspi 10.0.0.1 10.0.0.2 esp 0 -u 5;")
    [sa] = statement.associations
    assert (sa.spi, sa.reqid, sa.encryption) == (0, 5, None)


def test_deleteall_covers_pairs_and_protocols() -> None:
    statement = read(DeleteAll, "deleteall dual1 dual2 ipcomp;")
    assert len(statement.pairs) == 2
    assert statement.protocols == (IPCOMP,)
    assert read(DeleteAll, "deleteall 10.0.0.1 10.0.0.2;").protocols == ALL_PROTOCOLS


def test_flush_and_dump_cover_one_protocol_or_all() -> None:
    assert read(Flush, "flush;") == Flush(Place("f", 1, 1), 1, ALL_PROTOCOLS)
    assert read(Flush, "flush esp-udp;").protocols == (ESP,)
    assert read(Dump, "dump ah;") == Dump(Place("f", 1, 1), 1, (AH,))
    assert read(Flush, "flush tcp;").protocols == ()


def test_statements_before_an_error_come_out_first() -> None:
    read = parse("flush; dump; bogus; spdflush;", resolve=resolve)
    assert isinstance(next(read), Flush)
    assert isinstance(next(read), Dump)
    with pytest.raises(ScriptError):
        next(read)


def test_reading_can_go_on_behind_the_bad_statement() -> None:
    parser = Parser('flush;\nbogus "a;b" # c;d\n x; dump;\nadd $;\nspdflush;', resolve=resolve)
    read: list[str] = []
    lines: list[int] = []
    ended = False
    while not ended:
        try:
            for statement in parser:
                read.append(type(statement).__name__)
            ended = True
        except ScriptError as error:
            lines.append(error.place.line if error.place else 0)
    assert read == ["Flush", "Dump", "SpdFlush"]
    assert lines == [2, 4]


def test_nothing_after_exit_is_read() -> None:
    for word in ("exit", "quit", "bye"):
        [statement] = parse(f"{word};\n$$$ \x00", resolve=resolve)
        assert isinstance(statement, Exit)


def test_places_count_lines_and_columns() -> None:
    text = (
        'flush; dump;\n# c\n\n  add 10.0.0.1 10.0.0.2 esp 5\r\n -E aes-cbc "1234567\n01234567";\n'
    )
    text += "\tspdadd 10.0.0.1 10.0.0.2 any -P out none;\n \\\n spdflush;"
    places = [(s.place.line, s.place.column, s.end_line) for s in parse(text, resolve=resolve)]
    assert places == [(1, 1, 1), (1, 8, 1), (4, 3, 6), (7, 2, 7), (9, 2, 9)]


def test_first_line_may_have_another_number() -> None:
    [statement] = Parser("\nflush;", line=7, resolve=resolve)
    assert statement.place.line == 8


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0),
        ("flush", 0),
        ("flush;", 6),
        ("flush; dump", 6),
        ("# only a comment; really\n", 25),
        ("flush; # done\n", 14),
        ('add a b esp 5 -E x "a;b', 0),
        ("spdadd a b any -P out ipsec esp/transport//unique#5; x", 52),
    ],
)
def test_complete_length_ends_at_the_last_semicolon(text: str, length: int) -> None:
    assert complete_length(text) == length


def test_empty_scripts_have_no_statements() -> None:
    for text in ("", "\n\n", "# nothing", b"", " \\\n"):
        assert list(parse(text)) == []
