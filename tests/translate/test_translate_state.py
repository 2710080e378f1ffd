"""SAs to the kernel and back, and SAs that are recreated in another mode."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import Key, Lifetime, SaFlag, SaState, SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.sa_flags import sa_flags_from_kernel, sa_flags_to_kernel
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
from kamexfrm.translate.xfrm.sa_to_kernel import (
    REPLAY_WINDOW_MAX,
    SEQUENCE_MARGIN,
    recreate,
    sa_to_kernel,
)
from kamexfrm.xfrm import (
    XFRM_INF,
    XFRM_MODE_BEET,
    XFRM_STATE_AF_UNSPEC,
    XFRM_STATE_DECAP_DSCP,
    XFRM_STATE_ESN,
    XFRM_STATE_NOECN,
    XFRM_STATE_NOPMTUDISC,
    LifetimeConfig,
    LifetimeCurrent,
    ReplayState,
    ReplayStateEsn,
    decode_state,
    encode_state,
)
from tests.translate.translate_samples import associations, u32

A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
CIPHER = Key(by_name(Kind.ENCRYPTION, "aes-cbc"), bytes(range(16)))
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOW = 1_700_000_000


def plain(**fields: Any) -> SecurityAssociation:
    return SecurityAssociation(A, B, IpsecProtocol.ESP, 0x1000, encryption=CIPHER)._replace(
        **fields
    )


def comparable(key: Key | None) -> object:
    return key and (key.algorithm, key.material, key.icv_bits)


@given(associations(), st.sampled_from([Mode.TRANSPORT, Mode.TUNNEL]))
@slow
def test_what_was_written_comes_back(sa: SecurityAssociation, chosen: Mode) -> None:
    mode = chosen if sa.mode is Mode.ANY else sa.mode
    entry = sad_entry_from_kernel(decode_state(encode_state(sa_to_kernel(sa, mode))), NOW)
    found = entry.association
    keys: dict[str, Any] = {"encryption": None, "authentication": None, "compression": None}
    assert found._replace(**keys) == sa._replace(**keys)
    for name in keys:
        assert comparable(getattr(found, name)) == comparable(getattr(sa, name))
    assert (entry.kernel_mode, entry.mode_number) == (mode, None)
    assert entry.state is SaState.MATURE


@given(associations())
@slow
def test_tunnels_carry_any_family_and_transports_do_not(sa: SecurityAssociation) -> None:
    tunnel = sa_to_kernel(sa, Mode.TUNNEL)
    assert tunnel.flags & XFRM_STATE_AF_UNSPEC
    narrow = sa.linux and (sa.linux.selector or sa.linux.interface)
    assert tunnel.selector.family == (sa.destination.family if narrow else 0)
    transport = sa_to_kernel(sa, Mode.TRANSPORT)
    assert not transport.flags & XFRM_STATE_AF_UNSPEC
    assert transport.selector.family == sa.destination.family


@given(st.integers(0, 0xFFFFFFFF), st.booleans(), st.booleans())
def test_flags_come_back_with_those_that_have_no_name(bits: int, esn: bool, tunnel: bool) -> None:
    implied = XFRM_STATE_ESN * esn | XFRM_STATE_AF_UNSPEC * tunnel
    bits = bits & ~(XFRM_STATE_ESN | XFRM_STATE_AF_UNSPEC) | implied
    flags = sa_flags_from_kernel(bits)
    assert sa_flags_to_kernel(flags, esn=esn, tunnel=tunnel) == bits
    named = (XFRM_STATE_NOECN, XFRM_STATE_DECAP_DSCP, XFRM_STATE_NOPMTUDISC)
    assert tuple(flag in flags for flag in SaFlag) == tuple(bool(bits & flag) for flag in named)


def test_no_limit_is_infinite_for_counts_and_nothing_for_times() -> None:
    limits = sa_to_kernel(plain(), Mode.TRANSPORT).lifetime
    assert limits == LifetimeConfig(XFRM_INF, XFRM_INF, XFRM_INF, XFRM_INF, 0, 0, 0, 0)
    one = plain(hard=Lifetime(1, 2, 3, 4), soft=Lifetime(5, 6, 7, 8))
    assert sa_to_kernel(one, Mode.TRANSPORT).lifetime == LifetimeConfig(6, 2, 5, 1, 7, 3, 8, 4)


@pytest.mark.parametrize("window", [0, 1, 31, 32])
def test_narrow_windows_are_in_the_old_field(window: int) -> None:
    state = sa_to_kernel(plain(replay_window=window), Mode.TRANSPORT)
    assert (state.replay_window, state.replay_esn) == (window, None)


@pytest.mark.parametrize(("window", "words"), [(33, 2), (64, 2), (65, 3), (4096, 128)])
def test_wide_windows_are_in_a_bitmap_of_their_own(window: int, words: int) -> None:
    state = sa_to_kernel(plain(replay_window=window), Mode.TRANSPORT)
    assert state.replay_esn is not None
    assert (state.replay_esn.replay_window, len(state.replay_esn.bitmap)) == (window, words)


def test_a_window_past_what_the_kernel_takes_is_refused() -> None:
    with pytest.raises(KamexfrmError, match="replay window"):
        sa_to_kernel(plain(replay_window=REPLAY_WINDOW_MAX + 1), Mode.TRANSPORT)


def test_ipcomp_has_no_sequence_numbers_and_no_wide_window() -> None:
    # The kernel refuses the bitmap for it.
    compressed = plain(protocol=IpsecProtocol.IPCOMP, replay_window=64)
    state = sa_to_kernel(compressed, Mode.TRANSPORT)
    assert (state.replay_window, state.replay_esn) == (32, None)


def test_extended_numbers_without_a_window_get_the_smallest() -> None:
    state = sa_to_kernel(plain(esn=True), Mode.TRANSPORT)
    assert state.replay_esn is not None
    assert state.replay_esn.replay_window >= 1


def test_a_larval_state_is_one_without_keys() -> None:
    larval = sa_to_kernel(plain(encryption=None), Mode.TRANSPORT)
    assert sad_entry_from_kernel(larval, NOW).state is SaState.LARVAL
    wanted = sa_to_kernel(plain(spi=0), Mode.TRANSPORT)
    assert sad_entry_from_kernel(wanted, NOW).state is SaState.LARVAL


@given(st.integers(2, 255).filter(lambda mode: mode != XFRM_MODE_BEET))
def test_a_mode_that_kame_lacks_is_shown_by_number(mode: int) -> None:
    state = sa_to_kernel(plain(), Mode.TRANSPORT)._replace(mode=mode)
    entry = sad_entry_from_kernel(state, NOW)
    assert entry.mode_number == mode


def test_an_algorithm_that_pf_key_has_no_number_for_keeps_the_kernels_name() -> None:
    state = sa_to_kernel(plain(), Mode.TRANSPORT)
    assert state.encryption is not None
    other = state._replace(encryption=state.encryption._replace(name="cbc(sm4)"))
    key = sad_entry_from_kernel(other, NOW).association.encryption
    assert key is not None
    assert (key.algorithm, key.kernel) == (None, "cbc(sm4)")
    assert sa_to_kernel(plain(encryption=key), Mode.TRANSPORT).encryption == other.encryption


def test_a_key_is_never_shown() -> None:
    state = sa_to_kernel(plain(), Mode.TRANSPORT)
    for shown in (repr(sad_entry_from_kernel(state, NOW)), repr(state), repr(plain())):
        assert bytes(range(16)).hex() not in shown
        assert repr(bytes(range(16))) not in shown


# Recreated in another mode


@given(associations(), u32, u32, st.integers(0, (1 << 32) - 1))
@slow
def test_a_remade_state_keeps_its_name_keys_and_user(
    sa: SecurityAssociation, oseq: int, seq: int, bitmap: int
) -> None:
    state = sa_to_kernel(sa, Mode.TRANSPORT)
    if state.replay_esn is None:
        state = state._replace(replay=ReplayState(oseq, seq, bitmap))
    again = recreate(state, 1, NOW)
    entry = sad_entry_from_kernel(decode_state(encode_state(again)), NOW)
    assert entry.kernel_mode is Mode.TUNNEL
    assert entry.association.id == sa.id
    assert again.selector.user == state.selector.user
    for name in ("authentication", "encryption", "aead", "compression", "encap", "reqid"):
        assert getattr(again, name) == getattr(state, name)
    back = recreate(again, 0, NOW)
    assert (back.mode, back.selector, back.flags) == (0, state.selector, state.flags)


@given(st.integers(1, 0xFFFFFFFF), u32)
def test_an_outgoing_number_only_grows_and_never_wraps(oseq: int, seq: int) -> None:
    state = sa_to_kernel(plain(), Mode.TRANSPORT)._replace(replay=ReplayState(oseq, seq, 7))
    replay = recreate(state, 1, NOW).replay
    assert replay is not None
    assert replay.oseq == min(oseq + SEQUENCE_MARGIN, 0xFFFFFFFF)
    assert (replay.seq, replay.bitmap) == (seq, 7)


@given(st.integers(1, (1 << 64) - 1))
def test_an_extended_number_grows_past_32_bits_and_never_wraps(number: int) -> None:
    high, low = divmod(number, 1 << 32)
    esn = ReplayStateEsn((3, 5), oseq=low, oseq_hi=high, seq=9, seq_hi=8, replay_window=64)
    state = sa_to_kernel(plain(esn=True, replay_window=64), Mode.TRANSPORT)
    again = recreate(state._replace(replay_esn=esn), 1, NOW)
    found = decode_state(encode_state(again)).replay_esn
    assert found is not None
    assert found.oseq_hi << 32 | found.oseq == min(number + SEQUENCE_MARGIN, (1 << 64) - 1)
    assert (found.bitmap, found.seq, found.seq_hi) == ((3, 5), 9, 8)


@given(
    st.tuples(*[st.integers(1, 10_000)] * 8),
    st.integers(0, 20_000),
    st.integers(0, 20_000),
    st.integers(0, 20_000),
)
@slow
def test_what_is_left_of_a_life_never_grows_and_never_is_no_limit(
    limits: tuple[int, ...], spent: int, packets: int, age: int
) -> None:
    current = LifetimeCurrent(spent, packets, NOW - age, NOW - age // 2)
    state = sa_to_kernel(plain(), Mode.TRANSPORT)._replace(
        lifetime=LifetimeConfig(*limits), current=current
    )
    left = recreate(state, 1, NOW).lifetime
    assert all(1 <= new <= old for new, old in zip(left, limits, strict=True))


def test_no_limit_stays_no_limit() -> None:
    state = sa_to_kernel(plain(), Mode.TRANSPORT)
    spent = state._replace(current=LifetimeCurrent(100, 100, NOW - 50, NOW - 50))
    assert recreate(spent, 1, NOW).lifetime == state.lifetime


def test_a_clock_that_went_back_takes_nothing_away() -> None:
    state = sa_to_kernel(plain(hard=Lifetime(addtime=100)), Mode.TRANSPORT)
    later = state._replace(current=LifetimeCurrent(add_time=NOW + 1000))
    assert recreate(later, 1, NOW).lifetime.hard_add == 100
