"""Carries out statements: they become engine requests, and replies become output."""

from __future__ import annotations

import errno
from functools import lru_cache

from kamexfrm.engine.requests import (
    MAX_ACTING,
    MAX_REQUESTS,
    IncompleteWrite,
    Rejected,
    SaAdd,
    SaAddRun,
    SaDelete,
    SaDeleteAll,
    SaFlush,
    SpdAdd,
    SpdAddRun,
    SpdDelete,
    SpdDeleteId,
    SpdFlush,
    Write,
    WriteRun,
    Written,
)
from kamexfrm.errors import KamexfrmError, Place, UnsupportedError
from kamexfrm.model.knobs import Knobs, effective_level
from kamexfrm.model.policy import (
    IpsecProtocol,
    IpsecRequest,
    Level,
    PolicyType,
    SecurityPolicy,
)
from kamexfrm.pfkey.saflags import SADB_X_EXT_PRAND, SADB_X_EXT_PZERO, SADB_X_EXT_RAWCPI
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.plain_lines import Lines, PolicyLines
from kamexfrm.setkey.reporter import Reporter

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from kamexfrm.engine.engine import Engine
    from kamexfrm.engine.load import LoadPlan
    from kamexfrm.model.association import SadEntry
    from kamexfrm.model.policy import SpdEntry
    from kamexfrm.setkey.verbose import Tracer
    from kamexfrm.translate.xfrm.sa_lookup import Unserved

    #: A request, or many.
    W = TypeVar("W", bound=Write | WriteRun)


@lru_cache(maxsize=1024)
def _defaults(requests: tuple[IpsecRequest, ...]) -> tuple[IpsecRequest, ...]:
    """Return the requests whose level a knob decides."""
    return tuple(
        r for r in requests if r.level is Level.DEFAULT and r.protocol is not IpsecProtocol.IPCOMP
    )


class Executor:
    """Carries out statements; ``twins`` is setkey's -r, without it -k.

    ``engine`` writes and reads, through the ``tracer`` if there is one. ``reader`` is another
    engine, with nothing queued: it reads for the explanation of an error while writes may wait.
    ``dump_sad`` and ``dump_spd`` print entries, and return whether there was one.
    ``lock_holder`` is the process that kept the namespace's lock from us, empty for none, and
    ``unserved`` what was found of policies that leave some of their hosts without an SA.
    """

    def __init__(
        self,
        engine: Engine,
        reader: Engine,
        reporter: Reporter,
        dump_sad: Callable[[Iterable[SadEntry]], bool],
        dump_spd: Callable[[Iterable[SpdEntry]], bool],
        *,
        tracer: Tracer | None = None,
        twins: bool = True,
    ) -> None:
        self.lock_holder = ""
        self.unserved: dict[object, Unserved] = {}
        self._engine = engine
        self._reader = reader
        self._tracer = tracer
        self._requests: Engine | Tracer = tracer or engine
        self._report = reporter
        self._dump_sad = dump_sad
        self._dump_spd = dump_spd
        self._twins = twins
        self._warned = False
        self._knobs: Knobs | None = None
        self._is_load = False

    def begin_load(self, plan: LoadPlan) -> None:
        """Begin a load, which flush() ends: what is deleted and comes again is replaced."""
        self._engine.begin_load(plan)
        self._is_load = True

    def flush(self, *, reconcile: bool = True) -> None:
        """Write what is queued, end a load, and report what was rejected; see Engine.flush()."""
        is_load, self._is_load = self._is_load, False
        try:
            if is_load:
                self._take(self._engine.end_load())
            else:
                self._take(self._engine.try_flush(reconcile=reconcile))
        except IncompleteWrite as error:
            self._report_rejected(error.rejected)
            raise

    def _write(self) -> None:
        """Write what is queued, within a load if there is one."""
        is_load, self._is_load = self._is_load, False
        try:
            self.flush()
        finally:
            self._is_load = is_load

    def _submit(self, request: Write) -> None:
        self._attempt(self._requests.try_submit, request)

    def _attempt(self, submit: Callable[[W], Written | None], request: W) -> None:
        try:
            if written := submit(request):
                self._take(written)
        except IncompleteWrite as error:
            self._report_rejected(error.rejected)
            raise

    def _take(self, written: Written) -> None:
        self._report_rejected(written.rejected)
        self.lock_holder = written.lock_holder or self.lock_holder
        if written.unserved:
            self.unserved.update({(one.protocol, one.selector): one for one in written.unserved})

    def _report_rejected(self, rejected: tuple[Rejected, ...]) -> None:
        if not rejected:
            return
        from kamexfrm.setkey.error_hints import explain, text_of

        for request, error in rejected:
            statement = request.cookie
            text = text_of(error, policy=isinstance(request, SpdAdd | SpdDelete | SpdFlush))
            place: Place = getattr(statement, "place", Place("-", 0))
            end_line: int = getattr(statement, "end_line", 0)
            self._report.rejected(place, end_line, text, explain(self._reader, request, error))

    def _reject(self, statement: s.Statement, error: KamexfrmError) -> None:
        """Report a statement that did not get as far as the engine."""
        from kamexfrm.setkey.error_hints import reason_of, text_of

        self._write()  # earlier errors come first
        policy = isinstance(statement, s.SpdGet | s.SpdGetId | s.SpdDump | s.Tagged)
        text = text_of(error, policy=policy)
        self._report.rejected(statement.place, statement.end_line, text, reason_of(error))

    def run(self, statement: s.Statement) -> bool:
        """Carry out one statement; False after ``exit``."""
        if self._tracer:
            self._tracer.statement = statement
        match statement:
            case s.SpdAdd() | s.SpdUpdate():
                self._spd_add(statement)
            case s.Add() | s.Update():
                self._add(statement)
            case s.SpdDelete():
                self._submit(
                    SpdDelete(
                        statement.selector,
                        statement.direction,
                        self._twins,
                        statement,
                        statement.label,
                        all_fwd=True,
                    )
                )
            case s.SpdDeleteId():
                self._submit(SpdDeleteId(statement.id, statement, all_fwd=self._twins))
            case s.SpdFlush():
                self._submit(SpdFlush(statement))
            case s.Delete():
                self._warn_all(statement.warnings)
                if statement.id is None:
                    self._reject(statement, _no_protocol(statement.word))
                else:
                    self._submit(SaDelete(statement.id, statement))
            case s.Flush():
                for protocol in _one_or_all(statement.protocols):
                    self._submit(SaFlush(protocol, statement))
            case s.DeleteAll():
                self._delete_all(statement)
            case s.Exit():
                return False
            case _:
                self._read(statement)
        return True

    def run_lines(self, lines: Lines) -> None:
        """Carry out many statements, at once where nothing is to be said of one of them."""
        if self._tracer:
            for statement in lines.statements():
                self.run(statement)
        elif isinstance(lines, PolicyLines):
            self._run_policies(lines)
        else:
            self._attempt(self._engine.try_submit_run, SaAddRun(lines.run, lines.statement))

    def _run_policies(self, lines: PolicyLines) -> None:
        groups = lines.run.groups
        warned = [] if self._warned else [g.at[0] for g in groups if self._uses_default(g.first)]
        if 0 in warned:
            self._warn_default(lines.statement(0), lines.run.policy(0))
            warned.clear()
        if warned or any(len(g.first.requests) > MAX_ACTING for g in groups):
            for statement in lines.statements():
                self.run(statement)
            return
        request = SpdAddRun(lines.run, self._twins, lines.statement)
        self._attempt(self._engine.try_submit_run, request)

    def _read(
        self,
        statement: s.Get | s.Dump | s.SpdGet | s.SpdGetId | s.SpdDump | s.GetSpi | s.Tagged,
    ) -> None:
        """Carry out a statement that reads the databases: earlier writes are flushed first."""
        try:
            match statement:
                case s.Get():
                    self._get(statement)
                case s.Dump():
                    self._dump(statement)
                case s.SpdGet():
                    self.flush()
                    entry = self._requests.spd_entry(
                        statement.selector, statement.direction, statement.label
                    )
                    self._dump_spd([entry])
                case s.SpdGetId():
                    self.flush()
                    self._dump_spd([self._requests.spd_entry_by_id(statement.id)])
                case s.SpdDump():
                    self.flush()
                    if not self._dump_spd(self._requests.spd()):
                        self._report.empty(statement.place, statement.end_line, "No SPD entries")
                case s.GetSpi():
                    self._get_spi(statement)
                case s.Tagged():
                    raise UnsupportedError("Linux has no packet tags of PF", errno=errno.EINVAL)
                case _:
                    from typing import assert_never

                    assert_never(statement)
        except KamexfrmError as error:
            self._reject(statement, error)

    def _warn_all(self, warnings: Sequence[s.LanguageWarning]) -> None:
        for text, token, place in warnings:
            self._report.warning(place, text, token)

    def _spd_add(self, statement: s.SpdAdd | s.SpdUpdate) -> None:
        policy = statement.policy
        self._warn_all(statement.warnings)
        if not self._warned and policy.type is PolicyType.IPSEC:
            self._warn_default(statement, policy)
        if statement.interface:
            self._report.remark(
                statement.place, "Linux offloads SAs, and needs no -hwif of their policies"
            )
        if MAX_ACTING < len(policy.requests) <= MAX_REQUESTS:
            self._report.remark(
                statement.place,
                f"Linux drops every packet that meets a policy of over {MAX_ACTING} requests",
            )
        replace = type(statement) is s.SpdUpdate
        self._submit(SpdAdd(policy, self._twins, replace, statement))

    def _warn_default(self, statement: s.SpdAdd | s.SpdUpdate, policy: SecurityPolicy) -> None:
        request = self._uses_default(policy)
        if request is None:
            return
        self._warned = True
        self._write()  # earlier errors come first
        self._report.remark(
            statement.place,
            f"level default of {request.protocol.name.lower()} means use here: without an "
            "SA packets pass in clear (kame-sysctl(8) changes that)",
        )

    def _uses_default(self, policy: SecurityPolicy) -> IpsecRequest | None:
        """Return the first request of level default that means use."""
        defaults = _defaults(policy.requests) if policy.type is PolicyType.IPSEC else ()
        if not defaults:
            return None
        if self._knobs is None:
            self._write()
            self._knobs = self._engine.knobs()
        family, knobs = policy.selector.family, self._knobs
        found = (r for r in defaults if effective_level(r, family, knobs) is Level.USE)
        return next(found, None)

    def _add(self, statement: s.Add | s.Update) -> None:
        self._warn_all(statement.warnings)
        if statement.refusal:
            why, token, place = statement.refusal
            self._write()  # earlier errors come first
            self._report.rejected(place, place.line, f"Not supported at `{token}'", (why,))
            return
        if not statement.associations:
            self._reject(statement, _no_protocol(statement.word))
            return
        for remark in _without_effect(statement):
            self._report.remark(statement.place, remark)
        replace = type(statement) is s.Update
        from kamexfrm.setkey.sa_options import with_offload_direction

        for association in statement.associations:
            self._submit(SaAdd(with_offload_direction(association), replace, statement))

    def _delete_all(self, statement: s.DeleteAll) -> None:
        for source, destination in statement.pairs:
            for protocol in _one_or_all(statement.protocols):
                self._submit(SaDeleteAll(source, destination, protocol, statement))

    def _get(self, statement: s.Get) -> None:
        self._warn_all(statement.warnings)
        if not statement.ids:
            raise _no_protocol(statement.word)
        for id in statement.ids:
            self.flush()
            self._dump_sad([self._requests.sa(id)])

    def _get_spi(self, statement: s.GetSpi) -> None:
        self._warn_all(statement.warnings)
        if not statement.associations:
            raise _no_protocol(statement.word)
        for association in statement.associations:
            self.flush(reconcile=False)
            self._requests.get_spi(association)

    def _dump(self, statement: s.Dump) -> None:
        entries: list[SadEntry] = []
        for protocol in _one_or_all(statement.protocols):
            self.flush()
            entries += self._requests.sad(protocol)
        if not self._dump_sad(entries):
            self._report.empty(statement.place, statement.end_line, "No SAD entries")


def _one_or_all(protocols: tuple[IpsecProtocol, ...]) -> tuple[IpsecProtocol | None, ...]:
    """Return the protocols of the engine's requests: None is all at once."""
    return (None,) if protocols == s.ALL_PROTOCOLS else protocols


def _without_effect(statement: s.Add | s.Update) -> list[str]:
    """Return warnings about parts of an ``add`` that Linux lacks; the SA is made without them."""
    remarks = []
    if statement.word in ("esp-old", "ah-old"):
        new = statement.word[:-4]
        remarks.append(f"Linux has no {statement.word}: the SA is made as {new}")
    if statement.sadb_flags & (SADB_X_EXT_PRAND | SADB_X_EXT_PZERO):
        remarks.append("Linux always pads with 1, 2, 3 and so on")
    if statement.sadb_flags & SADB_X_EXT_RAWCPI:
        remarks.append("Linux looks IPComp up by its CPI, -R or not")
    if statement.natt_mtu:
        remarks.append("Linux takes no -natt_mtu: fragments are as large as the path allows")
    return remarks


def _no_protocol(word: str) -> KamexfrmError:
    text = (
        "Linux XFRM has no TCP-MD5: the daemon sets the password itself (TCP_MD5SIG, tcp(7))"
        if word
        else "esp, ah or ipcomp is missing"
    )
    return KamexfrmError(text, errno=errno.EPROTONOSUPPORT)
