"""setkey -v and -H: what setkey says to the engine and hears, shown as PF_KEY messages.

An engine that shows each request as the message that a PF_KEY socket would carry, carries it out at
once, and shows the reply: what is there now or was there before, or the errno.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import (
    Rejected,
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
)
from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.interface import Kernel
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
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.execute import Executor
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

#: What stands for a request: the message, and how to get the reply once it is carried out.
_Exchange = tuple[SadbMsg, Callable[[], SadbMsg]]


class TracingEngine(Engine):
    """An engine that writes each message and its replies to ``out``.

    ``texts`` (-v) shows all as text, ``hexdump`` (-H) those that are sent as bytes too.
    ``statement`` is the one that setkey is at: it knows what the engine need not know, such as the
    source address in ``get``.
    """

    def __init__(
        self, kernel: Kernel, out: TextIO, *, texts: bool = True, hexdump: bool = False
    ) -> None:
        super().__init__(kernel)
        self._texts = texts
        self._hexdump = hexdump
        self.statement: object = None
        self._out = out
        self._pid = os.getpid()
        self._asked = SadbType.SADB_DUMP
        self._quiet = False

    def _show(self, message: SadbMsg, seq: int = 0) -> None:
        """Show a message that is received."""
        if self._texts and not self._quiet:
            self._out.write(format_message(stamped(message, seq=seq, pid=self._pid)) + "\n")

    def _send(self, message: SadbMsg) -> None:
        """Show a message that is sent."""
        self._show(message)
        if self._hexdump and not self._quiet:
            self._out.write(format_hexdump(stamped(message, pid=self._pid)))

    # Writes

    def submit(self, request: Write) -> None:
        """Show a write, make it at once, show what came of it."""
        exchanges = self._exchanges(request)
        if not exchanges:
            super().submit(request)
            return
        self._send(exchanges[0][0])
        refused: list[Rejected] = []
        hear, self.on_refusal = self.on_refusal, refused.append
        try:
            super().submit(request)
            self.flush()
        finally:
            self.on_refusal = hear
        for one in refused:
            self._show(error_reply(exchanges[0][0], one.error.errno))
            with self._silence():  # who explains a refusal looks around
                hear(one)
        if refused:
            return
        for at, (message, reply) in enumerate(exchanges):
            if at:
                self._send(message)
            self._answer(message, reply)

    def _answer(self, message: SadbMsg, reply: Callable[[], SadbMsg]) -> None:
        try:
            answer = reply()
        except KamexfrmError as error:
            answer = error_reply(message, error.errno)
        self._show(answer)

    def _exchanges(self, request: Write) -> list[_Exchange]:
        """Return the messages that make up a request; deletes look at what is there before."""
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
            case SetKnob():
                return []

    def _sa_add(self, request: SaAdd) -> _Exchange:
        association = request.association
        type = SadbType.SADB_UPDATE if request.replace else SadbType.SADB_ADD
        message = sa_to_message(association, type, sadb_flags=_sadb_flags(request.cookie))
        return message, lambda: sad_entry_to_message(
            super(TracingEngine, self).sa(association.id), type
        )

    def _sa_delete(self, request: SaDelete) -> _Exchange:
        message = sa_id_to_message(
            SadbType.SADB_DELETE, _source_of(request.cookie, request.id), request.id
        )
        try:
            before = super().sa(request.id)
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
                self._entry(policy.selector, policy.direction, policy.label), type
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
            entry = self._entry(request.selector, direction, request.label)
            before = spd_entry_to_message(entry, message.type)
        except KamexfrmError as error:
            before = error_reply(message, error.errno)
        return message, lambda: before

    def get_spi(self, association: SecurityAssociation, low: int = 0, high: int = 0) -> int:
        """Show a GETSPI and the larval SA that comes of it."""
        asked = SadbType.SADB_GETSPI
        message = sa_to_message(association, asked, sadb_flags=_sadb_flags(self.statement))
        self._send(message)
        try:
            spi = super().get_spi(association, low, high)
        except KamexfrmError as error:
            self._show(error_reply(message, error.errno))
            raise
        name = SaId(association.destination, association.protocol, spi)
        self._answer(
            message, lambda: sad_entry_to_message(super(TracingEngine, self).sa(name), asked)
        )
        return spi

    # Reads. What was found is shown by announce(), each before setkey prints it.

    def announce(self, entry: SadEntry | SpdEntry, number: int) -> None:
        """Show the message that an entry of a dump comes in; ``number`` is its place there."""
        if isinstance(entry, SadEntry):
            self._show(sad_entry_to_message(entry, self._asked), number)
        else:
            self._show(spd_entry_to_message(entry, self._asked), number)

    def sad(self, protocol: IpsecProtocol | None = None) -> Iterator[SadEntry]:
        """Show a DUMP, and the reply if there is nothing to dump."""
        message = dump(protocol)
        self._ask(message)
        entries = list(super().sad(protocol))
        if not entries:
            self._show(error_reply(message, errno.ENOENT))
        return iter(entries)

    def spd(self) -> Iterator[SpdEntry]:
        """Show an X_SPDDUMP, and the reply if there is nothing to dump."""
        message = spd_dump()
        self._ask(message)
        entries = list(super().spd())
        if not entries:
            self._show(error_reply(message, errno.ENOENT))
        return iter(entries)

    def sa(self, id: SaId) -> SadEntry:
        """Show a GET, and the reply if there is no such SA."""
        message = sa_id_to_message(SadbType.SADB_GET, _source_of(self.statement, id), id)
        self._ask(message)
        try:
            return super().sa(id)
        except KamexfrmError as error:
            self._show(error_reply(message, error.errno))
            raise

    def spd_entry(
        self, selector: Selector, direction: Direction, label: SecurityContext | None = None
    ) -> SpdEntry:
        """Show an X_SPDGET, which PF_KEY has by id only, and the reply if there is none."""
        message = spidx_to_message(selector, direction, label, SadbType.SADB_X_SPDGET)
        self._ask(message)
        try:
            return self._entry(selector, direction, label)
        except KamexfrmError as error:
            self._show(error_reply(message, error.errno))
            raise

    def _ask(self, message: SadbMsg) -> None:
        if not self._quiet:
            self._asked = message.type
            self._send(message)

    def _entry(
        self, selector: Selector, direction: Direction, label: SecurityContext | None = None
    ) -> SpdEntry:
        """Return a policy without a word."""
        with self._silence():
            return super().spd_entry(selector, direction, label)

    @contextmanager
    def _silence(self) -> Iterator[None]:
        """Show nothing within."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before


class VerboseExecutor(Executor):
    """Carries out statements, each shown with what came of it before the next is begun."""

    def run(self, statement: s.Statement) -> bool:
        """Carry out one statement; False after ``exit``."""
        if isinstance(self.engine, TracingEngine):
            self.engine.statement = statement
        return super().run(statement)


def _echoed(message: SadbMsg) -> _Exchange:
    """Return a message whose reply is its own header."""
    return message, lambda: echo(message)


def _sadb_flags(statement: object) -> int:
    flags: int = getattr(statement, "sadb_flags", CYCSEQ)
    return flags


def _source_of(statement: object, id: SaId) -> Address:
    source: Address = getattr(statement, "source", Address.unspecified(id.destination.family))
    return source
