"""What each request does: RFC 2367, extended by KAME and Linux (af_key.c pfkey_funcs)."""

import errno
from collections.abc import Callable

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
from kamexfrm.hub.core import Core
from kamexfrm.hub.dumps import dump_sad, dump_spd
from kamexfrm.hub.feed import FeedEvent
from kamexfrm.model.association import SaId
from kamexfrm.model.policy import Direction
from kamexfrm.pfkey import SadbMsg, SadbSatype, SadbType, SpiRange, addressed, encode
from kamexfrm.translate.migrate import migrate_from_message
from kamexfrm.translate.pfkey.parts import echo, protocol_or_all
from kamexfrm.translate.pfkey.register import supported
from kamexfrm.translate.pfkey.sa_from_message import (
    larval_from_message,
    sa_from_message,
    sa_id_from_message,
)
from kamexfrm.translate.pfkey.sa_to_message import sad_entry_to_message
from kamexfrm.translate.pfkey.spd import (
    policy_from_message,
    spd_entry_to_message,
    spd_id_from_message,
    spidx_from_message,
)
from kamexfrm.translate.xfrm.numbers import direction_to_kernel
from kamexfrm.translate.xfrm.policy_from_kernel import is_ordinary
from kamexfrm.translate.xfrm.policy_name import selector_to_kernel
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
from kamexfrm.xfrm import Event as XfrmEvent

#: SADB_SATYPE_MAX of Linux.
_LAST_SATYPE = SadbSatype.SADB_X_SATYPE_IPCOMP


def serve(core: Core, client: Client, message: SadbMsg) -> None:
    """Carry out a request and answer it; raises KamexfrmError with the errno to answer with."""
    match message.type:
        case SadbType.SADB_GETSPI:
            _get_spi(core, client, message)
        case SadbType.SADB_ADD | SadbType.SADB_UPDATE:
            _add(core, client, message)
        case SadbType.SADB_DELETE:
            _delete(core, client, message)
        case SadbType.SADB_GET:
            entry = core.engine.sa(sa_id_from_message(message)[1])
            core.reply(client, message, sad_entry_to_message(entry, message.type))
        case SadbType.SADB_ACQUIRE:
            _acquire(message)
        case SadbType.SADB_REGISTER:
            _register(core, client, message)
        case SadbType.SADB_FLUSH:
            _flush(core, client, message)
        case SadbType.SADB_DUMP:
            dump_sad(core, client, message)
        case SadbType.SADB_X_PROMISC:
            _promisc(core, client, message)
        case SadbType.SADB_X_SPDADD | SadbType.SADB_X_SPDUPDATE | SadbType.SADB_X_SPDSETIDX:
            _spd_add(core, client, message)
        case SadbType.SADB_X_SPDDELETE:
            _spd_delete(core, client, message)
        case SadbType.SADB_X_SPDDELETE2:
            _spd_delete_id(core, client, message)
        case SadbType.SADB_X_SPDGET:
            policy = core.engine.spd_entry_by_id(spd_id_from_message(message))
            core.reply(client, message, spd_entry_to_message(policy, message.type))
        case SadbType.SADB_X_SPDDUMP:
            dump_spd(core, client, message)
        case SadbType.SADB_X_SPDFLUSH:
            _spd_flush(core, client, message)
        case SadbType.SADB_X_MIGRATE:
            _migrate(core, client, message)
        case _:
            # EXPIRE, X_SPDEXPIRE, X_SPDACQUIRE, X_NAT_T_NEW_MAPPING: sent by the kernel only.
            raise KernelError(errno.EOPNOTSUPP)


def _broadcast(
    core: Core,
    client: Client,
    request: SadbMsg,
    type_: SadbType,
    own: list[FeedEvent],
    is_subject: Callable[[XfrmEvent], bool],
) -> bool:
    """Broadcast a change that was requested; return False if its event was lost.

    ``is_subject`` knows events of what was to change; the last one says what came of it, as an
    entry may have been moved before. Of what the engine changed besides, policies that come and go
    are broadcast too, but not to the sender.
    """
    subject = next((event for event in reversed(own) if is_subject(event.decoded)), None)
    message = core.feed.message_of(subject) if subject else None
    if message is None:
        return False
    core.bus.to_all(addressed(encode(message), type_, request.seq, request.pid))
    for event in own:
        comes_or_goes = event.raw.type in (XfrmMsg.NEWPOLICY, XfrmMsg.DELPOLICY)
        if event is not subject and comes_or_goes:
            raw = event.raw._replace(sequence=0, pid=0)
            core.feed.publish(event._replace(raw=raw), besides=client)
    return True


# SAs


def _get_spi(core: Core, client: Client, message: SadbMsg) -> None:
    wanted, low, high = larval_from_message(message)
    if message.get(SpiRange) is not None:
        if not high:
            raise KernelError(errno.ENOENT)  # 0 names no SA
        low = max(low, 1)
    entry = core.engine.larval(wanted, low, high, message.seq)
    core.reply(client, message, sad_entry_to_message(entry, message.type))


def _add(core: Core, client: Client, message: SadbMsg) -> None:
    association = sa_from_message(message)
    replaces = message.type == SadbType.SADB_UPDATE
    own = core.writer.write(SaAdd(association, replaces, sequence=message.seq, by_program=True))

    def is_subject(event: XfrmEvent) -> bool:
        return isinstance(event, State) and _is_named(event, association.id)

    if not _broadcast(core, client, message, message.type, own, is_subject):
        entry = core.engine.sa(association.id)
        core.reply(client, message, sad_entry_to_message(entry, message.type))


def _is_named(state: State, id: SaId) -> bool:
    return (state.destination, state.protocol, state.spi) == (id.destination, id.protocol, id.spi)


def _delete(core: Core, client: Client, message: SadbMsg) -> None:
    id = sa_id_from_message(message)[1]
    own = core.writer.write(SaDelete(id))

    def is_subject(event: XfrmEvent) -> bool:
        return isinstance(event, DeletedState) and _is_named(event.state, id)

    if not _broadcast(core, client, message, message.type, own, is_subject):
        core.reply(client, message, message)


def _flush(core: Core, client: Client, message: SadbMsg) -> None:
    # Differs from Linux's af_key: its sender gets the reply twice where there was something to
    # flush, and setkey -c then takes each reply for that of the next request.
    own = core.writer.write(SaFlush(protocol_or_all(message)))
    if any(isinstance(event.decoded, StateFlush) for event in own):
        core.bus.to_all(encode(echo(message)))
    else:
        core.reply(client, message, echo(message))


def _acquire(message: SadbMsg) -> None:
    """Accept a key manager's ACQUIRE, which reports failure: there is no action and no reply.

    Linux's af_key lets the larval SA fail at once; netlink has no message for that, and the SA
    expires by itself (net.key.larval_lifetime).
    """
    if message.extensions:
        raise KernelError(errno.EOPNOTSUPP)


def _register(core: Core, client: Client, message: SadbMsg) -> None:
    satype = int(message.satype)
    if satype > _LAST_SATYPE:
        raise invalid(f"no satype {satype}")
    if satype in client.registered:
        raise KernelError(errno.EEXIST)
    reply = supported(message, algorithms(core.kernel))
    if satype:
        client.registered.add(satype)
        core.feed.update_subscription(client)
    core.bus.to_registered(encode(reply), client)


def _promisc(core: Core, client: Client, message: SadbMsg) -> None:
    if message.inner is not None or message.satype > 1:
        raise invalid("X_PROMISC is switched by satype 0 or 1")
    client.promiscuous = message.satype == 1
    core.feed.update_subscription(client)
    core.bus.to_all(encode(echo(message)))


def _migrate(core: Core, client: Client, message: SadbMsg) -> None:
    payload = encode_migrate(migrate_from_message(message))
    for failure in core.kernel.apply([Operation(XfrmMsg.MIGRATE, payload)]):
        raise failure.error
    own = core.feed.own_events((Migrate,))

    def is_subject(event: XfrmEvent) -> bool:
        return isinstance(event, Migrate)

    if not _broadcast(core, client, message, message.type, own, is_subject):
        # Linux 5.10 tells of it in the first network namespace alone (xfrm_send_migrate()).
        core.bus.to_all(addressed(encode(message), message.type, message.seq, message.pid))


# Policies


def _is_about(policy: Policy, selector: Selector, direction: Direction) -> bool:
    name = (policy.selector, policy.direction)
    return name == (selector, direction_to_kernel(direction)) and is_ordinary(policy)


def _spd_add(core: Core, client: Client, message: SadbMsg) -> None:
    # No fwd twin: PF_KEY programs for Linux write the fwd entry themselves (setkey, racoon, iked),
    # and expect an in entry to be one entry.
    policy = policy_from_message(message)
    replaces = message.type == SadbType.SADB_X_SPDUPDATE
    own = core.writer.write(SpdAdd(policy, twin=False, replace=replaces))
    selector = selector_to_kernel(policy.selector)
    # X_SPDSETIDX is answered as X_SPDADD, which it is to Linux.
    type_ = message.type if replaces else SadbType.SADB_X_SPDADD

    def is_subject(event: XfrmEvent) -> bool:
        return isinstance(event, Policy) and _is_about(event, selector, policy.direction)

    if not _broadcast(core, client, message, type_, own, is_subject):
        entry = core.engine.spd_entry(policy.selector, policy.direction, policy.label)
        core.reply(client, message, spd_entry_to_message(entry, type_))


def _spd_delete(core: Core, client: Client, message: SadbMsg) -> None:
    selector, direction, label = spidx_from_message(message)
    own = core.writer.write(SpdDelete(selector, direction, label=label))
    wanted = selector_to_kernel(selector)

    def is_subject(event: XfrmEvent) -> bool:
        return isinstance(event, DeletedPolicy) and _is_about(event.policy, wanted, direction)

    if not _broadcast(core, client, message, message.type, own, is_subject):
        core.reply(client, message, message)


def _spd_delete_id(core: Core, client: Client, message: SadbMsg) -> None:
    id = spd_id_from_message(message)
    own = core.writer.write(SpdDeleteId(id))

    def is_subject(event: XfrmEvent) -> bool:
        return isinstance(event, DeletedPolicy) and event.policy.index == id

    if not _broadcast(core, client, message, message.type, own, is_subject):
        core.reply(client, message, message)


def _spd_flush(core: Core, client: Client, message: SadbMsg) -> None:
    # Differs from Linux's af_key: the sender gets one reply; see _flush().
    was_empty = not core.feed.shadow.holds_policies()
    core.writer.write(SpdFlush())
    core.feed.shadow.clear_policies()
    if was_empty:
        core.reply(client, message, echo(message))
    else:
        core.bus.to_all(encode(echo(message)))
