"""A failed test's report that is a text: with one line for pytest's summary and for JUnit."""

from pathlib import Path

from _pytest._code.code import ReprExceptionInfo, ReprFileLocation, ReprTracebackNative


def failure(summary: str, text: str, path: Path) -> ReprExceptionInfo:
    """Return a ``longrepr`` that shows ``text``, and ``summary`` where there is one line.

    pytest has no public class for this; a plain string would be shown, but its first line would
    be the summary, and nothing at all before pytest 9.
    """
    traceback = ReprTracebackNative([text.rstrip("\n") + "\n"])
    return ReprExceptionInfo(traceback, ReprFileLocation(str(path), 1, summary))
