"""Keys in texts that a report shows: each is replaced by the word KEY."""

import re

#: A key as scripts and ip(8) write it; a number of so many digits is no SPI.
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{10,}")

#: A key in quotes after an algorithm of setkey(8).
_QUOTED = re.compile(r"(-[EAC]\s+[\w-]+\s+)(?:\"[^\"]*\"|'[^']*')")

#: A key as setkey -D shows it, in words of eight digits after its algorithm.
_DUMPED = re.compile(r"(\b[EAC]: \S+ +)[0-9a-f]{8}\b(?: [0-9a-f]{1,8}\b)*")


def cover_keys(text: str) -> str:
    """Return a text with its keys covered."""
    return _DUMPED.sub(r"\1KEY", _QUOTED.sub(r"\1KEY", _HEXADECIMAL.sub("KEY", text)))
