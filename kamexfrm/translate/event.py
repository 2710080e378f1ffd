"""Kernel events as the PF_KEY messages that are broadcast for them. Pure.

``broadcast`` returns for each event the message that Linux's af_key.c sends to other sockets about
the same change (pfkey_send_notify(), pfkey_send_policy_notify(), pfkey_send_acquire(),
pfkey_send_new_mapping(), pfkey_send_migrate()), or None where it sends none.
"""

from kamexfrm.errors import invalid
from kamexfrm.model.association import SaState
from kamexfrm.model.policy import (
    IpsecProtocol,
    IpsecRequest,
    Level,
    PolicyType,
    SpdEntry,
)
from kamexfrm.net import Address
from kamexfrm.pfkey import (
    AddressDst,
    AddressSrc,
    Extension,
    KmAddress,
    LifetimeCurrent,
    LifetimeHard,
    LifetimeSoft,
    NatTDport,
    NatTSport,
    Sa,
    SadbMsg,
    SadbType,
    Sockaddr,
)
from kamexfrm.translate.pfkey.parts import (
    SATYPES,
    address_to_extension,
    flush,
    message,
    spd_flush,
    stamped,
)
from kamexfrm.translate.pfkey.policy import policy_to_extension
from kamexfrm.translate.pfkey.sa_to_message import sa_acquire, sa_expire, sad_entry_to_message
from kamexfrm.translate.pfkey.spd import selector_to_extensions, spd_entry_to_message
from kamexfrm.translate.xfrm.numbers import direction_from_kernel, mode_from_kernel
from kamexfrm.translate.xfrm.policy_from_kernel import (
    SidecarOf,
    is_ordinary,
    no_sidecar,
    read_tag,
    selector_from_kernel,
    spd_entry_from_kernel,
)
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
from kamexfrm.translate.xfrm.sidecars import acquired_ends
from kamexfrm.xfrm import (
    XFRM_POLICY_FWD,
    XFRM_POLICY_TYPE_MAIN,
    Acquire,
    DeletedPolicy,
    DeletedState,
    Event,
    Expire,
    Mapping,
    Migrate,
    Move,
    Policy,
    PolicyExpire,
    PolicyFlush,
    State,
    StateFlush,
    XfrmMsg,
)

#: A flush of all protocols in ``ip xfrm`` and in PF_KEY (IPSEC_PROTO_ANY).
_ALL_PROTOCOLS = (0, 255)

_SA_TYPES = {XfrmMsg.NEWSA: SadbType.SADB_ADD, XfrmMsg.UPDSA: SadbType.SADB_UPDATE}
_POLICY_TYPES = {
    XfrmMsg.NEWPOLICY: SadbType.SADB_X_SPDADD,
    XfrmMsg.UPDPOLICY: SadbType.SADB_X_SPDUPDATE,
}


def broadcast(
    type: int,
    event: Event,
    *,
    now: float,
    sequence: int = 0,
    pid: int = 0,
    sidecar_of: SidecarOf = no_sidecar,
    wanted: bool = False,
) -> SadbMsg | None:
    """Return the message that PF_KEY sockets receive for an event, None for no message.

    ``type`` is the event's XFRM_MSG_ number, ``sequence`` and ``pid`` are from its netlink header:
    the originator's. ``now`` is in seconds since the epoch.

    There is no message for markers, sidecars and catch-alls, for policies of a type other than the
    main one, for SAs of protocols that PF_KEY lacks, and, unless ``wanted``, for the expiry of an
    SA of an ACQUIRE that never got an SPI. Raises KamexfrmError for what no message can hold.
    """
    match event:
        case State() if type in _SA_TYPES:
            # An int equals its XfrmMsg.
            sent = _sa(event, _SA_TYPES[XfrmMsg(type)], now)
        case DeletedState(_, state):
            sent = _sa(state, SadbType.SADB_DELETE, now, SaState.DEAD)
        case StateFlush(protocol):
            sent = _sa_flush(protocol)
        case Policy() if type in _POLICY_TYPES:
            sent = _policy(event, _POLICY_TYPES[XfrmMsg(type)], sidecar_of)
        case DeletedPolicy(id, policy):
            # The engine deletes our entries by their index, also where the request had a selector.
            by_id = id.index and not read_tag(policy).tag
            deleted = SadbType.SADB_X_SPDDELETE2 if by_id else SadbType.SADB_X_SPDDELETE
            sent = _policy(policy, deleted, sidecar_of)
        case PolicyFlush(policy_type):
            sent = spd_flush() if policy_type in (None, XFRM_POLICY_TYPE_MAIN) else None
        case _:
            return _kernel_event(event, now, sidecar_of, wanted=wanted)
    return stamped(sent, seq=sequence, pid=pid) if sent else None


def _kernel_event(
    event: Event, now: float, sidecar_of: SidecarOf, *, wanted: bool
) -> SadbMsg | None:
    """Return the message for an event that no process asked for; it has no process id."""
    match event:
        case Expire(state, hard):
            # The larval SA of an unanswered ACQUIRE ends in a hard expiry too.
            if not (state.spi or wanted) or not _has_satype(state.protocol):
                return None
            return sa_expire(sad_entry_from_kernel(state, now), hard=bool(hard))
        case PolicyExpire(policy, hard):
            if not _is_spd_entry(policy):
                return None
            return spd_expire(spd_entry_from_kernel(policy, sidecar_of), hard=bool(hard))
        case Acquire():
            return _acquire(event, sidecar_of)
        case Mapping():
            return _mapping(event)
        case Migrate():
            return _migrate(event)
        case _:
            return None


def _has_satype(protocol: int) -> bool:
    return IpsecProtocol(protocol) in SATYPES


def _is_spd_entry(policy: Policy) -> bool:
    return policy.policy_type == XFRM_POLICY_TYPE_MAIN and is_ordinary(policy)


# SAs


def _sa(state: State, type: SadbType, now: float, life: SaState | None = None) -> SadbMsg | None:
    if not _has_satype(state.protocol):
        return None
    return sad_entry_to_message(sad_entry_from_kernel(state, now), type, state=life)


def _sa_flush(protocol: int) -> SadbMsg | None:
    if protocol in _ALL_PROTOCOLS:
        return flush()
    return flush(IpsecProtocol(protocol)) if _has_satype(protocol) else None


def _acquire(acquire: Acquire, sidecar_of: SidecarOf) -> SadbMsg | None:
    if not _has_satype(acquire.protocol):
        return None
    entry = spd_entry_from_kernel(acquire.policy, sidecar_of)
    source, destination = acquired_ends(acquire, sidecar_of)
    wanted = sa_acquire(
        IpsecProtocol(acquire.protocol),
        source,
        destination,
        entry.id,
        priority=entry.policy.priority,
    )
    return stamped(wanted, seq=acquire.sequence)


def _mapping(mapping: Mapping) -> SadbMsg | None:
    if not _has_satype(mapping.id.protocol):
        return None
    extensions = (
        Sa(mapping.id.spi),
        address_to_extension(AddressSrc, mapping.old_source),
        NatTSport(mapping.old_port),
        address_to_extension(AddressDst, mapping.new_source),
        NatTDport(mapping.new_port),
    )
    protocol = IpsecProtocol(mapping.id.protocol)
    return message(SadbType.SADB_X_NAT_T_NEW_MAPPING, extensions, protocol)


# Policies


def _policy(policy: Policy, type: SadbType, sidecar_of: SidecarOf) -> SadbMsg | None:
    if not _is_spd_entry(policy):
        return None
    return spd_entry_to_message(spd_entry_from_kernel(policy, sidecar_of), type)


def spd_expire(entry: SpdEntry, *, hard: bool = True) -> SadbMsg:
    """Return the X_SPDEXPIRE for an entry (KAME key.c key_spdexpire()).

    KAME's entries have one limit, the hard one; XFRM's may have a soft one as well.
    """
    # Differs from Linux's af_key: it sends no message when a policy expires.
    policy = entry.policy
    limit: Extension = (
        LifetimeHard(addtime=policy.lifetime, usetime=policy.validtime) if hard else LifetimeSoft()
    )
    extension = policy_to_extension(
        policy.type, policy.direction, policy.requests, priority=policy.priority, id=entry.id
    )
    return message(
        SadbType.SADB_X_SPDEXPIRE,
        (
            LifetimeCurrent(addtime=entry.created, usetime=entry.last_used),
            limit,
            *selector_to_extensions(policy.selector),
            extension,
        ),
    )


def _moved(move: Move, source: Address, destination: Address) -> IpsecRequest:
    level = Level.UNIQUE if move.reqid else Level.REQUIRE
    mode = mode_from_kernel(move.mode)
    return IpsecRequest(IpsecProtocol(move.protocol), mode, level, move.reqid, source, destination)


def _migrate(migrate: Migrate) -> SadbMsg | None:
    if not migrate.moves or not _has_satype(migrate.moves[0].protocol):
        return None
    if migrate.id.direction > XFRM_POLICY_FWD:
        raise invalid(f"a policy of direction {migrate.id.direction}")
    requests: list[IpsecRequest] = []
    for move in migrate.moves:
        requests.append(_moved(move, move.old_source, move.old_destination))
        requests.append(_moved(move, move.new_source, move.new_destination))
    kernel_selector = migrate.id.selector
    selector = selector_from_kernel(kernel_selector)._replace(
        upper=kernel_selector.protocol, source_port=None, destination_port=None
    )
    extensions: list[Extension] = []
    if migrate.km_address is not None:
        local, remote, _ = migrate.km_address
        extensions.append(KmAddress(Sockaddr(local), Sockaddr(remote)))
    direction = direction_from_kernel(migrate.id.direction)
    extensions += (
        *selector_to_extensions(selector),
        policy_to_extension(PolicyType.IPSEC, direction, tuple(requests)),
    )
    return message(SadbType.SADB_X_MIGRATE, extensions, IpsecProtocol(migrate.moves[0].protocol))
