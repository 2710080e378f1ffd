"""What the codec refuses, hides, and leaves out; its framing; what importing it costs."""

import errno
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest

from kamexfrm import xfrm
from kamexfrm.errors import KamexfrmError, WireError
from kamexfrm.net import Address

A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
A6 = Address.parse("fd00::1")
NONE = Address.unspecified(2)
SELECTOR = xfrm.Selector(B, A, family=2, destination_prefix=32, source_prefix=32)
TEMPLATE = xfrm.Template(NONE, NONE, 50, xfrm.XFRM_MODE_TRANSPORT, family=2)
POLICY = xfrm.Policy(SELECTOR, xfrm.XFRM_POLICY_OUT, templates=(TEMPLATE,))
STATE = xfrm.State(SELECTOR, B, 0x1234, 50, A, family=2)
SECRET = b"\x17secret key bytes"
BITS = 8 * len(SECRET)


def test_a_plain_policy_is_its_struct_and_its_templates() -> None:
    assert len(xfrm.encode_policy(POLICY)) == 168 + 4 + 64
    assert len(xfrm.encode_policy(POLICY._replace(templates=()))) == 168


def test_templates_come_first_and_the_interface_id_second() -> None:
    policy = POLICY._replace(mark=xfrm.Mark(1), if_id=7, policy_type=1, attributes=((60, b"x"),))
    types = [type_ for type_, _, _ in xfrm.iter_attributes(xfrm.encode_policy(policy), 168)]
    assert types[:2] == [xfrm.XFRMA_TMPL, xfrm.XFRMA_IF_ID]
    assert types[-1] == 60


def test_a_socket_s_policy_has_its_templates_right_behind_the_struct() -> None:
    other = TEMPLATE._replace(protocol=51)
    both = xfrm.encode_socket_policy(POLICY._replace(templates=(TEMPLATE, other), if_id=4))
    assert both[:168] == xfrm.pack_policy_info(POLICY)
    assert both[168:] == xfrm.pack_template(TEMPLATE) + xfrm.pack_template(other)
    assert len(xfrm.encode_socket_policy(POLICY._replace(templates=()))) == 168


def test_an_ipv4_address_is_followed_by_zeros() -> None:
    payload = xfrm.encode_policy(POLICY)
    assert payload[:32] == B.packed + bytes(12) + A.packed + bytes(12)


def test_what_stands_behind_an_ipv4_address_is_not_read() -> None:
    payload = bytearray(xfrm.encode_policy(POLICY))
    payload[4:16] = b"\xff" * 12
    assert xfrm.decode_policy(payload) == POLICY


def test_an_address_of_another_family_than_declared_is_refused() -> None:
    for broken in (
        POLICY._replace(selector=SELECTOR._replace(destination=A6)),
        POLICY._replace(selector=SELECTOR._replace(family=0)),
        POLICY._replace(templates=(TEMPLATE._replace(family=0),)),
        POLICY._replace(selector=SELECTOR._replace(source=Address(2, bytes(16)))),
    ):
        with pytest.raises(KamexfrmError, match="where family"):
            xfrm.encode_policy(broken)
    with pytest.raises(KamexfrmError, match="state destination"):
        xfrm.encode_state(STATE._replace(destination=A6))


TOO_LARGE: tuple[Callable[[], bytes], ...] = (
    lambda: xfrm.encode_policy(POLICY._replace(priority=2**32)),
    lambda: xfrm.encode_policy(POLICY._replace(if_id=-1)),
    lambda: xfrm.encode_policy(POLICY._replace(templates=(TEMPLATE._replace(share=256),))),
    lambda: xfrm.encode_policy(POLICY._replace(attributes=((60, bytes(65532)),))),
    lambda: xfrm.encode_state(STATE._replace(spi=2**32)),
    lambda: xfrm.encode_state(STATE._replace(tfc_pad=2**32)),
    lambda: xfrm.encode_state_flush(256),
    lambda: xfrm.encode_policy_flush(256),
    lambda: xfrm.encode_default(xfrm.Default(out=256)),
    lambda: xfrm.encode_info_request(-1),
    lambda: xfrm.message(1 << 16, 0, 0, b""),
)


@pytest.mark.parametrize("encode", TOO_LARGE)
def test_a_number_that_its_field_cannot_hold_is_refused(encode: Callable[[], bytes]) -> None:
    with pytest.raises(KamexfrmError) as caught:
        encode()
    assert caught.value.errno == errno.EINVAL


def test_a_key_must_have_the_bits_it_claims() -> None:
    state = STATE._replace(encryption=xfrm.Algorithm("cbc(aes)", SECRET, 8))
    with pytest.raises(KamexfrmError, match="not one of 8 bits") as caught:
        xfrm.encode_state(state)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 64, "cbc\0", "\N{SNOWMAN}"])
def test_an_algorithm_s_name_must_fit_its_field(name: str) -> None:
    with pytest.raises(KamexfrmError):
        xfrm.encode_state(STATE._replace(compression=xfrm.Algorithm(name, b"", 0)))


def test_no_repr_shows_a_key() -> None:
    state = STATE._replace(
        authentication=xfrm.AuthAlgorithm("hmac(sha1)", SECRET, BITS, 96),
        encryption=xfrm.Algorithm("cbc(aes)", SECRET, BITS),
        aead=xfrm.AeadAlgorithm("rfc4106(gcm(aes))", SECRET, BITS, 128),
    )
    payload = xfrm.encode_state(state)
    policy = xfrm.decode_policy(xfrm.encode_policy(POLICY) + xfrm.encode_attribute(1, SECRET))
    shown = repr((state, xfrm.decode_state(payload), xfrm.decode_event(0xFF, payload), policy))
    assert "secret" not in shown
    assert "hmac(sha1)" in shown


def test_an_authentication_without_truncation_goes_out_the_old_way() -> None:
    for bits, expected in ((0, xfrm.XFRMA_ALG_AUTH), (128, xfrm.XFRMA_ALG_AUTH_TRUNC)):
        algorithm = xfrm.AuthAlgorithm("hmac(sha256)", bytes(32), 256, bits)
        payload = xfrm.encode_state(STATE._replace(authentication=algorithm))
        assert [type_ for type_, _, _ in xfrm.iter_attributes(payload, 224)] == [expected]


def test_of_both_authentication_attributes_the_truncated_one_counts() -> None:
    name = b"hmac(sha256)".ljust(64, b"\0")
    plain = xfrm.encode_attribute(xfrm.XFRMA_ALG_AUTH, name + struct.pack("=I", 8) + b"k")
    truncated = xfrm.encode_attribute(
        xfrm.XFRMA_ALG_AUTH_TRUNC, name + struct.pack("=II", 8, 128) + b"k"
    )
    for both in (plain + truncated, truncated + plain):
        state = xfrm.decode_state(xfrm.encode_state(STATE) + both)
        assert state.authentication == xfrm.AuthAlgorithm("hmac(sha256)", b"k", 8, 128)


def test_of_two_attributes_of_a_type_the_last_counts() -> None:
    twice = xfrm.encode_attribute(xfrm.XFRMA_IF_ID, struct.pack("=I", 1)) + xfrm.encode_attribute(
        xfrm.XFRMA_IF_ID, struct.pack("=I", 2)
    )
    assert xfrm.decode_policy(xfrm.encode_policy(POLICY) + twice).if_id == 2


def test_an_announced_bitmap_that_is_left_out_is_one_of_zeros() -> None:
    for words, fine in ((4, True), (128, True), (129, False), (2**32 - 1, False)):
        header = struct.pack("=6I", words, 1, 2, 3, 4, 32 * 4)
        payload = xfrm.encode_state(STATE) + xfrm.encode_attribute(
            xfrm.XFRMA_REPLAY_ESN_VAL, header
        )
        if fine:
            replay = xfrm.decode_state(payload).replay_esn
            assert replay == xfrm.ReplayStateEsn((0,) * words, 1, 2, 3, 4, 128)
        else:
            with pytest.raises(WireError):
                xfrm.decode_state(payload)


def test_a_wire_error_says_where() -> None:
    payload = xfrm.encode_policy(POLICY)
    with pytest.raises(WireError, match="at byte 168") as caught:
        xfrm.decode_policy(payload[:-1])
    assert caught.value.offset == 168
    with pytest.raises(WireError, match="policy: 167 bytes where 168 are needed"):
        xfrm.decode_policy(payload[:167])
    with pytest.raises(WireError, match="each has 64"):
        xfrm.decode_policy(payload[:168] + xfrm.encode_attribute(xfrm.XFRMA_TMPL, bytes(65)))


def test_a_foreign_message_type_has_a_name() -> None:
    assert xfrm.XfrmMsg(0x10) is xfrm.XfrmMsg.NEWSA
    foreign = xfrm.XfrmMsg(0x55)
    assert (foreign.name, foreign.value, foreign == 0x55) == ("UNKNOWN_85", 0x55, True)
    with pytest.raises(ValueError, match="not a valid XfrmMsg"):
        xfrm.XfrmMsg("NEWSA")  # type: ignore[arg-type]  # that is the point
    assert xfrm.decode_event(0x55, b"abc") == xfrm.Unknown(0x55, b"abc")


def test_a_deletion_without_its_object_is_a_request() -> None:
    state_id = xfrm.StateId(B, 1, 50, 2, source=A, mark=xfrm.Mark(1))
    payload = xfrm.encode_state_id(state_id)
    assert xfrm.decode_event(xfrm.XfrmMsg.DELSA, payload) == state_id
    policy_id = xfrm.PolicyId(SELECTOR, 0, 1, if_id=3)
    payload = xfrm.encode_policy_id(policy_id)
    assert xfrm.decode_event(xfrm.XfrmMsg.DELPOLICY, payload) == policy_id


def acquire(protocol: int, *templates: xfrm.Template) -> xfrm.Acquire:
    """Return an acquire for 10.0.0.2 by way of encoding and decoding."""
    policy = POLICY._replace(templates=templates)
    sent = xfrm.Acquire(B, A, 0, protocol, 2, SELECTOR, policy)
    return xfrm.decode_acquire(xfrm.encode_acquire(sent))


def test_among_templates_of_one_protocol_the_destination_tells_an_acquire_s_family() -> None:
    six = TEMPLATE._replace(destination=A6, source=A6, family=10, mode=1)
    four = TEMPLATE._replace(destination=B, source=A, mode=1)
    assert acquire(50, six, four).destination == B
    assert acquire(50, four, six).destination == B


def test_an_acquire_for_no_known_template_has_the_packet_s_family() -> None:
    six = TEMPLATE._replace(destination=A6, source=A6, family=10, mode=1)
    assert acquire(51, six).destination == B


def test_a_message_has_its_length_and_is_padded() -> None:
    framed = xfrm.message(xfrm.XfrmMsg.SETDEFAULT, xfrm.NLM_F_REQUEST, 5, b"\0\0\0", pid=9)
    assert framed == struct.pack("=IHHII", 19, 0x27, 1, 5, 9) + b"\0\0\0\0"


def test_messages_are_split_without_the_padding_of_the_last() -> None:
    first, second = xfrm.message(1, 2, 3, b"a", 4), xfrm.message(5, 6, 7, b"bcd", 8)
    found = [tuple(found) for found in xfrm.split_messages(first + second[:-1])]
    assert found == [(1, 2, 3, 4, b"a"), (5, 6, 7, 8, b"bcd")]


@pytest.mark.parametrize("length", [0, 15, 21, 2**32 - 1])
def test_a_message_of_impossible_length_is_an_error_after_the_good_ones(length: int) -> None:
    bad = struct.pack("=IHHII", length, 1, 0, 0, 0) + bytes(4)
    messages = xfrm.split_messages(xfrm.message(1, 0, 0, b"") + bad)
    assert next(messages).type == 1
    with pytest.raises(WireError, match="impossible length") as caught:
        next(messages)
    assert caught.value.offset == 16


def error(number: int, request: bytes, flags: int, *, capped: bool, text: str) -> bytes:
    """Return the payload of NLMSG_ERROR, the request repeated to its header when capped."""
    repeated = request[:16] if capped else request
    reason = xfrm.encode_attribute(xfrm.NLMSGERR_ATTR_MSG, text.encode() + b"\0")
    offset = xfrm.encode_attribute(xfrm.NLMSGERR_ATTR_OFFS, struct.pack("=I", 16 + 168))
    more = offset + reason if flags & xfrm.NLM_F_ACK_TLVS else b""
    return struct.pack("=i", -number) + repeated + more


@pytest.mark.parametrize("capped", [True, False])
def test_the_reason_is_found_behind_a_repeated_or_capped_request(capped: bool) -> None:
    request = xfrm.message(xfrm.XfrmMsg.NEWPOLICY, 5, 77, b"12345")
    flags = xfrm.NLM_F_ACK_TLVS | (xfrm.NLM_F_CAPPED if capped else 0)
    payload = error(22, request, flags, capped=capped, text="no such thing")
    assert xfrm.decode_error(payload, flags) == (22, 77, "no such thing", 168)


def test_an_acknowledgement_is_errno_0_and_may_carry_a_warning() -> None:
    request = xfrm.message(xfrm.XfrmMsg.NEWPOLICY, 5, 78, b"")
    plain = error(0, request, 0, capped=True, text="")
    assert xfrm.decode_error(plain, xfrm.NLM_F_CAPPED) == (0, 78, "", -1)
    flags = xfrm.NLM_F_CAPPED | xfrm.NLM_F_ACK_TLVS
    warned = error(0, request, flags, capped=True, text="deprecated")
    assert xfrm.decode_error(warned, flags) == (0, 78, "deprecated", 168)


def test_a_dump_may_end_with_an_error_and_a_reason() -> None:
    reason = xfrm.encode_attribute(xfrm.NLMSGERR_ATTR_MSG, b"interrupted\0")
    payload = struct.pack("=i", -4) + reason
    assert xfrm.decode_done(payload, xfrm.NLM_F_ACK_TLVS) == (4, 0, "interrupted", -1)
    assert xfrm.decode_done(b"", 0) == (0, 0, "", -1)


def test_an_attribute_is_named_by_its_offset_in_a_request() -> None:
    payload = xfrm.encode_policy(POLICY._replace(if_id=3))
    (template, _, end), (interface, *_) = xfrm.iter_attributes(payload, 168)
    assert xfrm.attribute_name(template) == "XFRMA_TMPL"
    assert xfrm.attribute_name_at(payload, 168) == "XFRMA_TMPL"
    assert xfrm.attribute_name_at(payload, end) == xfrm.attribute_name(interface) == "XFRMA_IF_ID"
    assert [xfrm.attribute_name_at(payload, at) for at in (-16, -1, len(payload) - 3)] == [""] * 3


def test_a_number_that_two_messages_give_names_to_has_that_of_policies_and_states() -> None:
    assert xfrm.attribute_name(xfrm.XFRMA_SPD_INFO) == "XFRMA_ALG_AUTH"
    assert xfrm.attribute_name(xfrm.XFRMA_ALG_AEAD | 0x8000) == "XFRMA_ALG_AEAD"
    assert xfrm.attribute_name(999) == "UNKNOWN_999"


def test_every_public_name_is_there() -> None:
    assert [name for name in xfrm.__all__ if not hasattr(xfrm, name)] == []
    assert not hasattr(xfrm, "struct")


def test_writing_policies_loads_neither_the_rest_of_the_package_nor_slow_modules() -> None:
    script = (
        "import sys; from kamexfrm.xfrm import Policy, encode_policy, message, split_messages; "
        "print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    assert "kamexfrm.xfrm.policy" in loaded
    assert "kamexfrm.xfrm.events" not in loaded
    assert not loaded & {"dataclasses", "inspect", "ipaddress", "argparse", "logging", "json"}
