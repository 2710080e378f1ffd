"""``setkey -n``: what can be found out about a script without the kernel of this machine.

The statements that add something are carried out on a kernel in memory, which is empty at first.
What depends on the databases that are there, on variables or on algorithms is not found.
"""

import gc

from kamexfrm.engine.engine import Engine
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.execute import Executor
from kamexfrm.setkey.reporter import Reporter

#: What asks for something that only this machine's kernel has.
_ASKS = (
    s.Update,
    s.Get,
    s.Delete,
    s.DeleteAll,
    s.Dump,
    s.GetSpi,
    s.SpdGet,
    s.SpdGetId,
    s.SpdDelete,
    s.SpdDeleteId,
    s.SpdDump,
)


#: Statements after which the kernel in memory is emptied: an entry takes 1.3 KB there. Entries
#: further apart are not compared.
_MOST = 512


class Checker(Executor):
    """An executor that changes nothing, and says what would be refused."""

    def __init__(self, reporter: Reporter, *, twins: bool) -> None:
        kernel = FakeKernel()
        engine = Engine(kernel)
        super().__init__(engine, engine, reporter, lambda _: True, lambda _: True, twins=twins)
        self._warned = True  # what level default means depends on the variables
        self._count = 0

    def run(self, statement: s.Statement) -> bool:
        """Check one statement; False after ``exit``."""
        if isinstance(statement, _ASKS):
            self._warn_all(getattr(statement, "warnings", ()))
            return True
        self._count += 1
        if self._count % _MOST == 0:
            self.flush()
            self._engine = self._reader = self._requests = Engine(FakeKernel())
            gc.collect()  # setkey switches the collector off, and the old kernel is a cycle
        return super().run(statement)
