"""DUMP and X_SPDDUMP: made as the client reads, so that no memory holds a large database."""

import errno
from collections.abc import Iterable, Iterator

from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.hub.client_queue import Client, Stream
from kamexfrm.hub.core import Core
from kamexfrm.model.association import SadEntry
from kamexfrm.model.policy import SpdEntry
from kamexfrm.pfkey import SadbMsg, SadbType, addressed, encode
from kamexfrm.translate.pfkey.parts import protocol_or_all
from kamexfrm.translate.pfkey.sa_from_message import filter_from_message
from kamexfrm.translate.pfkey.sa_to_message import sad_entry_to_message
from kamexfrm.translate.pfkey.spd import spd_entry_to_message
from kamexfrm.xfrm import SpdInfo

#: A dump of up to so many entries is a snapshot; a larger one is read from the kernel as the client
#: reads.
_MAX_SNAPSHOT = 1000


def dump_sad(core: Core, client: Client, request: SadbMsg) -> None:
    """Answer a DUMP; raises KernelError: ENOENT for an empty SAD, EBUSY during another."""
    protocol, shows = protocol_or_all(request), filter_from_message(request)
    _check_idle(client)
    count = _nonzero(core.kernel.sad_info().states)
    dump = core.engine.iter_sad if count > _MAX_SNAPSHOT else core.engine.sad
    entries = (entry for entry in dump(protocol) if shows(entry))
    _send(core, client, request, _associations(entries))


def dump_spd(core: Core, client: Client, request: SadbMsg) -> None:
    """Answer an X_SPDDUMP; raises KernelError: ENOENT for an empty SPD, EBUSY during another."""
    _check_idle(client)
    count = _nonzero(_policy_count(core.kernel.spd_info()))
    entries = core.engine.iter_spd() if count > _MAX_SNAPSHOT else core.engine.spd()
    _send(core, client, request, _policies(entries))


def _policy_count(info: SpdInfo) -> int:
    own = info.in_count + info.out_count + info.fwd_count
    return own + info.socket_in_count + info.socket_out_count + info.socket_fwd_count


def _check_idle(client: Client) -> None:
    if client.is_dumping:
        raise KernelError(errno.EBUSY)


def _nonzero(count: int) -> int:
    """Return a count of entries; raises KernelError (ENOENT) for 0, which needs no dump."""
    if not count:
        raise KernelError(errno.ENOENT)
    return count


def _associations(entries: Iterable[SadEntry]) -> Iterator[SadbMsg]:
    for entry in entries:
        try:
            yield sad_entry_to_message(entry, SadbType.SADB_DUMP)
        except KamexfrmError:
            continue  # a foreign entry that no message can hold


def _policies(entries: Iterable[SpdEntry]) -> Iterator[SadbMsg]:
    for entry in entries:
        try:
            yield spd_entry_to_message(entry, SadbType.SADB_X_SPDDUMP)
        except KamexfrmError:
            continue


def _send(core: Core, client: Client, request: SadbMsg, messages: Iterator[SadbMsg]) -> None:
    first = next(messages, None)
    if first is None:
        raise KernelError(errno.ENOENT)
    client.put_stream(Stream(_numbered(core, request, first, messages), is_dump=True))


def _numbered(
    core: Core, request: SadbMsg, held: SadbMsg, messages: Iterator[SadbMsg]
) -> Iterator[bytes]:
    """Give the messages of a dump their numbers: 1, 2 and so on, and 0 for the last."""
    number = 0
    while True:
        try:
            following = next(messages, None)
        except KernelError:
            following = None  # the kernel broke off: the client has what came before
        number = number + 1 if following else 0
        data = addressed(encode(held), held.type, number, request.pid)
        core.bus.to_promiscuous(data)
        yield data
        if following is None:
            return
        held = following
