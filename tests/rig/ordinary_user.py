"""What tests need that become an ordinary user: whether they may, and an interpreter."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"

#: What ``kamexfrm rig`` imports, of others.
_NEEDED = ("click", "rich", "pyroute2", "pygments", "markdown_it", "mdurl")


def may_become_nobody() -> bool:
    """Whether we are root of all users, not of a user namespace with one."""
    everybody = "4294967295"
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split()[2] == everybody


def is_for_everybody(program: Path) -> bool:
    """Whether all users may reach a program: an interpreter below /root is root's alone."""
    parents = {*program.absolute().parents, *program.resolve().parents}
    return program.exists() and all(folder.stat().st_mode & 0o001 for folder in parents)


def interpreter_for_everybody() -> str:
    """Return ours, or the system's where ours stands where no ordinary user may reach it."""
    return next(one for one in (sys.executable, SYSTEM_PYTHON) if is_for_everybody(Path(one)))


def modules_for_everybody(folder: Path) -> str:
    """Return a PYTHONPATH that all users may read: ours, or where it is not, copies in a folder."""
    packages = Path(sysconfig.get_path("purelib"))
    if is_for_everybody(ROOT / "kamexfrm" / "__init__.py") and is_for_everybody(packages):
        return f"{ROOT}:{packages}"
    shutil.copytree(ROOT / "kamexfrm", folder / "kamexfrm")
    for name in _NEEDED:
        shutil.copytree(packages / name, folder / name)
    return str(folder)
