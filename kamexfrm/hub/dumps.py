"""DUMP and X_SPDDUMP: made as the client reads, so that nobody's memory holds a large database."""

import errno
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.hub.client_queue import Client, Stream
from kamexfrm.model.association import SadEntry
from kamexfrm.model.policy import SpdEntry
from kamexfrm.pfkey import SadbMsg, SadbType, addressed, encode
from kamexfrm.translate.pfkey.parts import protocol_or_all
from kamexfrm.translate.pfkey.sa_from_message import filter_from
from kamexfrm.translate.pfkey.sa_to_message import sa_entry
from kamexfrm.translate.pfkey.spd import spd_entry

if TYPE_CHECKING:
    from kamexfrm.hub.hub import Hub

#: Up to so many entries a dump shows one moment; a larger one is read on as the client reads.
_AT_ONCE = 1000


def dump_sad(hub: "Hub", client: Client, request: SadbMsg) -> None:
    """Answer a DUMP; raises KernelError: ENOENT where there is nothing, EBUSY amid another one."""
    protocol, shows = protocol_or_all(request), filter_from(request)
    _check_idle(client)
    count = _some(hub.kernel.sad_info().states)
    dump = hub.engine.iter_sad if count > _AT_ONCE else hub.engine.sad
    entries = (entry for entry in dump(protocol) if shows(entry))
    _send(hub, client, request, _associations(entries))


def dump_spd(hub: "Hub", client: Client, request: SadbMsg) -> None:
    """Answer an X_SPDDUMP; raises KernelError: ENOENT if there is nothing, EBUSY amid another."""
    _check_idle(client)
    count = _some(sum(hub.kernel.spd_info()[:6]))
    entries = hub.engine.iter_spd() if count > _AT_ONCE else hub.engine.spd()
    _send(hub, client, request, _policies(entries))


def _check_idle(client: Client) -> None:
    if client.is_dumping:
        raise KernelError(errno.EBUSY)


def _some(count: int) -> int:
    """Return a count of entries; raises KernelError (ENOENT) for 0, which needs no dump."""
    if not count:
        raise KernelError(errno.ENOENT)
    return count


def _associations(entries: Iterable[SadEntry]) -> Iterator[SadbMsg]:
    for entry in entries:
        try:
            yield sa_entry(entry, SadbType.SADB_DUMP)
        except KamexfrmError:
            continue  # somebody's entry that no message can hold


def _policies(entries: Iterable[SpdEntry]) -> Iterator[SadbMsg]:
    for entry in entries:
        try:
            yield spd_entry(entry, SadbType.SADB_X_SPDDUMP)
        except KamexfrmError:
            continue


def _send(hub: "Hub", client: Client, request: SadbMsg, messages: Iterator[SadbMsg]) -> None:
    first = next(messages, None)
    if first is None:
        raise KernelError(errno.ENOENT)
    client.put_stream(Stream(_numbered(hub, request, first, messages), is_dump=True))


def _numbered(
    hub: "Hub", request: SadbMsg, held: SadbMsg, messages: Iterator[SadbMsg]
) -> Iterator[bytes]:
    """Give the messages of a dump their numbers: 1, 2 and so on, and 0 for the last."""
    number = 0
    while True:
        try:
            following = next(messages, None)
        except KernelError:
            following = None  # the kernel broke off: the client has what there was
        number = number + 1 if following else 0
        data = addressed(encode(held), held.type, number, request.pid)
        hub.bus.to_promiscuous(data)
        yield data
        if following is None:
            return
        held = following
