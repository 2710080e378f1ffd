"""SAs that are flushed and come again: which stay, and what becomes of their numbers."""

import pytest

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.model.association import Key, Lifetime, SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.sa_restart import is_counter_mode, is_same, restart, succeed
from kamexfrm.translate.xfrm.sa_to_kernel import SEQUENCE_MARGIN, sa_to_kernel
from kamexfrm.xfrm import (
    LifetimeCurrent,
    ReplayState,
    State,
    XfrmMsg,
    decode_async_event,
    decode_state,
    encode_state,
)

A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
NOW = 1_700_000_000
CBC = Key(by_name(Kind.ENCRYPTION, "aes-cbc"), bytes(range(16)))
CTR = Key(by_name(Kind.ENCRYPTION, "aes-ctr"), bytes(range(20)))
GCM = Key(by_name(Kind.AEAD, "aes-gcm-16"), bytes(range(20)))


def sa(cipher: Key = CBC, **fields: object) -> SecurityAssociation:
    association = SecurityAssociation(A, B, IpsecProtocol.ESP, 0x1000, encryption=cipher)
    return association._replace(**fields)  # type: ignore[arg-type]  # names of fields vary


def wanted(association: SecurityAssociation, mode: Mode = Mode.TRANSPORT) -> State:
    return sa_to_kernel(association, mode)


def installed(association: SecurityAssociation, mode: Mode = Mode.TRANSPORT) -> State:
    """Return a state as the kernel dumps it, after some packets."""
    state = decode_state(encode_state(wanted(association, mode)))
    used = LifetimeCurrent(5000, 50, NOW - 100, NOW - 10)
    if state.replay_esn is not None:
        return state._replace(current=used, replay_esn=state.replay_esn._replace(oseq=50, seq=7))
    return state._replace(current=used, replay=ReplayState(50, 7, 0x7F))


@pytest.mark.parametrize("cipher", [CBC, CTR, GCM], ids=["cbc", "ctr", "gcm"])
def test_the_same_sa_is_recognized(cipher: Key) -> None:
    assert is_same(installed(sa(cipher)), wanted(sa(cipher)))
    lives = sa(cipher, hard=Lifetime(0, 0, 3600, 0))
    assert is_same(installed(sa(cipher)), wanted(lives))  # lifetimes are restarted anyway


@pytest.mark.parametrize(
    "other",
    [
        sa(CBC._replace(material=bytes(16))),
        sa(CTR),
        sa(reqid=7),
        sa(replay_window=32),
        sa(replay_window=64),
        sa(esn=True),
        sa(mode=Mode.TRANSPORT),
        sa(source=Address.parse("10.0.0.9")),
    ],
    ids=["key", "cipher", "reqid", "window", "wide", "esn", "mode", "source"],
)
def test_another_sa_is_not_the_same(other: SecurityAssociation) -> None:
    assert not is_same(installed(sa()), wanted(other))


def test_an_sa_of_mode_any_is_the_same_in_whichever_mode_it_is_installed() -> None:
    assert is_same(installed(sa(), Mode.TUNNEL), wanted(sa()))
    explicit = sa(mode=Mode.TRANSPORT)
    tunnel = sa(mode=Mode.TUNNEL)
    assert not is_same(installed(tunnel, Mode.TUNNEL), wanted(explicit))


def test_ciphers_that_a_repeated_number_breaks_are_known() -> None:
    assert not is_counter_mode(wanted(sa(CBC)))
    assert is_counter_mode(wanted(sa(CTR)))
    assert is_counter_mode(wanted(sa(GCM)))


def test_a_restart_begins_lifetimes_again_and_sets_the_limits() -> None:
    lives = wanted(sa(hard=Lifetime(0, 0, 3600, 0)))
    event, limits = restart(installed(sa()), lives, NOW)
    assert event.type == XfrmMsg.NEWAE
    assert decode_async_event(event.payload).lifetime == LifetimeCurrent(0, 0, NOW, 0)
    assert limits.type == XfrmMsg.UPDSA
    assert decode_state(limits.payload).lifetime.hard_add == 3600


def test_a_restart_begins_the_replay_window_again_but_under_a_counter_mode() -> None:
    windowed = sa(replay_window=32)
    event, _ = restart(installed(windowed), wanted(windowed), NOW)
    assert decode_async_event(event.payload).replay == ReplayState(50 + SEQUENCE_MARGIN, 0, 0)

    counted = sa(GCM, replay_window=32)
    event, _ = restart(installed(counted), wanted(counted), NOW)
    assert decode_async_event(event.payload).replay is None

    wide = sa(replay_window=64)
    event, _ = restart(installed(wide), wanted(wide), NOW)
    esn = decode_async_event(event.payload).replay_esn
    assert esn is not None
    assert (esn.oseq, esn.seq) == (50 + SEQUENCE_MARGIN, 0)


@pytest.mark.parametrize("cipher", [CTR, GCM], ids=["ctr", "gcm"])
def test_the_same_key_goes_on_counting_in_another_sa_of_the_name(cipher: Key) -> None:
    there, changed = installed(sa(cipher)), wanted(sa(cipher, reqid=7))
    assert succeed(there, changed).replay == ReplayState(50 + SEQUENCE_MARGIN, 0, 0)
    wide = wanted(sa(cipher, esn=True, replay_window=64))
    esn = succeed(there, wide).replay_esn
    assert esn is not None
    assert esn.oseq == 50 + SEQUENCE_MARGIN
    counted = installed(sa(cipher, esn=True, replay_window=64))
    again = succeed(counted, wide._replace(reqid=7)).replay_esn
    assert again is not None
    assert again.oseq == 50 + SEQUENCE_MARGIN


def test_another_key_or_another_kind_of_cipher_counts_from_the_start() -> None:
    other = wanted(sa(GCM._replace(material=bytes(20))))
    assert succeed(installed(sa(GCM)), other) == other
    plain = wanted(sa(CBC, reqid=7))
    assert succeed(installed(sa(CBC)), plain) == plain
    unused = installed(sa(GCM))._replace(replay=ReplayState(0, 0, 0))
    assert succeed(unused, wanted(sa(GCM, reqid=7))) == wanted(sa(GCM, reqid=7))
