"""setkey -v: PF_KEY messages as text, and when they are shown.

The texts were printed by ipsec-tools 0.9.1 on Linux's AF_KEY; keys are masked here.
"""

import io
import os
import re
from collections.abc import Sequence

import pytest

from kamexfrm import pfkey
from kamexfrm.algorithms import Kind, by_name
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SaAdd
from kamexfrm.errors import KernelError
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Failure
from kamexfrm.model.association import Key, Lifetime, SadEntry, SaState, SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import Address
from kamexfrm.setkey.command import main
from kamexfrm.setkey.message_text import format_message
from kamexfrm.setkey.verbose import Tracer
from kamexfrm.translate.pfkey.parts import stamped
from kamexfrm.translate.pfkey.sa_to_message import sa_to_message, sad_entry_to_message
from kamexfrm.xfrm import Operation, XfrmMsg

ADD = """\
sadb_msg{ version=2 type=3 errno=0 satype=3
  len=27 reserved=0 seq=0 pid=2782
sadb_ext{ len=3 type=9 }
sadb_key{ bits=128 reserved=0
  key= ........ ........ ........ ........ }
sadb_ext{ len=4 type=8 }
sadb_key{ bits=160 reserved=0
  key= ........ ........ ........ ........ ........ }
sadb_ext{ len=4 type=3 }
sadb_lifetime{ alloc=0, bytes=0
  addtime=100, usetime=0 }
sadb_ext{ len=4 type=4 }
sadb_lifetime{ alloc=0, bytes=0
  addtime=90, usetime=0 }
sadb_ext{ len=2 type=1 }
sadb_sa{ spi=4097 replay=4 state=0
  auth=3 encrypt=12 flags=0x00000040 }
sadb_ext{ len=2 type=19 }
sadb_x_sa2{ mode=2 reqid=9
  reserved1=0 reserved2=0 sequence=0 }
sadb_ext{ len=3 type=5 }
sadb_address{ proto=255 prefixlen=32 reserved=0x0000 }
sockaddr{ len=16 family=2 port=0
 0a000001  }
sadb_ext{ len=3 type=6 }
sadb_address{ proto=255 prefixlen=32 reserved=0x0000 }
sockaddr{ len=16 family=2 port=0
 0a000002  }
"""

ADDED = """\
sadb_msg{ version=2 type=3 errno=0 satype=3
  len=34 reserved=0 seq=0 pid=2782
sadb_ext{ len=2 type=1 }
sadb_sa{ spi=4097 replay=4 state=1
  auth=3 encrypt=12 flags=0x00000000 }
sadb_ext{ len=4 type=3 }
sadb_lifetime{ alloc=0, bytes=0
  addtime=100, usetime=0 }
sadb_ext{ len=4 type=4 }
sadb_lifetime{ alloc=0, bytes=0
  addtime=90, usetime=0 }
sadb_ext{ len=4 type=2 }
sadb_lifetime{ alloc=0, bytes=0
  addtime=1795441375, usetime=0 }
sadb_ext{ len=3 type=5 }
sadb_address{ proto=0 prefixlen=32 reserved=0x0000 }
sockaddr{ len=16 family=2 port=0
 0a000001  }
sadb_ext{ len=3 type=6 }
sadb_address{ proto=0 prefixlen=32 reserved=0x0000 }
sockaddr{ len=16 family=2 port=0
 0a000002  }
sadb_ext{ len=3 type=7 }
sadb_address{ proto=255 prefixlen=0 reserved=0x0000 }
sockaddr{ len=16 family=2 port=0
 00000000  }
sadb_ext{ len=4 type=8 }
sadb_key{ bits=160 reserved=0
  key= ........ ........ ........ ........ ........ }
sadb_ext{ len=3 type=9 }
sadb_key{ bits=128 reserved=0
  key= ........ ........ ........ ........ }
sadb_ext{ len=2 type=19 }
sadb_x_sa2{ mode=2 reqid=9
  reserved1=0 reserved2=0 sequence=0 }
"""

SUPPORTED = """\
sadb_msg{ version=2 type=7 errno=0 satype=0
  len=6 reserved=0 seq=0 pid=2862
sadb_ext{ len=2 type=14 }
sadb_sup{
  { id=3 ivlen=0 min=160 max=160 }
}
sadb_ext{ len=2 type=15 }
sadb_sup{
  { id=12 ivlen=8 min=128 max=256 }
}
"""

#: One policy of a dump; reserved= is the kernel's count of its users, which netlink does not have.
DUMPED = """\
sadb_msg{ version=2 type=18 errno=0 satype=0
  len=28 reserved=1 seq=0 pid=PID
sadb_ext{ len=3 type=5 }
sadb_address{ proto=6 prefixlen=24 reserved=0x0000 }
sockaddr{ len=16 family=2 port=80
 0a000100  }
sadb_ext{ len=3 type=6 }
sadb_address{ proto=6 prefixlen=24 reserved=0x0000 }
sockaddr{ len=16 family=2 port=0
 0a000200  }
sadb_ext{ len=4 type=3 }
sadb_lifetime{ alloc=0, bytes=0
  addtime=0, usetime=0 }
sadb_ext{ len=4 type=4 }
sadb_lifetime{ alloc=0, bytes=0
  addtime=0, usetime=0 }
sadb_ext{ len=4 type=2 }
sadb_lifetime{ alloc=0, bytes=0
  addtime=NOW, usetime=0 }
sadb_ext{ len=8 type=18 }
sadb_x_policy{ type=2 dir=2 flags=0x00 id=ID priority=2147483648 }
 { len=48 proto=50 mode=2 level=3 reqid=9
sockaddr{ len=16 family=2 port=0
 0a000001  }
sockaddr{ len=16 family=2 port=0
 0a000002  }
 }

"""

TUNNEL = (
    "spdadd 10.0.1.0/24[80] 10.0.2.0/24 tcp -P out ipsec esp/tunnel/10.0.0.1-10.0.0.2/unique:9;"
)


def association() -> SecurityAssociation:
    aes = by_name(Kind.ENCRYPTION, "aes-cbc")
    sha1 = by_name(Kind.AUTHENTICATION, "hmac-sha1")
    return SecurityAssociation(
        Address.parse("10.0.0.1"),
        Address.parse("10.0.0.2"),
        IpsecProtocol.ESP,
        0x1001,
        Mode.TUNNEL,
        9,
        4,
        Key(aes, bytes(range(16)), 0),
        Key(sha1, b"12345678901234567890", 96),
        hard=Lifetime(addtime=100),
        soft=Lifetime(addtime=90),
    )


def bare(type: int, errno: int = 0, satype: int = 0) -> str:
    """Return the text of a message that is a header, with the blank line behind it."""
    return (
        f"sadb_msg{{ version=2 type={type} errno={errno} satype={satype}\n"
        f"  len=2 reserved=0 seq=0 pid={os.getpid()}\n\n"
    )


def heads(text: str) -> list[tuple[int, int]]:
    """Return (type, errno) of each message in a text, in order."""
    found = re.findall(r"^sadb_msg\{ version=2 type=(\d+) errno=(\d+)", text, re.M)
    return [(int(type), int(number)) for type, number in found]


# The text of messages


def test_an_add_and_its_reply_look_as_in_ipsec_tools_but_for_the_keys() -> None:
    assert format_message(stamped(sa_to_message(association()), pid=2782)) == ADD
    entry = SadEntry(association(), SaState.MATURE, 1795441375, 0, 0, 0)
    reply = sad_entry_to_message(entry, pfkey.SadbType.SADB_ADD)
    assert format_message(stamped(reply, pid=2782)) == ADDED


def test_supported_algorithms_look_as_in_ipsec_tools() -> None:
    message = pfkey.SadbMsg(
        pfkey.SadbType.SADB_REGISTER,
        pid=2862,
        extensions=(
            pfkey.SupportedAuth((pfkey.Algorithm(3, 0, 160, 160),)),
            pfkey.SupportedEncrypt((pfkey.Algorithm(12, 8, 128, 256),)),
        ),
    )
    assert format_message(message) == SUPPORTED


def test_a_long_key_is_masked_in_lines_of_32_bytes() -> None:
    key = pfkey.KeyAuth(pfkey.Key(bytes(range(36))))
    message = pfkey.SadbMsg(pfkey.SadbType.SADB_ADD, extensions=(key,))
    assert format_message(message).endswith(f"  key={' ........' * 8}\n ........ }}\n")


def test_no_text_holds_a_key() -> None:
    text = format_message(sa_to_message(association()))
    assert "00010203" not in text
    assert "31323334" not in text


def test_a_message_inside_a_promiscuous_one_is_shown_after_it() -> None:
    inner = pfkey.SadbMsg(pfkey.SadbType.SADB_FLUSH, pid=7)
    outer = pfkey.SadbMsg(pfkey.SadbType.SADB_X_PROMISC, inner=inner)
    assert heads(format_message(outer)) == [(11, 0), (9, 0)]
    assert "len=4" in format_message(outer)


def test_an_unknown_extension_does_not_end_the_message() -> None:
    message = pfkey.SadbMsg(
        pfkey.SadbType.SADB_ADD,
        extensions=(pfkey.UnknownExtension(99, b"secret"), pfkey.NatTType(2)),
    )
    text = format_message(message)
    assert "sadb_ext{ len=2 type=99 }\nkdebug_sadb: invalid ext_type 99 was passed.\n" in text
    assert text.endswith("sadb_ext{ len=1 type=20 }\nsadb_x_nat_t_type{ type=2 }\n")
    assert "secret" not in text


def test_identities_are_shown_with_what_cannot_be_printed_in_octal() -> None:
    name = pfkey.IdentitySrc.named(pfkey.SadbIdenttype.SADB_IDENTTYPE_FQDN, "a\tb")
    message = pfkey.SadbMsg(pfkey.SadbType.SADB_ADD, extensions=(name,))
    assert format_message(message).endswith('sadb_ident_src{ type=2 id=0\n  str="a\\011b" }\n')


def test_an_ipv6_address_has_flow_and_scope() -> None:
    there = pfkey.AddressDst(pfkey.Sockaddr(Address.parse("fe80::1"), 5, 1, 2), 128)
    message = pfkey.SadbMsg(pfkey.SadbType.SADB_GET, extensions=(there,))
    little = pfkey.LINUX.with_byte_order("little")
    assert format_message(message, little).endswith(
        "sockaddr{ len=28 family=10 port=5\n"
        "  flowinfo=0x01000000, scope_id=0x00000002\n"
        " fe800000 00000000 00000000 00000001  }\n"
    )


# SAs, without a kernel that has ESP


class KernelWithoutEsp(FakeKernel):
    """A kernel that rejects new SAs."""

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        rejected = [at for at, (type_, _) in enumerate(operations) if type_ == XfrmMsg.NEWSA]
        return [Failure(position, KernelError(93)) for position in rejected]


def test_a_rejected_add_is_shown_with_the_errno_before_it_is_reported() -> None:
    out = io.StringIO()
    tracer = Tracer(Engine(KernelWithoutEsp()), out)
    for rejected in tracer.try_submit(SaAdd(association())).rejected:
        out.write(f"said {rejected.error.errno}\n")
    shown = ADD.replace("pid=2782", f"pid={os.getpid()}")
    assert out.getvalue() == f"{shown}\n{bare(3, 93, 3)}said 93\n"


# Policies, on the running kernel


@pytest.mark.usefixtures("namespace")
def test_a_dump_shows_request_and_reply_and_then_the_policy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["-e", TUNNEL]) == 0
    assert main(["-DP"]) == 0
    plain = capsys.readouterr().out
    assert main(["-DPv"]) == 0
    shown = capsys.readouterr().out
    message = shown.removeprefix(bare(18)).removesuffix(plain)
    message = message.replace(f"pid={os.getpid()}", "pid=PID")
    message = re.sub(r"addtime=\d{6,}", "addtime=NOW", message)
    assert re.sub(r"id=[0-9a-f]+ priority", "id=ID priority", message) == DUMPED


@pytest.mark.usefixtures("namespace")
def test_each_entry_of_a_dump_follows_its_own_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["-k", "-e", "spdadd ::1 ::2 any -P out none; spdadd ::3 ::4 any -P out none;"])
    assert main(["-DPv"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"seq=(\d) pid=\d+\n(?:sadb_ext|\trefcnt)", text) == ["1", "1", "0", "0"]


@pytest.mark.usefixtures("namespace")
def test_an_empty_dump_and_a_flush_are_headers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-DPv"]) == 0
    assert capsys.readouterr().out == bare(18) + bare(18, 2) + "No SPD entries.\n"
    assert main(["-FPv"]) == 0
    assert capsys.readouterr().out == bare(19) + bare(19)


@pytest.mark.usefixtures("namespace")
def test_an_in_entry_is_two_messages_with_a_reply_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-v", "-e", "spdadd ::1 ::2 any -P in none;"]) == 0
    text = capsys.readouterr().out
    assert heads(text) == [(14, 0)] * 4
    assert re.findall(r"dir=(\d)", text) == ["1", "1", "3", "3"]
    assert main(["-kv", "-e", "spddelete ::1 ::2 any -P in;"]) == 0
    assert heads(capsys.readouterr().out) == [(15, 0)] * 2


@pytest.mark.usefixtures("namespace")
def test_a_rejected_command_is_shown_with_its_errno_and_reported_as_usual(
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = "spdadd ::1 ::2 any -P out none;\nspdadd ::1 ::2 any -P out discard;"
    assert main(["-v", "-e", script]) == 0
    shown = capsys.readouterr()
    assert heads(shown.out) == [(14, 0), (14, 0), (14, 0), (14, 17)]
    assert shown.out.endswith(bare(14, 17))
    assert shown.err.startswith("setkey: -e,2: File exists\n")


@pytest.mark.usefixtures("namespace")
def test_spddump_and_spddelete_in_a_script_show_what_was_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = f"{TUNNEL}spddump;spddelete 10.0.1.0/24[80] 10.0.2.0/24 tcp -P out;spddump;"
    assert main(["-v", "-e", script]) == 0
    shown = capsys.readouterr()
    kinds = [(14, 0), (14, 0), (18, 0), (18, 0), (15, 0), (15, 0), (18, 0), (18, 2)]
    assert heads(shown.out) == kinds
    deleted = shown.out.rpartition("sadb_msg{ version=2 type=15")[2]
    assert "level=3 reqid=9" in deleted
    assert shown.err == "setkey: -e,1: No SPD entries\n"


@pytest.mark.usefixtures("namespace")
def test_a_get_has_the_source_that_was_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["-v", "-e", "get 10.0.0.1 10.0.0.2 esp 0x1001;"]) == 0
    text = capsys.readouterr().out
    assert heads(text) == [(5, 0), (5, 3)]
    assert " 0a000001  }" in text
    assert "spi=4097" in text


@pytest.mark.usefixtures("namespace")
def test_with_n_nothing_is_sent_and_nothing_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-nv", "-e", TUNNEL]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("namespace")
def test_json_is_not_mixed_with_messages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-DPv", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.dataplane
@pytest.mark.usefixtures("namespace")
def test_an_sa_that_is_added_read_and_deleted_is_shown_at_each_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = '-E aes-cbc 0x000102030405060708090a0b0c0d0e0f -A hmac-sha1 "12345678901234567890"'
    script = f"""
    add 10.0.0.1 10.0.0.2 esp 0x1001 -m tunnel -u 9 -r 4 -lh 100 -ls 90 {keys};
    get 10.0.0.1 10.0.0.2 esp 0x1001;
    getspi 10.0.0.1 10.0.0.2 esp 0x1002;
    dump;
    delete 10.0.0.1 10.0.0.2 esp 0x1001;
    flush;
    """
    assert main(["-v", "-e", script]) == 0
    text = capsys.readouterr().out
    pairs = [(3, 0)] * 2 + [(5, 0)] * 2 + [(1, 0)] * 2 + [(10, 0)] * 3 + [(4, 0)] * 2 + [(9, 0)] * 2
    assert heads(text) == pairs
    added = re.sub(r"addtime=\d{6,}", "addtime=1795441375", text)
    added = added.replace(f"pid={os.getpid()}\nsadb", "pid=2782\nsadb")
    assert added.startswith(f"{ADD}\n{ADDED}\n")
    assert "state=3" in text.rpartition("version=2 type=4 ")[2]
