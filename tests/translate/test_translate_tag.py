"""The tag and the marker: what is written is read, and a forgery is nothing worse than foreign."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamexfrm.errors import UnsupportedError, WireError
from kamexfrm.model.knobs import FURTHER_KNOBS, Knobs
from kamexfrm.translate.xfrm.marker import (
    Marker,
    MarkerFlag,
    marker_policy,
    marker_words,
    read_marker,
    read_marker_words,
)
from kamexfrm.translate.xfrm.tag import (
    MAGIC,
    VERSION,
    PolicyTag,
    TagReading,
    Words,
    is_mode_any,
    is_of_statement,
    policy_words,
    read_policy_words,
    read_share,
    sa_user,
    share_of,
)
from kamexfrm.xfrm import Policy, Template, decode_policy, encode_policy
from kamexfrm.xfrm.policy import POLICY_INFO_BYTES
from tests.translate.translate_samples import (
    further_knobs,
    knobs,
    policy_tags,
    share_tags,
    templates,
    u8,
    u32,
    words,
)

U64 = (1 << 64) - 1

markers = st.builds(
    Marker,
    knobs,
    st.integers(0, (1 << 48) - 1),
    u32,
    u32,
    u32,
    st.builds(MarkerFlag, st.integers(0, MarkerFlag.OWN_DEFAULT * 2 - 1)),
    u32,
)


@given(policy_tags)
def test_a_tag_is_read_as_it_was_written_and_fits_its_words(tag: PolicyTag) -> None:
    written = policy_words(tag)
    assert all(0 <= word <= U64 for word in written)
    assert read_policy_words(written) == TagReading(tag)


@given(words)
def test_any_words_are_read_without_an_error(of: Words) -> None:
    verdict = read_policy_words(of)
    assert (verdict.tag is None) or of == policy_words(verdict.tag)


@given(st.integers(0, 255), st.integers(0, (1 << 32) - 1), words)
def test_our_magic_over_any_words_is_a_tag_of_ours_or_newer_or_broken(
    version: int, low: int, rest: Words
) -> None:
    verdict = read_policy_words(((MAGIC << 8 | version) << 32 | low, *rest[1:]))
    if version > VERSION:
        assert verdict == TagReading(None, newer=True)
    elif version < VERSION:
        assert verdict == TagReading(None, broken=True)
    else:
        assert verdict.tag is not None or verdict.broken


@given(words.filter(lambda of: of[0] >> 40 != MAGIC))
def test_other_words_are_foreign_and_not_broken(of: Words) -> None:
    assert read_policy_words(of) == TagReading(None)


def test_no_limit_at_all_is_foreign() -> None:
    assert read_policy_words((U64, U64, U64, U64)) == TagReading(None)
    assert read_policy_words((0, 0, 0, 0)) == TagReading(None)


@given(share_tags)
def test_a_share_byte_is_read_as_it_was_written(tag: object) -> None:
    share = share_of(tag)  # type: ignore[arg-type]  # a ShareTag
    assert 0x80 <= share <= 0xFF
    assert read_share(share) == tag


@given(u8)
def test_any_share_byte_is_ours_in_just_one_way_or_not_ours(share: int) -> None:
    tag = read_share(share)
    assert tag is None or share_of(tag) == share


def test_what_others_write_into_share_is_not_ours() -> None:
    assert [read_share(share) for share in range(0x80)] == [None] * 0x80


@given(markers)
def test_a_marker_is_read_as_it_was_written_and_fits_its_words(marker: Marker) -> None:
    written = marker_words(marker)
    assert all(0 <= word <= U64 for word in written)
    assert read_marker_words(written) == marker


@given(markers)
def test_a_marker_survives_the_codec(marker: Marker) -> None:
    policy = decode_policy(encode_policy(marker_policy(marker)))
    assert read_marker(policy) == marker


further_markers = st.builds(lambda marker, of: marker._replace(knobs=of), markers, further_knobs)


@given(further_markers)
def test_a_marker_with_further_knobs_survives_the_codec(marker: Marker) -> None:
    policy = decode_policy(encode_policy(marker_policy(marker)))
    assert read_marker(policy) == marker
    assert len(policy.templates) == int(marker.knobs[2:] != Knobs()[2:])
    assert policy.lifetime[:4] == marker_words(marker)


@given(further_markers)
def test_a_marker_without_a_template_has_the_further_knobs_where_they_start(
    marker: Marker,
) -> None:
    of = marker.knobs
    assert read_marker(marker_policy(marker)._replace(templates=())) == marker._replace(
        knobs=Knobs(of.inet, of.inet6)
    )


@given(further_markers, st.integers(0, 64 * 8 - 1))
def test_a_marker_with_a_flipped_bit_in_its_template_is_another_marker_or_refused(
    marker: Marker, bit: int
) -> None:
    policy = marker_policy(marker._replace(knobs=marker.knobs._replace(dfbit=0)))
    octets = bytearray(encode_policy(policy))
    octets[POLICY_INFO_BYTES + 4 + bit // 8] ^= 1 << bit % 8  # 4: the attribute's header
    try:
        forged = decode_policy(bytes(octets))
        read = read_marker(forged)
    except (UnsupportedError, WireError):
        return
    if forged == policy:  # padding
        return
    assert read != read_marker(policy)
    for each in FURTHER_KNOBS:
        each.check(read.knobs.value(each))


@given(st.lists(templates(), min_size=1, max_size=6).map(tuple))
def test_a_marker_with_any_templates_is_read_or_rejected(
    of: tuple[Template, ...],
) -> None:
    forged = marker_policy(Marker())._replace(templates=of)
    try:
        read = read_marker(forged)
    except UnsupportedError:
        return
    assert marker_policy(read) == forged


@given(words)
def test_any_words_are_a_marker_in_just_one_way_or_none(of: Words) -> None:
    marker = read_marker_words(of)
    assert marker is None or marker_words(marker) == of


@given(markers, st.integers(0, 3), st.integers(0, 63))
def test_a_marker_with_a_flipped_bit_is_another_marker_or_none(
    marker: Marker, word: int, bit: int
) -> None:
    forged = list(marker_words(marker))
    forged[word] ^= 1 << bit
    read = read_marker_words((forged[0], forged[1], forged[2], forged[3]))
    assert read is None or (read != marker and marker_words(read) == tuple(forged))


@given(markers, st.integers(0, 3), st.integers(0, 63))
def test_knobs_out_of_range_are_no_marker(marker: Marker, word: int, bit: int) -> None:
    forged = list(marker_words(marker))
    forged[word] ^= 1 << bit
    read = read_marker_words((forged[0], forged[1], forged[2], forged[3]))
    if read is not None:
        for family in (read.knobs.inet, read.knobs.inet6):
            assert family.def_policy in (0, 1)
            assert set(family[1:]) <= {1, 2}


def with_first_word(word: int) -> Policy:
    policy = marker_policy(Marker())
    return policy._replace(lifetime=policy.lifetime._replace(soft_bytes=word))


def test_a_marker_that_cannot_be_understood_is_refused_and_a_newer_one_by_name() -> None:
    first = marker_policy(Marker()).lifetime.soft_bytes
    with pytest.raises(UnsupportedError, match="later version"):
        read_marker(with_first_word(first + (1 << 32)))
    for word in (U64, 0, first - (1 << 32)):
        with pytest.raises(UnsupportedError) as caught:
            read_marker(with_first_word(word))
        assert "later version" not in str(caught.value)


def test_a_new_marker_has_kames_knobs() -> None:
    assert Marker().knobs == Knobs()


USERS = {
    (mode_any, by_program): sa_user(mode_any=mode_any, by_program=by_program)
    for mode_any in (False, True)
    for by_program in (False, True)
}


@given(u32 | st.sampled_from(sorted(USERS.values())))
def test_a_user_number_says_mode_any_and_who_made_an_sa(user: int) -> None:
    assert is_mode_any(user) == (user in (USERS[True, False], USERS[True, True]))
    assert is_of_statement(user) == (user in (USERS[True, False], USERS[False, False]))
    assert USERS[False, True] == 0
