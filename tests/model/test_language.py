"""The language of ipsec_set_policy(3): what it means, how it is printed, how it is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamexfrm.model import grammar, language
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import (
    PRIORITY_DEFAULT,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
)
from kamexfrm.model.policy_text import PolicyError, PolicyText, format_policy, format_priority
from kamexfrm.net import AF_INET, AF_INET6, Address

ESP, AH, IPCOMP = IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP
A, B = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")


def _requests(text: str) -> tuple[IpsecRequest, ...]:
    return parse_policy(f"out ipsec {text}").requests


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("esp/transport", IpsecRequest(ESP, Mode.TRANSPORT)),
        ("esp/transport/", IpsecRequest(ESP, Mode.TRANSPORT)),
        ("ah/transport//use", IpsecRequest(AH, Mode.TRANSPORT, Level.USE)),
        ("esp / transport / / require", IpsecRequest(ESP, Mode.TRANSPORT, Level.REQUIRE)),
        ("ipcomp/require", IpsecRequest(IPCOMP, Mode.TRANSPORT, Level.REQUIRE)),
        (
            "esp/tunnel/192.0.2.1-192.0.2.2",
            IpsecRequest(ESP, Mode.TUNNEL, source=A, destination=B),
        ),
        (
            "esp/tunnel/192.0.2.1-192.0.2.2/",
            IpsecRequest(ESP, Mode.TUNNEL, source=A, destination=B),
        ),
        (
            "esp/tunnel/192.0.2.1[4500]-192.0.2.2[4500]/unique:7",
            IpsecRequest(ESP, Mode.TUNNEL, Level.UNIQUE, 7, A, B),
        ),
        (
            "esp/transport/192.0.2.1-192.0.2.2/require",
            IpsecRequest(ESP, Mode.TRANSPORT, Level.REQUIRE, 0, A, B),
        ),
        ("esp/transport/me-any/use", IpsecRequest(ESP, Mode.TRANSPORT, Level.USE)),
        ("esp/transport//unique", IpsecRequest(ESP, Mode.TRANSPORT, Level.UNIQUE)),
        ("esp/transport//unique#70000", IpsecRequest(ESP, Mode.TRANSPORT, Level.UNIQUE, 70000)),
        (
            "esp/transport//unique:4294967295",
            IpsecRequest(ESP, Mode.TRANSPORT, Level.UNIQUE, 0xFFFFFFFF),
        ),
    ],
)
def test_request_is_read(text: str, request_: IpsecRequest) -> None:
    assert _requests(text) == (request_,)


def test_requests_follow_each_other_with_any_white_space() -> None:
    requests = _requests("ah/transport esp/tunnel/192.0.2.1-192.0.2.2/use\n\tipcomp/transport/")
    assert [request.protocol for request in requests] == [AH, ESP, IPCOMP]


def test_requests_may_be_seven_for_the_kernel_to_refuse() -> None:
    assert len(_requests("esp/transport//require " * 7)) == 7


def test_comments_and_continued_lines_stand_between_tokens() -> None:
    text = "out ipsec # one; two\n esp/transport//unique#5 \\\n ah/transport # the end"
    assert parse_policy(text).requests == (
        IpsecRequest(ESP, Mode.TRANSPORT, Level.UNIQUE, 5),
        IpsecRequest(AH, Mode.TRANSPORT),
    )


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        ("", PRIORITY_DEFAULT),
        ("prio def", PRIORITY_DEFAULT),
        ("prio low", PRIORITY_LOW),
        ("priority high", PRIORITY_HIGH),
        ("prio 100", PRIORITY_DEFAULT - 100),
        ("prio -100", PRIORITY_DEFAULT + 100),
        ("prio high+5", PRIORITY_HIGH - 5),
        ("prio low - 5", PRIORITY_LOW + 5),
        ("prio 2147483648", 0),
        ("prio -2147483647", 0xFFFFFFFF),
        ("prio high + 1073741824", 0),
        ("prio low - 1073741823", 0xFFFFFFFF),
    ],
)
def test_priority_is_a_number_whose_lower_values_come_first(text: str, priority: int) -> None:
    assert parse_policy(f"out {text} none").priority == priority


def test_direction_alone_has_no_type() -> None:
    assert parse_policy(" fwd") == PolicyText(Direction.FWD)


def test_requests_after_another_action_are_dropped() -> None:
    assert parse_policy("out none esp/transport//require") == PolicyText(
        Direction.OUT, type=PolicyType.NONE
    )
    with pytest.raises(PolicyError):
        parse_policy("out none esp/bogus")


@pytest.mark.parametrize("action", ["entrust", "bypass", "discard", "none", "ipsec"])
def test_all_actions_of_kame_are_read(action: str) -> None:
    assert parse_policy(f"in {action}").type is PolicyType[action.upper()]


SYNTAX = 'libipsec: syntax error while parsing "{}"'.format


@pytest.mark.parametrize(
    ("text", "reason", "culprit", "detail"),
    [
        ("", "Invalid argument", "", SYNTAX("")),
        ("bogus none", "Invalid argument", "bogus", SYNTAX("bogus")),
        ("out esp/transport", "Invalid argument", "esp", SYNTAX("esp")),
        ("OUT none", "Invalid argument", "OUT", SYNTAX("OUT")),
        ("out ipsec ESP/transport", "Invalid argument", "ESP", SYNTAX("ESP")),
        ("out ipsec esp/transport//bogus", "Invalid argument", "bogus", SYNTAX("bogus")),
        ("out ipsec esp/transport//", "Invalid argument", "", SYNTAX("")),
        ("out ipsec esp/transport/require", "Invalid argument", "require", SYNTAX("require")),
        ("out ipsec esp/transport//unique:", "Invalid argument", "unique:", SYNTAX("unique:")),
        ("out ipsec esp/transport//require:5", "Invalid argument", "require:5", None),
        ("out ipsec esp/transport//unique:x", "Invalid argument", "unique:x", None),
        ("out ipsec esp/transport//unique:4294967296", "Invalid ipsec level", "unique:", ""),
        ("out ipsec esp", "Too few arguments", "", ""),
        ("out ipsec esp/", "Too few arguments", "", ""),
        ("out ipsec esp/any//require", "Too few arguments", "any", ""),
        ("out ipsec esp/tunnel//require", "Invalid address specification", "esp", ""),
        ("out ipsec esp/tunnel", "Invalid address specification", "esp", ""),
        ("out ipsec esp/tunnel/me-any/use", "Invalid address specification", "esp", ""),
        ("in ipsec esp/transport/me-any/use", "Invalid direction", "me-any", ""),
        ("out ipsec esp/tunnel/192.0.2.1-::1/use", "Family mismatch", "192.0.2.1-::1", ""),
        (
            "out ipsec esp/tunnel/gate-192.0.2.1/use",
            "Name or service not known",
            "gate",
            'libipsec: invalid IP address while parsing "-"',
        ),
        ("out ipsec encap/192.0.2.1-192.0.2.2", "Invalid ipsec protocol", "encap", ""),
        ("out prio +5 none", "Invalid argument", "+5", SYNTAX("+")),
        (
            "out prio high - 1073741824 none",
            "Priority offset from base not in valid range [0, 1073741823] for negative offsets"
            " and [0, 1073741824] for positive offsets",
            "high",
            "",
        ),
        (
            "out prio -2147483648 none",
            "Priority offset not in valid range [-2147483647, 2147483648]",
            "-2147483648",
            "",
        ),
        (
            f"out prio {'9' * 6000} none",
            "Priority offset not in valid range [-2147483647, 2147483648]",
            "999",
            "",
        ),
    ],
)
def test_error_has_libipsecs_words_and_the_place(
    text: str, reason: str, culprit: str, detail: str | None
) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    assert caught.value.text == reason
    assert text[caught.value.offset :].startswith(culprit)
    if not culprit:
        assert caught.value.offset == len(text)
    if detail is not None:
        assert caught.value.detail == detail


def test_error_suggests_the_nearest_word() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy("out ipsec esp/transport//reqiure")
    assert "did you mean require?" in caught.value.hints


@pytest.mark.parametrize(
    ("priority", "text"),
    [
        (PRIORITY_DEFAULT, "prio def"),
        (PRIORITY_HIGH - 5, "prio high + 5"),
        (PRIORITY_LOW + 5, "prio low - 5"),
        (0x7FFFFFFF, "prio def + 1"),
        (0xFFFFFFFF, "prio low - 1073741823"),
        (0, "prio high + 1073741824"),
    ],
)
def test_priority_is_printed_from_its_nearest_base(priority: int, text: str) -> None:
    assert format_priority(priority) == text


addresses = {
    AF_INET: st.binary(min_size=4, max_size=4).map(lambda b: Address(AF_INET, b)),
    AF_INET6: st.binary(min_size=16, max_size=16).map(lambda b: Address(AF_INET6, b)),
}


@st.composite
def requests(draw: st.DrawFn) -> IpsecRequest:
    mode = draw(st.sampled_from((Mode.TRANSPORT, Mode.TUNNEL)))
    ends: tuple[Address | None, Address | None] = (None, None)
    if mode is Mode.TUNNEL or draw(st.booleans()):
        family = draw(st.sampled_from((AF_INET, AF_INET6)))
        ends = (draw(addresses[family]), draw(addresses[family]))
    level = draw(st.sampled_from(Level))
    reqid = 0
    if level in (Level.UNIQUE, Level.USE):
        reqid = draw(
            st.sampled_from((0, 1, 0x3FFF, 0x4000, 0xFFFFFFFF)) | st.integers(0, 2**32 - 1)
        )
    return IpsecRequest(draw(st.sampled_from(IpsecProtocol)), mode, level, reqid, *ends)


@st.composite
def policies(draw: st.DrawFn) -> PolicyText:
    action = draw(st.none() | st.sampled_from(PolicyType))
    direction = draw(st.sampled_from(Direction))
    if action is None:
        return PolicyText(direction)
    priority = draw(st.just(PRIORITY_DEFAULT) | st.integers(0, 2**32 - 1))
    wanted = draw(st.lists(requests(), max_size=7)) if action is PolicyType.IPSEC else []
    return PolicyText(direction, priority, action, tuple(wanted))


@given(policies())
def test_what_is_printed_reads_back_as_the_same(policy: PolicyText) -> None:
    assert parse_policy(format_policy(policy)) == policy


@given(policies(), st.sampled_from((" ", "\n", " \t ", "\r\n", " # note; that\n", "\\\n")))
def test_white_space_means_nothing(policy: PolicyText, space: str) -> None:
    tokens = re.findall(r"unique[:#]?[0-9]*|use[:#]?[0-9]*|[\w.:%]+|[-+/]", format_policy(policy))
    assert parse_policy(f"{space}{space.join(tokens)}{space}") == policy


_KEYWORDS = (
    *("in", "out", "fwd", "prio", "priority", "low", "def", "high", "ipsec", "none"),
    *("esp", "ah", "ipcomp", "encap", "transport", "tunnel", "any", "me"),
    *("use", "unique", "unique:5", "require", "default"),
)
_OTHERS = ("+", "-", "/", "//", "[", "]", "[5]", ":", "#7", "#", "\n", ";", "5", "9" * 11)
_STRANGE = ("10.0.0.1", "::1", "\u00e9", "\u00b2", "\udc80", "\x00", "")
WORDS = st.sampled_from((*_KEYWORDS, *_OTHERS, *_STRANGE))


@given(st.lists(WORDS, max_size=14), st.sampled_from(("", " ", "/")))
def test_anything_is_a_policy_or_a_policy_error(words: list[str], glue: str) -> None:
    text = glue.join(words)
    offset, policy = 0, None
    try:
        policy = parse_policy(text)
    except PolicyError as error:
        offset = error.offset
    assert 0 <= offset <= len(text)
    if policy:
        assert parse_policy(format_policy(policy)) == policy


@given(policies() | st.lists(WORDS, max_size=10).map(" ".join))
def test_quick_reading_agrees_with_the_grammar(policy: PolicyText | str) -> None:
    text = policy if isinstance(policy, str) else format_policy(policy)
    quick = language._parse_plain(text)
    if quick is not None:
        assert grammar.Parser(text).policy() == quick
