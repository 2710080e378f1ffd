"""Findings about what is rejected: the statements are carried out on a kernel in memory."""

from collections.abc import Iterable, Iterator

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import Place
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.operator.check.codes import Finding
from kamexfrm.operator.check.reading import Configuration
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.execute import Executor
from kamexfrm.setkey.reporter import Reporter

#: Statements that change nothing for good, or delete what a first load does not have.
_PASSED_OVER = (
    s.Get,
    s.GetSpi,
    s.Dump,
    s.SpdGet,
    s.SpdDump,
    s.Delete,
    s.DeleteAll,
    s.SpdDelete,
)


class _Collector(Reporter):
    """Keeps what is rejected."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.rejections = 0

    def rejected(self, place: Place, end_line: int, text: str, details: Iterable[str] = ()) -> None:
        notes = list(details)
        message = ": ".join((text, *notes[:1]))
        cure = "; ".join(notes[1:]) or "setkey -f rejects this: change it or take it out"
        self.findings.append(Finding("KX002", place, end_line, message, cure))

    def warning(self, place: Place, text: str, token: str) -> None:
        """Pass over a warning."""

    def remark(self, place: Place, text: str) -> None:
        """Pass over a remark."""

    def empty(self, place: Place, end_line: int, text: str) -> None:
        """Pass over an empty dump."""


def rejections(configuration: Configuration) -> Iterator[Finding]:
    """Yield the statements that are rejected in an empty namespace."""
    collector = _Collector()
    kernel = FakeKernel()
    executor = Executor(Engine(kernel), Engine(kernel), collector, lambda _: True, lambda _: True)
    for statement in configuration.statements():
        if isinstance(statement, s.Delete | s.DeleteAll | s.SpdDelete):
            _delete(executor, statement, collector)
        elif not isinstance(statement, _PASSED_OVER):
            executor.run(statement)
    executor.flush()
    yield from collector.findings


def _delete(
    executor: Executor, statement: s.Delete | s.DeleteAll | s.SpdDelete, collector: _Collector
) -> None:
    """Carry out a deletion; that there is nothing to delete is no finding."""
    executor.flush()
    before = len(collector.findings)
    executor.run(statement)
    executor.flush()
    del collector.findings[before:]
