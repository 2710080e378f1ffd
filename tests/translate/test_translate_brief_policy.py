"""What a load reads of dumped policies without decoding them, held against the decoded ones."""

import pytest

from kamexfrm.model.knobs import Knobs
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import SecurityPolicy, Selector
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.brief_policy import brief_policy, encode_context, plain_content
from kamexfrm.translate.xfrm.catch_all import catch_all
from kamexfrm.translate.xfrm.fast_path import (
    encode_plain,
    encode_selector,
    encode_twin,
    fast_path_template,
)
from kamexfrm.translate.xfrm.marker import Marker, marker_policy
from kamexfrm.translate.xfrm.policy_to_kernel import Placement, policy_to_kernel
from kamexfrm.xfrm import Mark, SecurityContext, decode_policy, encode_policy

A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
TEXTS = [
    *("out none", "out discard", "in none", "fwd discard"),
    *("out ipsec esp/transport//require", "in ipsec ah/transport//use"),
    "out ipsec esp/tunnel/10.0.0.1-10.0.0.2/require",
]


def policy(text: str, port: int | None = None, **fields: int) -> SecurityPolicy:
    read = parse_policy(text)
    assert read.type is not None
    selector = Selector(A, 24, B, 32, 17 if port else 255, None, port)
    plain = SecurityPolicy(selector, read.direction, read.type, read.requests, read.priority)
    return plain._replace(**fields)  # type: ignore[arg-type]  # names of fields vary


def dumped(written: SecurityPolicy, **fields: object) -> bytes:
    installed = policy_to_kernel(written, Knobs(), Placement(77, 5), 1_700_000_000).policy
    installed = installed._replace(**{"index": 9, **fields})  # type: ignore[arg-type]  # so too
    return encode_policy(installed)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("port", [None, 500])
def test_a_plain_entry_has_the_content_of_its_template(text: str, port: int | None) -> None:
    written = policy(text, port)
    brief = brief_policy(dumped(written))
    assert brief is not None
    template = fast_path_template(
        written.type, written.requests, written.direction, 2, Knobs().of(2)
    )
    assert brief.content == plain_content(template, written.priority) != 0
    assert brief.content != plain_content(template, written.priority + 1)
    assert brief.content != plain_content(template, written.priority, twin=True)
    assert brief.name == encode_selector(written.selector)
    assert (brief.direction, brief.number, brief.index) == (written.direction - 1, 77, 9)
    payload = encode_plain(written, template, 77, 5, 1_600_000_000)
    again = brief_policy(payload)
    assert again is not None
    assert (again.name, again.content) == (brief.name, brief.content)


def test_a_twin_has_the_content_of_a_twin() -> None:
    written = policy("in ipsec esp/transport//require")
    template = fast_path_template(
        written.type, written.requests, written.direction, 2, Knobs().of(2)
    )
    brief = brief_policy(encode_twin(written, template, 77, 5, 1))
    assert brief is not None
    assert brief.content == plain_content(template, written.priority, twin=True)


def test_an_entry_with_a_lifetime_or_of_another_program_has_no_content() -> None:
    lives = brief_policy(dumped(policy("out none", lifetime=60)))
    foreign = brief_policy(
        encode_policy(
            decode_policy(dumped(policy("out none")))._replace(
                lifetime=decode_policy(encode_policy(catch_all(2, 0))).lifetime._replace(
                    soft_bytes=7
                )
            )
        )
    )
    assert lives is not None
    assert foreign is not None
    assert lives.content == foreign.content == 0


def test_what_tells_policies_of_one_selector_apart_is_in_the_name() -> None:
    written = policy("out none")
    label = SecurityContext(1, 1, b"system_u")
    names = [
        brief_policy(dumped(written, **fields))
        for fields in (
            {},
            {"if_id": 7},
            {"mark": Mark(1, 0xFF)},
            {"policy_type": 1},
            {"security_context": label},
        )
    ]
    found = [brief.name for brief in names if brief]
    assert len(set(found)) == len(names)
    assert found[-1] == encode_selector(written.selector) + encode_context(label)


def test_what_is_no_entry_is_none() -> None:
    assert brief_policy(encode_policy(marker_policy(Marker()))) is None
    assert brief_policy(encode_policy(catch_all(2, 1))) is None
    assert brief_policy(dumped(policy("out none"), direction=4)) is None
    marked = catch_all(2, 1)._replace(action=0)
    assert brief_policy(encode_policy(marked)) is None  # it stands in for a catch-all
    other = marked.selector._replace(destination_prefix=8)
    assert brief_policy(encode_policy(marked._replace(selector=other))) is not None
