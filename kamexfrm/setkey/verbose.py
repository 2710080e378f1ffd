"""setkey -v and -H: requests to the engine and their replies, shown as PF_KEY messages.

Each request is shown as the message that a PF_KEY socket would carry, and carried out at once. Then
the reply is shown: what is there now or was there before, or the errno.
"""

import errno
import os
from collections.abc import Callable, Iterator
from typing import TextIO

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import (
    InterfaceAdd,
    InterfaceDelete,
    SaAdd,
    SaDelete,
    SaDeleteAll,
    SaFlush,
    SetKnob,
    SpdAdd,
    SpdDelete,
    SpdDeleteId,
    SpdFlush,
    Write,
    Written,
)
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import SadEntry, SaId, SaState, SecurityAssociation
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    SecurityContext,
    SecurityPolicy,
    Selector,
    SpdEntry,
)
from kamexfrm.net import Address
from kamexfrm.pfkey import SadbMsg, SadbType
from kamexfrm.setkey.hexdump import format_hexdump
from kamexfrm.setkey.message_text import format_message
from kamexfrm.translate.pfkey.parts import (
    dump,
    echo,
    error_reply,
    flush,
    spd_dump,
    spd_flush,
    stamped,
)
from kamexfrm.translate.pfkey.sa_to_message import (
    CYCSEQ,
    sa_ends_to_message,
    sa_id_to_message,
    sa_to_message,
    sad_entry_to_message,
)
from kamexfrm.translate.pfkey.spd import (
    policy_to_message,
    spd_entry_to_message,
    spd_id_to_message,
    spidx_to_message,
)

#: A request as PF_KEY has it: the message, and how to get the reply once it is carried out.
_Exchange = tuple[SadbMsg, Callable[[], SadbMsg]]


class Tracer:
    """Passes requests on to an engine, and writes each message and its replies to ``out``.

    ``texts`` (-v) shows all as text, ``hexdump`` (-H) those that are sent as bytes too.
    ``statement`` is setkey's current one: it has what the engine does not need, such as the source
    address in ``get``.
    """

    def __init__(
        self, engine: Engine, out: TextIO, *, texts: bool = True, hexdump: bool = False
    ) -> None:
        self._engine = engine
        self._texts = texts
        self._hexdump = hexdump
        self.statement: object = None
        self._out = out
        self._pid = os.getpid()
        self._dump_type = SadbType.SADB_DUMP

    def _show(self, message: SadbMsg, seq: int = 0) -> None:
        """Show a message that is received."""
        if self._texts:
            self._out.write(format_message(stamped(message, seq=seq, pid=self._pid)) + "\n")

    def _send(self, message: SadbMsg) -> None:
        """Show a message that is sent."""
        self._show(message)
        if self._hexdump:
            self._out.write(format_hexdump(stamped(message, pid=self._pid)))

    # Writes

    def submit(self, request: Write) -> None:
        """Show a write, carry it out, show the replies; raises KamexfrmError."""
        self.try_submit(request).raise_first()

    def flush(self) -> Written:
        """Write what is still queued, which is not shown; raises KamexfrmError."""
        return self._engine.flush()

    def try_submit(self, request: Write) -> Written:
        """Show a write, carry it out, show the replies; return the outcome."""
        exchanges = self._exchanges(request)
        if exchanges:
            self._send(exchanges[0][0])
        self._engine.try_submit(request)
        written = self._engine.try_flush()
        if written.rejected:
            for _, error in written.rejected:
                self._show(error_reply(exchanges[0][0], error.errno))
            return written
        for at, (message, reply) in enumerate(exchanges):
            if at:
                self._send(message)
            self._answer(message, reply)
        return written

    def _answer(self, message: SadbMsg, reply: Callable[[], SadbMsg]) -> None:
        try:
            answer = reply()
        except KamexfrmError as error:
            answer = error_reply(message, error.errno)
        self._show(answer)

    def _exchanges(self, request: Write) -> list[_Exchange]:
        """Return the messages that make up a request; deletes read what is there before."""
        match request:
            case SaAdd():
                return [self._sa_add(request)]
            case SaDelete():
                return [self._sa_delete(request)]
            case SpdAdd():
                return self._spd_adds(request)
            case SpdDelete():
                return self._spd_deletes(request)
            case SpdDeleteId():
                return [_echoed(spd_id_to_message(SadbType.SADB_X_SPDDELETE2, request.id))]
            case SaDeleteAll(source, destination, protocol):
                return [_echoed(sa_ends_to_message(source, destination, protocol))]
            case SaFlush(protocol):
                return [_echoed(flush(protocol))]
            case SpdFlush():
                return [_echoed(spd_flush())]
            case SetKnob() | InterfaceAdd() | InterfaceDelete():
                return []  # no message of PF_KEY does it

    def _sa_add(self, request: SaAdd) -> _Exchange:
        association = request.association
        type = SadbType.SADB_UPDATE if request.replace else SadbType.SADB_ADD
        message = sa_to_message(association, type, sadb_flags=_sadb_flags(request.cookie))
        return message, lambda: sad_entry_to_message(self._engine.sa(association.id), type)

    def _sa_delete(self, request: SaDelete) -> _Exchange:
        message = sa_id_to_message(
            SadbType.SADB_DELETE, _source_of(request.cookie, request.id), request.id
        )
        try:
            before = self._engine.sa(request.id)
        except KamexfrmError:
            return _echoed(message)
        reply = sad_entry_to_message(before, SadbType.SADB_DELETE, state=SaState.DEAD)
        return message, lambda: reply

    def _spd_adds(self, request: SpdAdd) -> list[_Exchange]:
        type = SadbType.SADB_X_SPDUPDATE if request.replace else SadbType.SADB_X_SPDADD
        policies = [request.policy]
        if request.twin and request.policy.direction is Direction.IN:
            policies.append(request.policy._replace(direction=Direction.FWD))

        def reply(policy: SecurityPolicy) -> Callable[[], SadbMsg]:
            return lambda: spd_entry_to_message(
                self._engine.spd_entry(policy.selector, policy.direction, policy.label), type
            )

        return [(policy_to_message(policy, type), reply(policy)) for policy in policies]

    def _spd_deletes(self, request: SpdDelete) -> list[_Exchange]:
        directions = [request.direction]
        if request.twin and request.direction is Direction.IN:
            directions.append(Direction.FWD)
        return [self._spd_delete(request, direction) for direction in directions]

    def _spd_delete(self, request: SpdDelete, direction: Direction) -> _Exchange:
        message = spidx_to_message(request.selector, direction, request.label)
        try:
            entry = self._engine.spd_entry(request.selector, direction, request.label)
            before = spd_entry_to_message(entry, message.type)
        except KamexfrmError as error:
            before = error_reply(message, error.errno)
        return message, lambda: before

    def get_spi(self, association: SecurityAssociation, low: int = 0, high: int = 0) -> int:
        """Show a GETSPI and the larval SA that it makes."""
        type = SadbType.SADB_GETSPI
        message = sa_to_message(association, type, sadb_flags=_sadb_flags(self.statement))
        self._send(message)
        try:
            spi = self._engine.get_spi(association, low, high)
        except KamexfrmError as error:
            self._show(error_reply(message, error.errno))
            raise
        id = association.id._replace(spi=spi)
        self._answer(message, lambda: sad_entry_to_message(self._engine.sa(id), type))
        return spi

    # Reads. announce() shows each entry that was found, before setkey prints it.

    def announce(self, entry: SadEntry | SpdEntry, number: int) -> None:
        """Show the message that an entry of a dump comes in; ``number`` is its place there."""
        if isinstance(entry, SadEntry):
            self._show(sad_entry_to_message(entry, self._dump_type), number)
        else:
            self._show(spd_entry_to_message(entry, self._dump_type), number)

    def sad(self, protocol: IpsecProtocol | None = None) -> Iterator[SadEntry]:
        """Show a DUMP, and the reply if there is nothing to dump."""
        message = dump(protocol)
        self._send_read(message)
        entries = list(self._engine.sad(protocol))
        if not entries:
            self._show(error_reply(message, errno.ENOENT))
        return iter(entries)

    def spd(self) -> Iterator[SpdEntry]:
        """Show an X_SPDDUMP, and the reply if there is nothing to dump."""
        message = spd_dump()
        self._send_read(message)
        entries = list(self._engine.spd())
        if not entries:
            self._show(error_reply(message, errno.ENOENT))
        return iter(entries)

    def sa(self, id: SaId) -> SadEntry:
        """Show a GET, and the reply if there is no such SA."""
        message = sa_id_to_message(SadbType.SADB_GET, _source_of(self.statement, id), id)
        self._send_read(message)
        try:
            return self._engine.sa(id)
        except KamexfrmError as error:
            self._show(error_reply(message, error.errno))
            raise

    def spd_entry(
        self, selector: Selector, direction: Direction, label: SecurityContext | None = None
    ) -> SpdEntry:
        """Show an X_SPDGET, which PF_KEY has by id only, and the reply if there is none."""
        message = spidx_to_message(selector, direction, label, SadbType.SADB_X_SPDGET)
        self._send_read(message)
        try:
            return self._engine.spd_entry(selector, direction, label)
        except KamexfrmError as error:
            self._show(error_reply(message, error.errno))
            raise

    def spd_entry_by_id(self, id: int) -> SpdEntry:
        """Show an X_SPDGET, and the reply if there is no policy of this id."""
        message = spd_id_to_message(SadbType.SADB_X_SPDGET, id)
        self._send_read(message)
        try:
            return self._engine.spd_entry_by_id(id)
        except KamexfrmError as error:
            self._show(error_reply(message, error.errno))
            raise

    def _send_read(self, message: SadbMsg) -> None:
        """Show a message that reads; what it finds is shown as replies of its type."""
        self._dump_type = message.type
        self._send(message)


def _echoed(message: SadbMsg) -> _Exchange:
    """Return a message whose reply is its own header."""
    return message, lambda: echo(message)


def _sadb_flags(statement: object) -> int:
    flags: int = getattr(statement, "sadb_flags", CYCSEQ)
    return flags


def _source_of(statement: object, id: SaId) -> Address:
    source: Address = getattr(statement, "source", Address.unspecified(id.destination.family))
    return source
