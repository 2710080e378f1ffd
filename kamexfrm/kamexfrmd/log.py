"""kamexfrmd's log: sentences on standard error, which may be the journal."""

from kamexfrm.command_line import say
from kamexfrm.log_level import LogLevel, for_journal, is_journal

_STDERR = 2


class Log:
    """Writes the sentences of a level and of those that are graver."""

    def __init__(self, level: LogLevel) -> None:
        self._level = level
        self._to_journal = is_journal(_STDERR)  # which knows the program's name

    def _write(self, level: LogLevel, text: str) -> None:
        if level <= self._level:
            say(for_journal(level, text) if self._to_journal else f"kamexfrmd: {text}\n")

    def error(self, text: str) -> None:
        """Say why the daemon ends."""
        self._write(LogLevel.ERROR, text)

    def warning(self, text: str) -> None:
        """Say what went wrong, or what another program did, and the daemon goes on."""
        self._write(LogLevel.WARNING, text)

    def info(self, text: str) -> None:
        """Say what the daemon does from now on."""
        self._write(LogLevel.INFO, text)

    def debug(self, text: str) -> None:
        """Say what it does each time."""
        self._write(LogLevel.DEBUG, text)
