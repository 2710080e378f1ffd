"""SPD entries: KAME's model to PF_KEY messages, and back. Pure.

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
    address_from_sockaddr,
    address_to_extension,
    ends_from_message,
    label_from_message,
    label_to_extensions,
    message,
    port_from_sockaddr,
)
from kamexfrm.translate.pfkey.policy import (
    SOCKET_DIRECTION,
    SPD_TYPES,
    direction_from_extension,
    policy_to_extension,
    requests_from_extension,
    type_from_extension,
)
from kamexfrm.xfrm import direction_of_index

#: Ids are kernel policy indexes. Their directions are in, out, fwd, in and out of a socket; any
#: other names nothing (Linux verify_policy_dir()).
_LAST_DIRECTION = 4

# Requests about the SPD


def selector_to_extensions(selector: Selector) -> tuple[AddressSrc, AddressDst]:
    """Return the two addresses that say which packets an entry matches."""
    return (
        address_to_extension(
            AddressSrc,
            selector.source,
            prefix=selector.source_prefix,
            upper=selector.upper,
            port=selector.source_port,
        ),
        address_to_extension(
            AddressDst,
            selector.destination,
            prefix=selector.destination_prefix,
            upper=selector.upper,
            port=selector.destination_port,
        ),
    )


def selector_from_message(message: SadbMsg) -> Selector:
    """Return the selector of a message; raises KamexfrmError (EINVAL).

    Both addresses must name one upper protocol (KAME key_spdadd()); 0 means any, as in Linux.
    """
    source, destination = ends_from_message(message)
    if source.proto != destination.proto:
        raise invalid(
            f"upper protocol {source.proto} on one side, {destination.proto} on the other"
        )
    return Selector(
        address_from_sockaddr(source.sockaddr),
        source.prefixlen,
        address_from_sockaddr(destination.sockaddr),
        destination.prefixlen,
        source.proto or ULPROTO_ANY,
        port_from_sockaddr(source.sockaddr),
        port_from_sockaddr(destination.sockaddr),
    )


def policy_to_message(policy: SecurityPolicy, type: SadbType = SadbType.SADB_X_SPDADD) -> SadbMsg:
    """Return the X_SPDADD or X_SPDUPDATE for a policy, in setkey's order of extensions."""
    wanted = policy_to_extension(
        policy.type, policy.direction, policy.requests, priority=policy.priority
    )
    lifetimes: tuple[LifetimeHard, ...] = ()
    if policy.lifetime or policy.validtime:
        lifetimes = (LifetimeHard(addtime=policy.lifetime, usetime=policy.validtime),)
    ends = selector_to_extensions(policy.selector)
    return message(type, (wanted, *ends, *lifetimes, *label_to_extensions(policy.label)))


def policy_from_message(message: SadbMsg) -> SecurityPolicy:
    """Return the policy of an X_SPDADD, X_SPDUPDATE or X_SPDSETIDX; raises KamexfrmError.

    EINVAL where something is missing, for a direction that does not exist and for types entrust
    and bypass, which are for sockets. More are in requests_from_extension() and
    selector_from_message().
    """
    extension = message.require(Policy)
    hard = message.get(LifetimeHard) or LifetimeHard()
    return SecurityPolicy(
        selector_from_message(message),
        direction_from_extension(extension, Direction.FWD),
        type_from_extension(extension, SPD_TYPES),
        requests_from_extension(extension),
        extension.priority,
        hard.addtime,
        hard.usetime,
        label_from_message(message),
    )


def spidx_to_message(
    selector: Selector,
    direction: Direction,
    label: SecurityContext | None = None,
    type: SadbType = SadbType.SADB_X_SPDDELETE,
) -> SadbMsg:
    """Return the X_SPDDELETE of an entry by its selector, of which only the direction counts."""
    wanted = policy_to_extension(PolicyType.DISCARD, direction)
    ends = selector_to_extensions(selector)
    return message(type, (wanted, *ends, *label_to_extensions(label)))


def spidx_from_message(message: SadbMsg) -> tuple[Selector, Direction, SecurityContext | None]:
    """Return the selector, direction and label in an X_SPDDELETE; raises KamexfrmError (EINVAL)."""
    direction = direction_from_extension(message.require(Policy), Direction.FWD)
    return selector_from_message(message), direction, label_from_message(message)


def spd_id_to_message(type: SadbType, id: int, direction: Direction = Direction.IN) -> SadbMsg:
    """Return the X_SPDGET or X_SPDDELETE2 of an entry by its id."""
    return message(type, (policy_to_extension(PolicyType.DISCARD, direction, id=id),))


def spd_id_from_message(message: SadbMsg) -> int:
    """Return the id in an X_SPDGET or X_SPDDELETE2; raises KamexfrmError (EINVAL).

    The direction beside it is ignored, but that in the id must exist.
    """
    id = message.require(Policy).id
    if direction_of_index(id) > _LAST_DIRECTION:
        raise invalid(f"no policy has the id {id}")
    return id


# Replies about the SPD


def spd_entry_to_message(entry: SpdEntry, type: SadbType, *, references: int = 1) -> SadbMsg:
    """Return an entry as in the reply to a request of this type.

    ``references`` goes into ``sadb_msg_reserved``, where KAME and Linux count an entry's users.
    """
    policy = entry.policy
    extension = policy_to_extension(
        policy.type,
        policy.direction,
        policy.requests,
        priority=policy.priority,
        id=entry.id,
        socket=entry.socket,
    )
    shown = (
        *selector_to_extensions(policy.selector),
        LifetimeHard(addtime=policy.lifetime, usetime=policy.validtime),
        LifetimeSoft(),
        LifetimeCurrent(addtime=entry.created, usetime=entry.last_used),
        extension,
        *label_to_extensions(policy.label),
    )
    return SadbMsg(type, extensions=shown, reserved=references)


def spd_entry_from_message(message: SadbMsg) -> SpdEntry:
    """Return what a kernel's reply says of an entry; raises KamexfrmError.

    PF_KEY has neither the entry's owner nor its order: owner FOREIGN, order 0, and the kernel's
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
        selector_from_message(message),
        Direction(number),
        type_from_extension(extension, tuple(PolicyType)),
        requests_from_extension(extension, from_kernel=True),
        extension.priority,
        hard.addtime,
        hard.usetime,
        label_from_message(message),
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
