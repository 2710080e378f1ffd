"""The files that ``kamexfrm rig run`` writes of a run as a whole."""

import errno
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kamexfrm.cli.rig_cases import fail, usage
from kamexfrm.errors import KamexfrmError

if TYPE_CHECKING:
    from kamexfrm.rig.scenario.plan import Case
    from kamexfrm.rig.scenario.result import RunResult


def check(*files: Path | None) -> None:
    """Leave with a message if a file cannot be written, before anything is run for it."""
    for file in filter(None, files):
        try:
            _try(file)
        except OSError as error:
            usage(f"{file}: {error.strerror}")


def _try(file: Path) -> None:
    """Raise the OSError that writing a file would raise; nothing is left or changed."""
    real = Path(os.path.realpath(file))
    if real.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if real.exists() and not stat.S_ISREG(real.stat().st_mode):
        return
    with tempfile.TemporaryFile(dir=real.parent):
        pass


def rest(report: Path | None, scenario: str) -> str:
    """Return where the state of the hosts at a failure is found."""
    scenario = "FILE" if scenario == "-" else scenario
    where = f"in {report}" if report else "in what --report FILE writes, or -v shows"
    return (
        f"packets, SAs, policies and counters are {where}; kamexfrm rig up {scenario} keeps the "
        "hosts, for kamexfrm rig dump"
    )


def write(
    run: "RunResult",
    *,
    html: Path | None = None,
    report: Path | None = None,
    record: Path | None = None,
) -> None:
    """Write a run as a page and as a text, or for these as a record, outside a guest."""
    from kamexfrm.operator.saving import write_whole
    from kamexfrm.rig.scenario.page.document import page
    from kamexfrm.rig.scenario.report import record as records
    from kamexfrm.rig.scenario.report.transcript import run_text

    try:
        if record:
            write_whole(str(record), [records.dumps(run)], 0o600)
            return
        if html:
            write_whole(str(html), [page(run)], 0o644)
        if report:
            write_whole(str(report), [run_text(run).rstrip("\n")], 0o644)
    except KamexfrmError as error:
        fail(error)


def read(file: Path, cases: "Sequence[Case]") -> "RunResult":
    """Read the record that a guest has left of these cases; leave with a message without one."""
    from kamexfrm.rig.scenario.report import record as records

    try:
        if file.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return records.loads(file.read_text(encoding="utf-8"), cases)
    except OSError as error:
        fail(KamexfrmError(f"no record of the run came out of the guest: {error.strerror}"))
    except records.RecordError as error:
        fail(error)
