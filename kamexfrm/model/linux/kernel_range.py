"""Which kernels something holds for: ``>=6.12``, ``<5.14``, ``>=5.15 <6.8``; "" is all."""

import re

_BOUND = re.compile(r"(>=|<)(\d+(?:\.\d+)*)")


def holds_for(kernels: str, release: str) -> bool:
    """Whether a range of kernels has one; raises ValueError for what is no range or no release.

    ``release`` is as uname(1) prints it: 6.12.117+deb13-amd64.
    """
    version = _version(release)
    for word in kernels.split():
        found = _BOUND.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} is no bound of kernel versions, such as >=6.12")
        if (version >= _version(found[2])) is not (found[1] == ">="):
            return False
    return True


def _version(release: str) -> tuple[int, ...]:
    """Return the numbers that a release begins with."""
    found = re.match(r"\d+(?:\.\d+)*", release)
    if found is None:
        raise ValueError(f"{release!r} has no version")
    return tuple(map(int, found[0].split(".")))
