"""The supervisor's log: levels, and lines as systemd's journal reads them."""

import os
import re
from pathlib import Path

import pytest

from kamexfrm.command_line import UsageError
from kamexfrm.exec.arguments import read_options
from kamexfrm.exec.log import Log
from kamexfrm.log_level import LogLevel


def written(path: Path, level: LogLevel) -> list[str]:
    """Return what a log to a file has after a line of each level, of two lines the first."""
    log = Log(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), level)
    log.write("a fault\nof ours", LogLevel.ERROR)
    log.warning("refused")
    log.write("served")
    log.close()
    return path.read_text().splitlines()


def test_a_level_takes_what_is_graver(tmp_path: Path) -> None:
    lines = written(tmp_path / "log", LogLevel.WARNING)
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == [
        "kamexfrm exec: a fault",
        "of ours",
        "kamexfrm exec: refused",
    ]


def test_each_line_to_the_journal_begins_with_its_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    path.touch()
    found = path.stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert written(path, LogLevel.INFO) == [
        "<3>kamexfrm exec: a fault",
        "<3>of ours",
        "<4>kamexfrm exec: refused",
        "<6>kamexfrm exec: served",
    ]


def test_a_level_alone_logs_to_standard_error() -> None:
    options = read_options(["--log-level", "warning", "true"])
    assert (options.level, options.verbose, options.log) == (LogLevel.WARNING, True, "")
    with pytest.raises(UsageError, match="no such log level: 'loud'"):
        read_options(["--log-level=loud", "true"])
