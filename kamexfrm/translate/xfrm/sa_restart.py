"""An SA that is flushed and comes again: what becomes of the one that is there. Pure.

KAME deletes it and makes another one, and packets between the two find none. Here the one that is
the same stays: its lifetimes start again, and so does its replay window. Its outgoing numbers go
on where the cipher would be broken by a number used twice, and nobody is hurt by a jump ahead.
"""

from collections.abc import Callable, Sequence

from kamexfrm.model.linux.kernel_range import holds_for
from kamexfrm.model.policy import IpsecProtocol
from kamexfrm.translate.xfrm.numbers import is_narrow
from kamexfrm.translate.xfrm.sa_lookup import is_usable
from kamexfrm.translate.xfrm.sa_to_kernel import replay_ahead, replay_esn_ahead
from kamexfrm.translate.xfrm.tag import is_mode_any
from kamexfrm.xfrm import (
    UNLIMITED,
    XFRM_STATE_AF_UNSPEC,
    AsyncEvent,
    LifetimeCurrent,
    Operation,
    ReplayState,
    Selector,
    State,
    StateId,
    XfrmMsg,
    encode_async_event,
    encode_state,
    encode_state_id,
)


def is_counter_mode(state: State) -> bool:
    """Whether a sequence number used twice breaks the key: AEAD ciphers, and CTR (RFC 3686)."""
    if state.aead is not None:
        return True
    return state.encryption is not None and "ctr(" in state.encryption.name


def has_same_keys(there: State, wanted: State) -> bool:
    """Whether two states have the same algorithms and keys, and the same mode."""
    return _keys(there) == _keys(wanted) and _mode(there) == _mode(wanted)


def is_same(there: State, wanted: State) -> bool:
    """Whether a state of the kernel is what is wanted, but for lifetimes and numbers."""
    return has_same_keys(there, wanted) and _terms(there) == _terms(wanted)


def as_kept(state: State, release: str) -> State:
    """Return a state as a kernel of a release keeps it: without what it has no field for.

    Source: Linux xfrm_user.c, where XFRMA_SA_DIR came with 6.10, XFRMA_NAT_KEEPALIVE_INTERVAL with
    6.11 and XFRMA_SA_PCPU with 6.13.
    """
    if state.direction and holds_for("<6.10", release):
        state = state._replace(direction=0)
    if state.nat_keepalive_interval and holds_for("<6.11", release):
        state = state._replace(nat_keepalive_interval=0)
    if state.pcpu is not None and holds_for("<6.13", release):
        state = state._replace(pcpu=None)
    return state


def _keys(state: State) -> tuple[object, ...]:
    return (state.authentication, state.encryption, state.compression, state.aead)


def _mode(state: State) -> tuple[int, int]:
    """Return the mode as declared: of one declared with mode any, the installed one may differ."""
    user = state.selector.user
    return (-1 if is_mode_any(user) else state.mode, user)


def _terms(state: State) -> tuple[object, ...]:
    esn = state.replay_esn
    return (
        state.source,
        state.reqid,
        state.replay_window,
        None if esn is None else (len(esn.bitmap), esn.replay_window),
        state.flags & ~XFRM_STATE_AF_UNSPEC,
        state.encap,
        state.security_context,
        _selected(state.selector),
        state.mark,
        state.output_mark,
        state.if_id,
        state.direction,
        state.nat_keepalive_interval,
        state.pcpu,
    )


def _selected(selector: Selector) -> Selector | int:
    """Return the packets that an SA is for; those of any family look different by its mode."""
    return selector._replace(user=0) if is_narrow(selector) else selector.interface


def restart(there: State, wanted: State, now: int) -> list[Operation]:
    """Return what gives a state that stays new lifetimes: its clock, its counts and its limits.

    ``now`` is in seconds since the epoch. The replay window begins again, except under a counter
    mode, where the peer cannot have begun again either. Source: Linux xfrm_state.c
    xfrm_update_ae_params() sets the counts, xfrm_state_update() sets the limits and the timer.
    """
    event = AsyncEvent(
        StateId(there.destination, there.spi, there.protocol, there.family, mark=there.mark),
        there.source,
        lifetime=LifetimeCurrent(0, 0, now, 0),
        if_id=there.if_id,
    )
    if not is_counter_mode(there):
        esn, replay = there.replay_esn, there.replay
        if esn is not None:
            unseen = (0,) * len(esn.bitmap)
            again = replay_esn_ahead(esn)._replace(bitmap=unseen, seq=0, seq_hi=0)
            event = event._replace(replay_esn=again)
        elif replay is not None and there.replay_window:
            event = event._replace(replay=replay_ahead(replay)._replace(seq=0, bitmap=0))
    limits = there._replace(lifetime=wanted.lifetime)
    return [
        Operation(XfrmMsg.NEWAE, encode_async_event(event)),
        Operation(XfrmMsg.UPDSA, encode_state(limits)),
    ]


#: Seconds after which a stand-in goes by itself: it is there for less than a millisecond.
_STAND_IN_LIFE = 10


def stand_in(there: State, spi: int, random_bytes: Callable[[int], bytes]) -> State:
    """Return what takes a state's packets while it is deleted and made again with another key.

    Without any SA, packets of an optional template (level use) would go in clear. Nobody has the
    keys of this one: packets that meet it are lost.
    """
    authentication, encryption, aead = there.authentication, there.encryption, there.aead
    return there._replace(
        spi=spi,
        lifetime=UNLIMITED._replace(hard_add=_STAND_IN_LIFE),
        authentication=authentication
        and authentication._replace(key=random_bytes(len(authentication.key))),
        encryption=encryption and encryption._replace(key=random_bytes(len(encryption.key))),
        aead=aead and aead._replace(key=random_bytes(len(aead.key))),
        offload=None,
    )


def exchanged(
    there: State, again: Sequence[Operation], random_bytes: Callable[[int], bytes]
) -> list[Operation]:
    """Return what deletes a state and makes it ``again``, with a stand-in meanwhile if it has keys.

    The stand-in goes last.
    """
    id = StateId(there.destination, there.spi, there.protocol, there.family, mark=there.mark)
    gone = Operation(XfrmMsg.DELSA, encode_state_id(id))
    if not is_usable(there) or there.protocol == IpsecProtocol.IPCOMP:
        return [gone, *again]
    spare = stand_in(there, int.from_bytes(random_bytes(4), "big") | 1 << 31, random_bytes)
    unmade = Operation(XfrmMsg.DELSA, encode_state_id(id._replace(spi=spare.spi)))
    return [Operation(XfrmMsg.NEWSA, encode_state(spare)), gone, *again, unmade]


def succeed(there: State, wanted: State) -> State:
    """Return what replaces a state of the same name: under a counter mode its numbers go on."""
    if not (is_counter_mode(wanted) and has_same_keys(there, wanted)):
        return wanted
    if there.replay_esn is not None:
        ahead = replay_esn_ahead(there.replay_esn)
        low, high = ahead.oseq, ahead.oseq_hi
    else:
        low, high = replay_ahead(there.replay).oseq if there.replay else 0, 0
    if not low | high:
        return wanted
    if wanted.replay_esn is not None:
        return wanted._replace(replay_esn=wanted.replay_esn._replace(oseq=low, oseq_hi=high))
    return wanted._replace(replay=ReplayState(0xFFFFFFFF if high else low, 0, 0))
