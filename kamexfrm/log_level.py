"""How much a program that goes on running logs, and how the journal reads the level of a line.

Floor 1. The levels are syslog's (syslog(3)), of which each line has one. The journal of systemd
takes ``<N>`` before a line for the level (sd-daemon(3)).
"""

import os
from enum import IntEnum

from kamexfrm.command_line import UsageError


class LogLevel(IntEnum):
    """A level by syslog's number: the lower, the graver."""

    ERROR = 3
    WARNING = 4
    INFO = 6
    DEBUG = 7


#: The words of --log-level.
LOG_LEVELS = {level.name.lower(): level for level in LogLevel}


def log_level(word: str) -> LogLevel:
    """Return the level of an option's value; raises UsageError."""
    if word not in LOG_LEVELS:
        raise UsageError(f"no such log level: '{word}': one of {', '.join(LOG_LEVELS)}")
    return LOG_LEVELS[word]


def is_journal(descriptor: int) -> bool:
    """Whether a descriptor leads to the journal: systemd names it in JOURNAL_STREAM."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def for_journal(level: LogLevel, text: str) -> str:
    """Return a text, of one line or more, with the level before each line."""
    return "".join(f"<{int(level)}>{line}\n" for line in text.splitlines())
