"""What a saved file says of the time at which it was written."""

import re

#: Stands before the time, in seconds since the epoch, on a line of its own.
SAVED_AT = "# kamexfrm: saved "
_SAVED = re.compile(rf"^{SAVED_AT}([0-9]{{1,12}})$", re.MULTILINE)

#: Characters at the beginning of a file in which that is looked for.
_HEAD = 4096


def saved_at(text: str) -> int:
    """Return when a file was saved, 0 for one that was not."""
    found = _SAVED.search(text[:_HEAD])
    return int(found[1]) if found else 0
