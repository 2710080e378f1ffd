"""How setkey of ipsec-tools 0.9.1 reads 110 tricky scripts, and where this parser does better.

They were recorded from the real program: the commands that are read, or an error with setkey's
reason and token. What the kernel answers is not here.
"""

from typing import NamedTuple

import pytest

from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.parser import parse
from tests.setkey.setkey_reading import resolve

MACROS = {
    "A B": "10.0.0.1 10.0.0.2",
    "N M": "10.0.1.0/24 10.0.2.0/24",
    "-E AES": "-E aes-cbc 0x000102030405060708090a0b0c0d0e0f",
}
SHA1 = "0x000102030405060708090a0b0c0d0e0f10111213"


class Recorded(NamedTuple):
    """``error`` is None or setkey's (line, reason, token); ``better`` says why ours differs."""

    number: int
    text: str
    read: tuple[str, ...] = ()
    error: tuple[int, str, str] | None = None
    before: tuple[str, ...] = ()
    better: str = ""


KEY_HIDDEN = "a message never shows a key; setkey printed it"
TOO_LARGE = "setkey truncated the number silently"

ADD, SPD = ("Add",), ("SpdAdd",)
KEYLEN = "Invalid key length"

RECORDED = (
    Recorded(
        1,
        "add A B esp 0x1001 -E aes-cbc 0x00;",
        error=(1, KEYLEN, "0x**"),
        before=("8 128 256",),
        better=KEY_HIDDEN,
    ),
    Recorded(2, f"add A B esp 0x1001 -E aes-cbc 0x{'00' * 18};", ADD),
    Recorded(3, "add A B esp 0x1001 -E blowfish-cbc 0x123456789;", ADD),
    Recorded(
        4,
        "add A B esp 0x1001 -E aes-cbc 0x123;",
        error=(1, KEYLEN, "0x***"),
        before=("16 128 256",),
        better=KEY_HIDDEN,
    ),
    Recorded(5, 'add A B esp 0x1001 -E aes-cbc "";', error=(1, KEYLEN, ""), before=("0 128 256",)),
    Recorded(6, "add A B esp 0x1001 -E aes-cbc 0x;", error=(1, "syntax error", "0x")),
    Recorded(8, 'add A B esp 0x1001 -E aes-cbc "1234;678#0123456";', ADD),
    Recorded(
        9,
        'add A B esp 0x1001 -E aes-cbc "12345678\n 012345";\nadd A B esp 0x1001 -E aes-cbc "bad";',
        ADD,
        (3, KEYLEN, "***"),
        ("24 128 256",),
        better="line ends inside a key count; " + KEY_HIDDEN,
    ),
    Recorded(10, 'add A B esp 0x1001 -E aes-cbc "1234567890;', error=(1, "Syntax error", '"')),
    Recorded(12, "add A B esp 255 -E AES;", ADD),
    Recorded(13, "add A B esp 0 -E AES;", ADD),
    Recorded(
        15,
        "add A B esp 0x100000000 -E AES;",
        error=(1, "SPI too big.", "0x*********"),
        better=TOO_LARGE,
    ),
    Recorded(
        16,
        "add A B esp 4294967596 -E AES;",
        error=(1, "SPI too big.", "4294967596"),
        better=TOO_LARGE,
    ),
    Recorded(18, "add A B esp -5 -E AES;", error=(1, "Syntax error", "-")),
    Recorded(19, "add A B ESP 0x1001 -E AES;", error=(1, "syntax error", "ESP")),
    Recorded(20, "add A B 0x1001 -E AES;", ADD),
    Recorded(21, "add A B esp 0x1001 -E AES -m tunnel;", error=(1, "syntax error", "-m")),
    Recorded(
        22,
        "add A B esp 0x1001 -E AES\n",
        error=(1, "syntax error", ""),
        better="the line is that of the unfinished command",
    ),
    Recorded(26, ";", error=(1, "syntax error", ";")),
    Recorded(27, "flush;;", ("Flush",), (1, "syntax error", ";")),
    Recorded(29, "add 10.0.0.1 # src\n10.0.0.2 esp 0x1001 # spi ; x\n -E AES # end\n;", ADD),
    Recorded(
        30,
        "spdadd N M any -P out ipsec # c\n  esp/transport//require;",
        SPD,
        better="comments may stand in a policy too",
    ),
    Recorded(
        33,
        "add A B esp 0x1001 -E AES;\r\nflush;\r\n",
        ("Add", "Flush"),
        better="files with CR LF are read",
    ),
    Recorded(35, "add A B \\\nesp 0x1001 -E AES;", ADD, better="a backslash continues the line"),
    Recorded(36, "add 10.0.0.1[500] 10.0.0.2[500] esp 0x1001 -E AES;", ADD),
    Recorded(38, "add 10.0.0.1 2001:db8::1 esp 0x1001 -E AES;", error=(1, "", "2001:db8::1")),
    Recorded(40, "add 10.1 10.2 esp 0x1001 -E AES;", ADD),
    Recorded(
        41, "add 167772161 167772162 esp 0x1001 -E AES;", error=(1, "syntax error", "167772161")
    ),
    Recorded(
        44,
        "add 10.0.0.300 10.0.0.2 esp 0x1001 -E AES;",
        error=(1, "Name or service not known", "10.0.0.2"),
    ),
    Recorded(
        46,
        "add -4 2001:db8::1 2001:db8::2 esp 0x1001 -E AES;",
        error=(1, "Address family for hostname not supported", "2001:db8::2"),
    ),
    Recorded(49, "add A B ah 0x1001 -E AES;", ADD),
    Recorded(50, f"add A B ah 0x1001 -E AES -A hmac-sha1 {SHA1};", ADD),
    Recorded(51, f"add A B esp 0x1001 -A hmac-sha1 {SHA1};", ADD),
    Recorded(53, "add A B esp 0x1001 -E null 0x00;", ADD, better="the key is ignored and told"),
    Recorded(54, "add A B esp 0x1001 -E AES -A null;", ADD),
    Recorded(
        57,
        "add A B esp 0x1001 -E des-32iv 0x0011223344556677;",
        error=(1, "algorithm mismatched", "0x****************"),
        better=KEY_HIDDEN,
    ),
    Recorded(
        60,
        "add A B esp-old 0x1001 -r 4 -E AES;",
        error=(1, "replay prevention cannot be used with ah/esp-old", "4"),
    ),
    Recorded(61, "add A B esp 0x1001 -E foo-cbc 0x00;", error=(1, "syntax error", "foo-cbc")),
    Recorded(
        63,
        f"add A B esp 0x1001 -E aes-gcm-16 {SHA1};",
        ADD,
        better="netlink can make AEAD associations",
    ),
    Recorded(64, "add A B ipcomp 0x1001;", error=(1, "syntax error", ";")),
    Recorded(70, "add A B esp 0x1001 -m beet -E AES;", ADD, better="Linux has this mode"),
    Recorded(
        74,
        "add A B esp 0x1001 -u 4294967301 -E AES;",
        error=(1, "reqid too big", "4294967301"),
        better=TOO_LARGE,
    ),
    Recorded(75, "add A B esp 0x1001 -u 0x10 -E AES;", error=(1, "syntax error", "0x10")),
    Recorded(77, "add A B esp 0x1001 -r 64 -E AES;", ADD),
    Recorded(78, "add A B esp 0x1001 -lh 100 -E AES;", ADD),
    Recorded(80, "add A B esp 0x1001 -lh 100 -bs 50 -E AES;", ADD),
    Recorded(83, "add A B esp 0x1001 -E AES;\nadd A B esp 0x1001 -E AES;", ADD * 2),
    Recorded(
        84,
        'add A B tcp 0x1000 -A tcp-md5 "secret";',
        ADD,
        better="read as FreeBSD reads it, so that it can be refused by name",
    ),
    Recorded(87, "delete A B esp 0x9999;", ("Delete",)),
    Recorded(88, "delete A B esp;", error=(1, "syntax error", ";")),
    Recorded(89, "add A B esp 0x1001 -E AES;\ndelete A B esp 0x1001 -m tunnel;", ("Add", "Delete")),
    Recorded(
        90, "add A B esp 0x1001 -E AES;\ndelete 10.9.9.9 10.0.0.2 esp 0x1001;", ("Add", "Delete")
    ),
    Recorded(91, "get A B esp 0x9999;", ("Get",)),
    Recorded(
        93,
        "add A B esp 0x1001 -E AES;\nadd A B esp 0x1002 -E AES;\ndeleteall A B esp;",
        ("Add", "Add", "DeleteAll"),
    ),
    Recorded(94, "deleteall A B esp;", ("DeleteAll",)),
    Recorded(96, "add A B esp 0x1001 -E AES;\ndeleteall A B;", ("Add", "DeleteAll")),
    Recorded(98, "flush bogus;", error=(1, "syntax error", "bogus")),
    Recorded(
        101, "update A B esp 0x1001 -E AES;", ("Update",), better="the manual documents update"
    ),
    Recorded(102, "spdget A B any -P out;", ("SpdGet",), better="PF_KEY has had SPDGET for ever"),
    Recorded(104, "bye;\n$$$", ("Exit",)),
    Recorded(106, "spdadd 10.0.0.0/33 10.0.0.0/8 any -P out none;", SPD),
    Recorded(107, "spdadd 10.1.2.3/8 10.0.2.0/24 any -P out none;", SPD),
    Recorded(
        108,
        "spdadd 10.0.0.0/255.0.0.0 10.0.2.0/24 any -P out none;",
        error=(1, "syntax error", "255.0.0.0"),
    ),
    Recorded(109, "spdadd 0/0 0/0 any -P out none;", error=(1, "syntax error", "0")),
    Recorded(110, "spdadd any any any -P out none;", error=(1, "syntax error", "any")),
    Recorded(
        114,
        "spdadd 10.0.0.1[70000] 10.0.2.0/24 tcp -P out none;",
        error=(1, "port too big", "70000"),
        better=TOO_LARGE,
    ),
    Recorded(
        115,
        "spdadd 10.0.0.1[80,443] 10.0.2.0/24 tcp -P out none;",
        error=(1, "Servname not supported for ai_socktype", " out none;"),
    ),
    Recorded(
        117,
        "spdadd 10.0.0.0[80]/8 10.0.2.0/24 tcp -P out none;",
        error=(1, "syntax error", "/"),
    ),
    Recorded(118, "spdadd 10.0.0.0 / 8 [ 80 ] 10.0.2.0/24 tcp -P out none;", SPD),
    Recorded(
        120,
        "spdadd 10.0.0.1[http] 10.0.2.0/24 tcp -P out none;",
        SPD,
        better="a service of TCP alone is found where the protocol is TCP",
    ),
    Recorded(
        122,
        "spdadd N M 256 -P out none;",
        error=(1, "invalid upper layer protocol", "256"),
        better=TOO_LARGE,
    ),
    Recorded(126, "spdadd N M esp -P out none;", SPD, better="FreeBSD takes esp here"),
    Recorded(128, "spdadd N M 50 -P out none;", SPD),
    Recorded(
        129,
        "spdadd N M foo -P out none;",
        error=(1, "invalid upper layer protocol", "foo"),
    ),
    Recorded(130, "spdadd N M icmp 8 -P out none;", SPD, better="the manual says a type will do"),
    Recorded(131, "spdadd N M icmp 8,0 -P out none;", SPD),
    Recorded(133, "spdadd ::/0 ::/0 icmp6 0,0 -P out none;", SPD),
    Recorded(
        134,
        "spdadd ::/0 ::/0 icmp6 300,5 -P out none;",
        error=(1, "invalid an upper layer protocol spec", " out none;"),
        better="a type has 8 bits",
    ),
    Recorded(
        135,
        "spdadd ::/0 ::/0 icmp6 135 , 0 -P out none;",
        error=(1, "syntax error", ","),
        better="135 alone is legal, so the comma is the culprit",
    ),
    Recorded(
        137,
        "spdadd ::/0 ::/0 icmp6 abc -P out none;",
        error=(1, "invalid an upper layer protocol spec", " out none;"),
    ),
    Recorded(
        139,
        "spdadd N M tcp 80,0 -P out none;",
        error=(1, "invalid an upper layer protocol spec", " out none;"),
        better="one message, about what is wrong; setkey read memory it had not written",
    ),
    Recorded(141, "spdadd A B gre 1234 -P out none;", SPD, better="the manual's own example"),
    Recorded(142, "spdadd A B gre 1.2.3.4 -P out none;", SPD),
    Recorded(
        145,
        "spdadd N M any -P out ipsec esp/tunnel//require;",
        error=(1, "Invalid address specification", " out ipsec esp/tunnel//require"),
    ),
    Recorded(
        146,
        "spdadd N M any -P out ipsec esp/tunnel/10.0.0.1-2001:db8::1/require;",
        error=(1, "Family mismatch", " out ipsec esp/tunnel/10.0.0.1-2001:db8::1/require"),
    ),
    Recorded(147, "spdadd N M any -P out ipsec esp/transport/10.0.0.1-10.0.0.2/require;", SPD),
    Recorded(
        148,
        "spdadd N M any -P out ipsec esp/transport//bogus;",
        error=(1, "Invalid argument", " out ipsec esp/transport//bogus"),
        before=('libipsec: syntax error while parsing "bogus"',),
    ),
    Recorded(
        149,
        "spdadd N M any -P out ipsec esp/transport//;",
        error=(1, "Invalid argument", " out ipsec esp/transport//"),
        before=('libipsec: syntax error while parsing ""',),
    ),
    Recorded(
        150,
        "spdadd N M any -P out ipsec esp;",
        error=(1, "Too few arguments", " out ipsec esp"),
    ),
    Recorded(
        153,
        "spdadd N M any -P out ipsec esp/any//require;",
        error=(1, "Too few arguments", " out ipsec esp/any//require"),
    ),
    Recorded(
        154,
        "spdadd N M any -P out ipsec esp/tunnel/multi1-multi2/require;",
        error=(
            1,
            "Name or service not known",
            " out ipsec esp/tunnel/multi1-multi2/require",
        ),
        before=('libipsec: invalid IP address while parsing "-"',),
    ),
    Recorded(156, "spdadd N M any -P out ipsec esp/transport//unique:16383;", SPD),
    Recorded(157, "spdadd N M any -P out ipsec esp/transport//unique:32768;", SPD),
    Recorded(162, f"spdadd N M any -P out ipsec {'esp/transport//require ' * 7};", SPD),
    Recorded(
        164,
        "spdadd N M any -P out;",
        error=(1, "Too few arguments", " out"),
        better="setkey installed a policy that discards",
    ),
    Recorded(166, "spdadd N M any -P out bypass;", SPD),
    Recorded(
        169,
        "spdadd N M any -P out ipsec esp/tunnel/me-any/require;",
        error=(1, "Invalid address specification", " out ipsec esp/tunnel/me-any/require"),
    ),
    Recorded(170, "spdadd N M any -P out ipsec esp / transport / / require;", SPD),
    Recorded(171, "spdadd N M any -P out prio high+5 none;", SPD),
    Recorded(
        173,
        "spdadd N M any -P out prio +5 none;",
        error=(1, "Invalid argument", " out prio +5 none"),
        before=('libipsec: syntax error while parsing "+"',),
    ),
    Recorded(
        174,
        "spdadd N M any -P out prio high + 1073741825 none;",
        error=(
            1,
            "Priority offset from base not in valid range [0, 1073741823] for negative offsets"
            " and [0, 1073741824] for positive offsets",
            " out prio high + 1073741825 none",
        ),
    ),
    Recorded(
        176,
        "spdadd N M any -P out prio 99999999999 none;",
        error=(
            1,
            "Priority offset not in valid range [-2147483647, 2147483648]",
            " out prio 99999999999 none",
        ),
    ),
    Recorded(179, "spdadd N M any -P out none;\nspdadd N M any -P out discard;", SPD * 2),
    Recorded(180, "spdadd N M any -P out none;\nspdadd N M any -P out prio high discard;", SPD * 2),
    Recorded(181, "spdadd N M any -P in none;\nspdadd N M any -P in none;", SPD * 2),
    Recorded(
        182,
        "spdadd N M any -P out none;\nspddelete N M any -P out ipsec esp/transport//require;",
        ("SpdAdd", "SpdDelete"),
    ),
    Recorded(
        183,
        "spdadd N M any -P out none;\nspddelete N M any;",
        SPD,
        (2, "syntax error", ";"),
    ),
    Recorded(186, 'spdupdate tagged "foo" -P out none;', ("Tagged",)),
    Recorded(
        187,
        "add A B esp 0x1001 -E AES;\nbogus;\nadd A B esp 0x1002 -E AES;",
        ADD,
        (2, "syntax error", "bogus"),
    ),
    Recorded(
        190,
        "add -4 flush.example 10.0.0.2 esp 0x1001 -E AES;",
        error=(1, "Name or service not known", "10.0.0.2"),
    ),
)


@pytest.mark.parametrize("script", RECORDED, ids=lambda script: str(script.number))
def test_a_script_is_read_as_setkey_read_it_or_better(script: Recorded) -> None:
    text = script.text
    for short, long in MACROS.items():
        text = text.replace(short, long)
    read = []
    error = None
    try:
        for statement in parse(text, "f", resolve=resolve):
            read.append(type(statement).__name__)
    except ScriptError as caught:
        error = caught
    assert tuple(read) == script.read
    if script.error is None:
        assert error is None
    else:
        assert error is not None
        assert error.place is not None
        assert (error.place.line, error.reason, error.token) == script.error
        assert error.before == script.before


def test_the_table_has_all_recorded_scripts() -> None:
    numbers = [script.number for script in RECORDED]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 110
