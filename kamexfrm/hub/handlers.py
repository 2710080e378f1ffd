"""What each request does: RFC 2367, extended by KAME and Linux (af_key.c pfkey_funcs)."""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from kamexfrm.engine.requests import (
    SaAdd,
    SaDelete,
    SaFlush,
    SpdAdd,
    SpdDelete,
    SpdDeleteId,
    SpdFlush,
)
from kamexfrm.errors import KernelError, invalid
from kamexfrm.hub.algorithms import algorithms
from kamexfrm.hub.client_queue import Client
from kamexfrm.hub.dumps import dump_sad, dump_spd
from kamexfrm.model.association import SaId
from kamexfrm.model.policy import Direction
from kamexfrm.pfkey import SadbMsg, SadbSatype, SadbType, SpiRange, addressed, encode
from kamexfrm.translate.migrate import migrate_from
from kamexfrm.translate.pfkey.parts import echo, protocol_or_all
from kamexfrm.translate.pfkey.register import supported
from kamexfrm.translate.pfkey.sa_from_message import association_from, sa_name_from, spi_wanted_from
from kamexfrm.translate.pfkey.sa_to_message import sa_entry
from kamexfrm.translate.pfkey.spd import policy_from, spd_entry, spd_id_from, spd_name_from
from kamexfrm.translate.xfrm.policy_from_kernel import is_ordinary
from kamexfrm.translate.xfrm.policy_to_kernel import selector_to_kernel
from kamexfrm.xfrm import (
    DeletedPolicy,
    DeletedState,
    Migrate,
    Operation,
    Policy,
    Selector,
    State,
    StateFlush,
    XfrmMsg,
    encode_migrate,
)

if TYPE_CHECKING:
    from kamexfrm.hub.hub import Heard, Hub
    from kamexfrm.xfrm import Event as Told

#: What SADB_SATYPE_MAX is to Linux.
_LAST_SATYPE = SadbSatype.SADB_X_SATYPE_IPCOMP


def serve(hub: "Hub", client: Client, message: SadbMsg) -> None:
    """Carry out a request and answer it; raises KamexfrmError with the errno to answer with."""
    match message.type:
        case SadbType.SADB_GETSPI:
            _get_spi(hub, client, message)
        case SadbType.SADB_ADD | SadbType.SADB_UPDATE:
            _add(hub, client, message)
        case SadbType.SADB_DELETE:
            _delete(hub, client, message)
        case SadbType.SADB_GET:
            entry = hub.engine.sa(sa_name_from(message)[1])
            hub.answer(client, message, sa_entry(entry, message.type))
        case SadbType.SADB_ACQUIRE:
            _acquire(message)
        case SadbType.SADB_REGISTER:
            _register(hub, client, message)
        case SadbType.SADB_FLUSH:
            _flush(hub, client, message)
        case SadbType.SADB_DUMP:
            dump_sad(hub, client, message)
        case SadbType.SADB_X_PROMISC:
            _promisc(hub, client, message)
        case SadbType.SADB_X_SPDADD | SadbType.SADB_X_SPDUPDATE | SadbType.SADB_X_SPDSETIDX:
            _spd_add(hub, client, message)
        case SadbType.SADB_X_SPDDELETE:
            _spd_delete(hub, client, message)
        case SadbType.SADB_X_SPDDELETE2:
            _spd_delete_id(hub, client, message)
        case SadbType.SADB_X_SPDGET:
            policy = hub.engine.spd_entry_by_id(spd_id_from(message))
            hub.answer(client, message, spd_entry(policy, message.type))
        case SadbType.SADB_X_SPDDUMP:
            dump_spd(hub, client, message)
        case SadbType.SADB_X_SPDFLUSH:
            _spd_flush(hub, client, message)
        case SadbType.SADB_X_MIGRATE:
            _migrate(hub, client, message)
        case _:
            # EXPIRE, X_SPDEXPIRE, X_SPDACQUIRE, X_NAT_T_NEW_MAPPING: what only the kernel says.
            raise KernelError(errno.EOPNOTSUPP)


def _tell(
    hub: "Hub",
    client: Client,
    request: SadbMsg,
    type_: SadbType,
    own: list["Heard"],
    is_subject: Callable[["Told"], bool],
) -> bool:
    """Tell everybody of a change that was asked for; return False if its event was lost.

    ``is_subject`` knows events of what was to change; the last one says what came of it, as an
    entry may have been moved before. Of what the engine did besides, the policies that come and go
    are told of, but not to the sender.
    """
    subject = next((heard for heard in reversed(own) if is_subject(heard.told)), None)
    message = hub.message_of(subject) if subject else None
    if message is None:
        return False
    hub.bus.to_all(addressed(encode(message), type_, request.seq, request.pid))
    for heard in own:
        comes_or_goes = heard.event.type in (XfrmMsg.NEWPOLICY, XfrmMsg.DELPOLICY)
        if heard is not subject and comes_or_goes:
            event = heard.event._replace(sequence=0, pid=0)
            hub.tell(heard._replace(event=event), besides=client)
    return True


# SAs


def _get_spi(hub: "Hub", client: Client, message: SadbMsg) -> None:
    wanted, low, high = spi_wanted_from(message)
    if message.get(SpiRange) is not None:
        if not high:
            raise KernelError(errno.ENOENT)  # 0 names no SA
        low = max(low, 1)
    entry = hub.engine.larval(wanted, low, high, message.seq)
    hub.answer(client, message, sa_entry(entry, message.type))


def _add(hub: "Hub", client: Client, message: SadbMsg) -> None:
    association = association_from(message)
    replaces = message.type == SadbType.SADB_UPDATE
    own = hub.write(SaAdd(association, replaces, sequence=message.seq))

    def is_subject(told: "Told") -> bool:
        return isinstance(told, State) and _is_named(told, association.id)

    if not _tell(hub, client, message, message.type, own, is_subject):
        entry = hub.engine.sa(association.id)
        hub.answer(client, message, sa_entry(entry, message.type))


def _is_named(state: State, id: SaId) -> bool:
    return (state.destination, state.protocol, state.spi) == id


def _delete(hub: "Hub", client: Client, message: SadbMsg) -> None:
    id = sa_name_from(message)[1]
    own = hub.write(SaDelete(id))

    def is_subject(told: "Told") -> bool:
        return isinstance(told, DeletedState) and _is_named(told.state, id)

    if not _tell(hub, client, message, message.type, own, is_subject):
        hub.answer(client, message, message)


def _flush(hub: "Hub", client: Client, message: SadbMsg) -> None:
    # Differs from Linux's af_key: its sender gets the reply twice where there was something to
    # flush, and setkey -c then takes each reply for that of the next request.
    own = hub.write(SaFlush(protocol_or_all(message)))
    if any(isinstance(heard.told, StateFlush) for heard in own):
        hub.bus.to_all(encode(echo(message)))
    else:
        hub.answer(client, message, echo(message))


def _acquire(message: SadbMsg) -> None:
    """Take note of a key manager's ACQUIRE, a negative one: nothing is to be done, or said.

    Linux's af_key lets the larval SA fail at once; netlink has no word for that, and it ends by
    itself (net.key.larval_lifetime).
    """
    if message.extensions:
        raise KernelError(errno.EOPNOTSUPP)


def _register(hub: "Hub", client: Client, message: SadbMsg) -> None:
    satype = int(message.satype)
    if satype > _LAST_SATYPE:
        raise invalid(f"no satype {satype}")
    if satype in client.registered:
        raise KernelError(errno.EEXIST)
    reply = supported(message, algorithms(hub.kernel))
    if satype:
        client.registered.add(satype)
        hub.heed(client)
    hub.bus.to_registered(encode(reply), client)


def _promisc(hub: "Hub", client: Client, message: SadbMsg) -> None:
    if message.inner is not None or message.satype > 1:
        raise invalid("X_PROMISC is switched by satype 0 or 1")
    client.promiscuous = message.satype == 1
    hub.heed(client)
    hub.bus.to_all(encode(echo(message)))


def _migrate(hub: "Hub", client: Client, message: SadbMsg) -> None:
    payload = encode_migrate(migrate_from(message))
    for failure in hub.kernel.apply([Operation(XfrmMsg.MIGRATE, payload)]):
        raise failure.error
    own = hub.own_events((Migrate,))
    if not _tell(hub, client, message, message.type, own, lambda told: isinstance(told, Migrate)):
        hub.answer(client, message, message)


# Policies


def _is_about(policy: Policy, selector: Selector, direction: Direction) -> bool:
    return policy.selector == selector and policy.direction == direction - 1 and is_ordinary(policy)


def _spd_add(hub: "Hub", client: Client, message: SadbMsg) -> None:
    # No fwd twin: PF_KEY programs for Linux write the fwd entry themselves (setkey, racoon, iked),
    # and expect of an in entry that it is one entry.
    policy = policy_from(message)
    replaces = message.type == SadbType.SADB_X_SPDUPDATE
    own = hub.write(SpdAdd(policy, twin=False, replace=replaces))
    selector = selector_to_kernel(policy.selector)
    # X_SPDSETIDX is answered as X_SPDADD, which it is to Linux.
    type_ = message.type if replaces else SadbType.SADB_X_SPDADD

    def is_subject(told: "Told") -> bool:
        return isinstance(told, Policy) and _is_about(told, selector, policy.direction)

    if not _tell(hub, client, message, type_, own, is_subject):
        entry = hub.engine.spd_entry(policy.selector, policy.direction, policy.context)
        hub.answer(client, message, spd_entry(entry, type_))


def _spd_delete(hub: "Hub", client: Client, message: SadbMsg) -> None:
    selector, direction, context = spd_name_from(message)
    own = hub.write(SpdDelete(selector, direction, label=context))
    wanted = selector_to_kernel(selector)

    def is_subject(told: "Told") -> bool:
        return isinstance(told, DeletedPolicy) and _is_about(told.policy, wanted, direction)

    if not _tell(hub, client, message, message.type, own, is_subject):
        hub.answer(client, message, message)


def _spd_delete_id(hub: "Hub", client: Client, message: SadbMsg) -> None:
    id = spd_id_from(message)
    own = hub.write(SpdDeleteId(id))

    def is_subject(told: "Told") -> bool:
        return isinstance(told, DeletedPolicy) and told.policy.index == id

    if not _tell(hub, client, message, message.type, own, is_subject):
        hub.answer(client, message, message)


def _spd_flush(hub: "Hub", client: Client, message: SadbMsg) -> None:
    # Differs from Linux's af_key: the sender gets one reply; see _flush().
    was_empty = not hub.known.holds_policies()
    hub.write(SpdFlush())
    hub.known.forget_policies()
    if was_empty:
        hub.answer(client, message, echo(message))
    else:
        hub.bus.to_all(encode(echo(message)))
