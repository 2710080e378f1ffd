"""The SPD: KAME's model of its entries to PF_KEY messages, and back. Pure.

Sources: KAME key.c key_spdadd(), key_spddelete(), key_setdumpsp(); Linux af_key.c pfkey_spdadd(),
pfkey_xfrm_policy2msg(). PF_KEY's port 0 is a wildcard, so an entry for just ICMP type 0 looks like
one for any type.
"""

from kamexfrm.errors import invalid
from kamexfrm.model.policy import (
    ULPROTO_ANY,
    Direction,
    Owner,
    PolicyType,
    SecurityContext,
    SecurityPolicy,
    Selector,
    SpdEntry,
)
from kamexfrm.pfkey import (
    AddressDst,
    AddressSrc,
    LifetimeCurrent,
    LifetimeHard,
    LifetimeSoft,
    Policy,
    SadbMsg,
    SadbType,
)
from kamexfrm.translate.pfkey.parts import (
    address_extension,
    address_of,
    context_extension,
    context_of,
    ends_of,
    message,
    port_of,
)
from kamexfrm.translate.pfkey.policy import (
    SOCKET_DIRECTION,
    SPD_TYPES,
    direction_from,
    policy_extension,
    requests_from,
    type_from,
)

#: Ids are kernel policy indexes, whose low bits are the direction: in, out, fwd, in and out of a
#: socket. Any other value names nothing (Linux xfrm_policy_id2dir(), verify_policy_dir()).
_INDEX_DIRECTIONS = 5

# Requests about the SPD


def selector_extensions(selector: Selector) -> tuple[AddressSrc, AddressDst]:
    """Return the two addresses that say which packets an entry matches."""
    return (
        address_extension(
            AddressSrc,
            selector.source,
            prefix=selector.source_prefix,
            upper=selector.upper,
            port=selector.source_port,
        ),
        address_extension(
            AddressDst,
            selector.destination,
            prefix=selector.destination_prefix,
            upper=selector.upper,
            port=selector.destination_port,
        ),
    )


def selector_from(message: SadbMsg) -> Selector:
    """Return the selector of a message; raises KamexfrmError (EINVAL).

    Both addresses must name one upper protocol (KAME key_spdadd()); 0 means any, as in Linux.
    """
    source, destination = ends_of(message)
    if source.proto != destination.proto:
        raise invalid(
            f"upper protocol {source.proto} on one side, {destination.proto} on the other"
        )
    return Selector(
        address_of(source.sockaddr),
        source.prefixlen,
        address_of(destination.sockaddr),
        destination.prefixlen,
        source.proto or ULPROTO_ANY,
        port_of(source.sockaddr),
        port_of(destination.sockaddr),
    )


def spd_add(policy: SecurityPolicy, type: SadbType = SadbType.SADB_X_SPDADD) -> SadbMsg:
    """Return the X_SPDADD or X_SPDUPDATE for a policy, in setkey's order of extensions."""
    wanted = policy_extension(
        policy.type, policy.direction, policy.requests, priority=policy.priority
    )
    lifetimes: tuple[LifetimeHard, ...] = ()
    if policy.lifetime or policy.validtime:
        lifetimes = (LifetimeHard(addtime=policy.lifetime, usetime=policy.validtime),)
    ends = selector_extensions(policy.selector)
    return message(type, (wanted, *ends, *lifetimes, *context_extension(policy.context)))


def policy_from(message: SadbMsg) -> SecurityPolicy:
    """Return the policy of an X_SPDADD, X_SPDUPDATE or X_SPDSETIDX; raises KamexfrmError.

    EINVAL where something is missing, for a direction that does not exist and for types entrust
    and bypass, which are for sockets; ``requests_from`` and ``selector_from`` say the rest.
    """
    extension = message.require(Policy)
    hard = message.get(LifetimeHard) or LifetimeHard()
    return SecurityPolicy(
        selector_from(message),
        direction_from(extension, Direction.FWD),
        type_from(extension, SPD_TYPES),
        requests_from(extension),
        extension.priority,
        hard.addtime,
        hard.usetime,
        context_of(message),
    )


def spd_delete(
    selector: Selector,
    direction: Direction,
    context: SecurityContext | None = None,
    type: SadbType = SadbType.SADB_X_SPDDELETE,
) -> SadbMsg:
    """Return the X_SPDDELETE of an entry by its selector, of which only the direction counts."""
    wanted = policy_extension(PolicyType.DISCARD, direction)
    ends = selector_extensions(selector)
    return message(type, (wanted, *ends, *context_extension(context)))


def spd_name_from(message: SadbMsg) -> tuple[Selector, Direction, SecurityContext | None]:
    """Return what an X_SPDDELETE is about; raises KamexfrmError (EINVAL)."""
    direction = direction_from(message.require(Policy), Direction.FWD)
    return selector_from(message), direction, context_of(message)


def spd_by_id(type: SadbType, id: int, direction: Direction = Direction.IN) -> SadbMsg:
    """Return the X_SPDGET or X_SPDDELETE2 of an entry by its id."""
    return message(type, (policy_extension(PolicyType.DISCARD, direction, id=id),))


def spd_id_from(message: SadbMsg) -> int:
    """Return the id in an X_SPDGET or X_SPDDELETE2; raises KamexfrmError (EINVAL).

    The direction beside it does not count, but the id's own must exist.
    """
    id = message.require(Policy).id
    if id & 7 >= _INDEX_DIRECTIONS:
        raise invalid(f"no policy has the id {id}")
    return id


# Replies about the SPD


def spd_entry(entry: SpdEntry, type: SadbType, *, references: int = 1) -> SadbMsg:
    """Return what an entry looks like in the reply to a request of this type.

    ``references`` stands in ``sadb_msg_reserved``, where KAME and Linux count an entry's users.
    """
    policy = entry.policy
    extension = policy_extension(
        policy.type,
        policy.direction,
        policy.requests,
        priority=policy.priority,
        id=entry.id,
        socket=entry.socket,
    )
    shown = (
        *selector_extensions(policy.selector),
        LifetimeHard(addtime=policy.lifetime, usetime=policy.validtime),
        LifetimeSoft(),
        LifetimeCurrent(addtime=entry.created, usetime=entry.last_used),
        extension,
        *context_extension(policy.context),
    )
    return SadbMsg(type, extensions=shown, reserved=references)


def spd_entry_from(message: SadbMsg) -> SpdEntry:
    """Return what a kernel's reply says of an entry; raises KamexfrmError.

    PF_KEY tells neither the entry's owner nor its order: owner FOREIGN, order 0, and the kernel's
    priority is the one in the message.
    """
    extension = message.require(Policy)
    number = int(extension.direction)
    socket = number > Direction.FWD
    if socket and number <= SOCKET_DIRECTION + Direction.OUT:
        number -= SOCKET_DIRECTION
    if not Direction.IN <= number <= Direction.FWD:
        raise invalid(f"a policy of direction {number}")
    hard = message.get(LifetimeHard) or LifetimeHard()
    current = message.get(LifetimeCurrent) or LifetimeCurrent()
    policy = SecurityPolicy(
        selector_from(message),
        Direction(number),
        type_from(extension, tuple(PolicyType)),
        requests_from(extension, from_kernel=True),
        extension.priority,
        hard.addtime,
        hard.usetime,
        context_of(message),
    )
    return SpdEntry(
        policy,
        extension.id,
        current.addtime,
        current.usetime,
        Owner.FOREIGN,
        0,
        extension.priority,
        socket=socket,
    )
