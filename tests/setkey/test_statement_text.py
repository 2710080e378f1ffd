"""What is written as a statement is read back as what it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import Lifetime, SaFlag, SecurityAssociation
from kamexfrm.model.policy import SecurityPolicy
from kamexfrm.model.statement_text import (
    InexpressibleError,
    policy_deletion,
    policy_statement,
    sa_deletion,
    sa_statement,
)
from kamexfrm.setkey.parser import parse
from kamexfrm.setkey.statements import Add, Delete, SpdAdd, SpdDelete
from kamexfrm.translate.xfrm.sa_to_kernel import numbers_of, sa_to_kernel
from tests.setkey.setkey_reading import read
from tests.translate.translate_samples import associations, security_policies

LINES = (
    "spdadd 10.0.0.1 10.0.0.2 any -P out none;",
    "spdadd 10.0.0.0/8[80] 10.0.0.1 17 -P in discard;",
    "spdadd fd00::/8 ::/0 icmp6 135,0 -P in none;",
    "spdadd ::/0 ::/0 icmp6 0 -P out none;",
    "spdadd 10.0.0.1 10.0.0.2 icmp 8,3 -P out none;",
    "spdadd 10.0.0.1 10.0.0.2 gre 66000 -P out none;",
    'spdadd 10.0.0.1/8 10.0.0.2 89 -ctx 1 1 "a:b" -P fwd prio high - 5 ipsec'
    " esp/transport//unique#70000 ah/tunnel/10.0.0.1-10.0.0.2/unique:3 ipcomp/transport//use;",
    "add 10.0.0.1 10.0.0.2 esp 0x100 -E aes-cbc 0x" + "00" * 16 + ";",
    "add ::1 ::2 ah 1 -m tunnel -u 7 -r 64 -lh 9 -ls 8 -bh 7 -bs 6 -A hmac-sha256-128 0x"
    + "00" * 32
    + ";",
    "add 10.0.0.1[4500] 10.0.0.2[4501] esp-udp 10.9.9.9 0x100 -m transport -r 4 -esn -E null"
    " -A hmac-sha1 0x" + "11" * 20 + ";",
    "add 10.0.0.1 10.0.0.2 ipcomp 0x100 -C deflate;",
    "spdadd ::1 ::2 any dev lo mark 0x5/0xff if_id 7 -P out ipsec esp/beet/::1-::2/require;",
    "add 10.0.0.1 10.0.0.2 esp 0x100 -m beet sel 10.1.0.1 10.1.0.2 any dev lo mark 0x5"
    " output-mark 0x6/0xf if_id 7 dir in -hwif lo -E null;",
    "add 10.0.0.1[4500] 10.0.0.2[4500] esp-udp 0x100 -m transport dir out"
    " nat-keepalive-interval 20 pcpu-num 0 -E null;",
)


def same(one: SecurityAssociation, other: SecurityAssociation) -> None:
    """Assert that two SAs are the same but for how their algorithms are spelt."""
    rest = [
        sa._replace(encryption=None, authentication=None, compression=None, flags=SaFlag(0))
        for sa in (one, other)
    ]
    assert rest[0] == rest[1]
    for mine, theirs in (
        (one.encryption, other.encryption),
        (one.authentication, other.authentication),
        (one.compression, other.compression),
    ):
        assert (mine is None) == (theirs is None)
        if mine and theirs and mine.algorithm and theirs.algorithm:
            assert mine.material == theirs.material
            assert mine.algorithm.kernel == theirs.algorithm.kernel
            bits = {key.icv_bits or key.algorithm.icv_bits for key in (mine, theirs)}  # type: ignore[union-attr]  # checked above
            assert len(bits) == 1 or 0 in (mine.icv_bits, theirs.icv_bits)


@pytest.mark.parametrize("line", LINES)
def test_a_statement_is_written_as_it_was_read(line: str) -> None:
    statement = next(iter(parse(line)))
    assert isinstance(statement, SpdAdd | Add)
    if isinstance(statement, SpdAdd):
        text = policy_statement(statement.policy)
        assert read(SpdAdd, text).policy == statement.policy
        policy = statement.policy
        gone = read(SpdDelete, policy_deletion(policy.selector, policy.direction, policy.label))
        assert (gone.selector, gone.direction, gone.label) == (
            policy.selector,
            policy.direction,
            policy.label,
        )
    else:
        [sa] = statement.associations
        [again] = read(Add, sa_statement(sa)).associations
        assert again == sa
        assert read(Delete, sa_deletion(sa)).id == sa.id


@given(security_policies())
def test_a_policy_is_read_back(policy: SecurityPolicy) -> None:
    policy = policy._replace(lifetime=0, validtime=0)
    try:
        text = policy_statement(policy)
    except InexpressibleError:
        return
    assert read(SpdAdd, text).policy == policy


@given(associations(), st.booleans())
def test_an_sa_is_read_back(sa: SecurityAssociation, without_limits: bool) -> None:
    if without_limits:
        sa = sa._replace(hard=Lifetime(), soft=Lifetime())
    if sa.linux:  # devices of any number are not there, and where an offload is for is found
        sa = sa._replace(linux=sa.linux._replace(offload=None, interface=0))
    try:
        text = sa_statement(sa)
    except InexpressibleError:
        return
    [again] = read(Add, text).associations
    same(sa, again)


@given(associations())
def test_no_part_of_a_key_is_in_a_text_without_keys(sa: SecurityAssociation) -> None:
    try:
        text = sa_statement(sa, keys=False)
    except InexpressibleError:
        return
    for key in (sa.encryption, sa.authentication):
        if key and len(key.material) > 4:
            assert key.material.hex() not in text


def test_what_the_language_has_no_words_for_is_said() -> None:
    [sa] = read(Add, LINES[7]).associations
    for other in (sa._replace(hard=Lifetime(usetime=4)), sa._replace(soft=Lifetime(3))):
        with pytest.raises(InexpressibleError, match="a limit of packets"):
            sa_statement(other)
    policy = read(SpdAdd, LINES[0]).policy
    with pytest.raises(InexpressibleError, match="lifetime"):
        policy_statement(policy._replace(lifetime=3))
    with pytest.raises(InexpressibleError, match="port 0"):
        policy_statement(policy._replace(selector=policy.selector._replace(source_port=0)))


def test_sequence_numbers_are_read_back() -> None:
    key = "00" * 20
    line = (
        "add 10.0.0.1 10.0.0.2 esp 0x100 -m transport -r 64 -esn oseq 5000000000 iseq 7 ibits 0x7f"
        f" -E aes-gcm-16 0x{key};"
    )
    [sa] = read(Add, line).associations
    assert sa_statement(sa) == line
    assert sa.linux is not None
    state = sa_to_kernel(sa, sa.mode)
    assert numbers_of(state) == sa.linux.numbers
    assert state.replay_esn is not None
    assert (state.replay_esn.oseq_hi, state.replay_esn.bitmap) == (1, (0x7F, 0))
    short = sa._replace(esn=False, replay_window=32)
    with pytest.raises(KamexfrmError, match="32 bits"):
        sa_to_kernel(short, sa.mode)
