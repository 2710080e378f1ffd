"""SAs from the kernel: what its states mean to KAME. Pure."""

from kamexfrm.algorithms import Kind, by_kernel_name
from kamexfrm.model.association import (
    Key,
    Lifetime,
    LinuxParts,
    NatTraversal,
    Offload,
    SadEntry,
    SaState,
    SecurityAssociation,
)
from kamexfrm.model.policy import Direction, IpsecProtocol, Mode
from kamexfrm.translate.xfrm.numbers import (
    is_narrow,
    label_from_kernel,
    mode_from_kernel,
)
from kamexfrm.translate.xfrm.sa_flags import sa_flags_from_kernel
from kamexfrm.translate.xfrm.tag import is_mode_any, read_created_tag
from kamexfrm.xfrm import (
    XFRM_INF,
    XFRM_MODE_BEET,
    XFRM_MODE_TRANSPORT,
    XFRM_MODE_TUNNEL,
    XFRM_OFFLOAD_INBOUND,
    XFRM_STATE_ESN,
    LifetimeConfig,
    LifetimeCurrent,
    State,
)

#: By XFRM_SA_DIR_IN and XFRM_SA_DIR_OUT.
_DIRECTIONS = {1: Direction.IN, 2: Direction.OUT}


def _finite(limit: int) -> int:
    return 0 if limit == XFRM_INF else limit


def _key(kind: Kind, kernel: str, material: bytes, icv_bits: int = 0) -> Key:
    return Key(by_kernel_name(kind, kernel, icv_bits), material, icv_bits, kernel)


def _encryption_from(state: State) -> Key | None:
    if state.aead is not None:
        name, material, _bits, icv = state.aead
        return _key(Kind.AEAD, name, material, icv)
    if state.encryption is not None:
        return _key(Kind.ENCRYPTION, state.encryption.name, state.encryption.key)
    return None


def _linux_parts(state: State) -> LinuxParts | None:
    selector = state.selector
    narrow, offload = is_narrow(selector), state.offload
    plain = not narrow and not selector.interface and not state.if_id and offload is None
    plain = plain and not state.nat_keepalive_interval and state.pcpu is None
    if plain and state.mark is None and state.output_mark is None and not state.direction:
        return None
    return _make_linux_parts(state, selects=narrow)


def _make_linux_parts(state: State, *, selects: bool) -> LinuxParts | None:
    from kamexfrm.translate.xfrm.policy_from_kernel import selector_from_kernel
    from kamexfrm.translate.xfrm.policy_name import mark_from_kernel

    wanted = state.selector._replace(interface=0)
    offload = state.offload
    parts = LinuxParts(
        selector_from_kernel(wanted) if selects else None,
        state.selector.interface,
        mark_from_kernel(state.mark),
        mark_from_kernel(state.output_mark),
        state.if_id,
        _DIRECTIONS.get(state.direction),
        Offload(offload.interface, bool(offload.flags & XFRM_OFFLOAD_INBOUND)) if offload else None,
        state.nat_keepalive_interval,
        state.pcpu,
    )
    return parts if parts != LinuxParts() else None


def _life_of(state: State, now: float) -> SaState:
    """Return PF_KEY's state; netlink does not report that a soft limit is passed."""
    if not state.spi or not state.is_keyed:
        return SaState.LARVAL
    return SaState.DYING if is_dying(state.lifetime, state.current, now) else SaState.MATURE


def is_dying(limits: LifetimeConfig, current: LifetimeCurrent, now: float) -> bool:
    """Whether a soft limit of an SA is passed at ``now``, in seconds since the epoch."""
    return (
        current.bytes >= limits.soft_bytes
        or current.packets >= limits.soft_packets
        or _is_over(limits.soft_add, current.add_time, now)
        or _is_over(limits.soft_use, current.use_time, now)
    )


def _is_over(limit: int, since: int, now: float) -> bool:
    return bool(limit and since) and now >= since + limit


def sad_entry_from_kernel(state: State, now: float) -> SadEntry:
    """Return what a dumped state means at ``now``, in seconds since the epoch."""
    limits = state.lifetime
    auth, encap = state.authentication, state.encap
    any_mode = is_mode_any(state.selector.user)
    added = state.current.add_time
    created = read_created_tag(state.care_of_address, added) if any_mode else added
    before = added - created  # the age of the SA in seconds when it was recreated
    known = state.mode in (XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, XFRM_MODE_BEET)
    mode = mode_from_kernel(state.mode) if known else Mode.ANY
    esn = state.replay_esn
    original = encap.original_address if encap else None
    return SadEntry(
        SecurityAssociation(
            state.source,
            state.destination,
            IpsecProtocol(state.protocol),
            state.spi,
            Mode.ANY if any_mode else mode,
            state.reqid,
            esn.replay_window if esn else state.replay_window,
            _encryption_from(state),
            _key(Kind.AUTHENTICATION, auth.name, auth.key, auth.truncation_bits) if auth else None,
            _key(Kind.COMPRESSION, state.compression.name, b"") if state.compression else None,
            Lifetime(
                _finite(limits.hard_packets),
                _finite(limits.hard_bytes),
                limits.hard_add and limits.hard_add + before,
                limits.hard_use,
            ),
            Lifetime(
                _finite(limits.soft_packets),
                _finite(limits.soft_bytes),
                limits.soft_add and limits.soft_add + before,
                limits.soft_use,
            ),
            NatTraversal(
                encap.source_port,
                encap.destination_port,
                None if original is None or original.is_unspecified else original,
            )
            if encap
            else None,
            label_from_kernel(state.security_context),
            bool(state.flags & XFRM_STATE_ESN),
            sa_flags_from_kernel(state.flags),
            _linux_parts(state),
        ),
        _life_of(state, now),
        created,
        state.last_used or state.current.use_time,
        state.current.bytes,
        state.current.packets,
        mode if known else Mode.TRANSPORT,
        None if known else state.mode,
    )
