"""The files of a system: what --system reads, and ``kamexfrm boot`` puts into force."""

import os

#: The folders of files, as sysctl(8) has them: a file hides those of its name in later folders.
_FOLDERS = (
    "/run/kamexfrm/sysctl.d",
    "/etc/kamexfrm/sysctl.d",
    "/usr/local/lib/kamexfrm/sysctl.d",
    "/usr/lib/kamexfrm/sysctl.d",
)
_ETC = "/etc"
_LAST = "kamexfrm/sysctl.conf"


def system_files(etc: str | None = None) -> list[str]:
    """Return the files that are there, in the order in which they are read: the last one wins.

    They are the ``*.conf`` of all folders by their names, and then sysctl.conf. Another ``etc``
    than the system's has files of its own alone. A folder that cannot be read has none.
    """
    etc = _ETC if etc is None else etc
    folders = _FOLDERS if etc == _ETC else (f"{etc}/kamexfrm/sysctl.d",)
    found: dict[str, str] = {}
    for folder in folders:
        for name in _names(folder):
            found.setdefault(name, f"{folder}/{name}")
    last = f"{etc}/{_LAST}"
    return [found[name] for name in sorted(found)] + ([last] if os.path.exists(last) else [])


def _names(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [name for name in names if name.endswith(".conf") and not name.startswith(".")]
