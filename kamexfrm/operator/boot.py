"""``kamexfrm boot``: what the files below /etc say is put into force, at boot and again on reload.

All files of setkey's language are one load: what they delete and add again is replaced in place,
and nothing at all is changed where one of them cannot be read. Where there is a ``lockdown.conf``,
def_policy is 0 before anything else is read, and stays so when the rest fails.
"""

import contextlib
import io
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from kamexfrm.command_line import printable, say
from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import KNOBS, Knob
from kamexfrm.setkey.arguments import Options
from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.hosts import system_resolver
from kamexfrm.setkey.script import all_statements, run_scripts
from kamexfrm.setkey.script_file import Script, read_file
from kamexfrm.setkey.statements import Add
from kamexfrm.sysctl import namespace, settings
from kamexfrm.sysctl.system_files import system_files

SYSCTL, LOCKDOWN = "kamexfrm/sysctl.conf", "kamexfrm/lockdown.conf"

_DEF_POLICY = tuple(knob for knob in KNOBS if knob.field == "def_policy")
_CLOSED = dict.fromkeys(_DEF_POLICY, 0)
_OPEN = dict.fromkeys(_DEF_POLICY, 1)

#: Before the files: policies that none of them adds are deleted, behind all else.
_FLUSH_POLICIES = Script(("spdflush;\n",), "kamexfrm boot")
_FLUSH_ALL = Script(("flush; spdflush;\n",), "kamexfrm boot")


class Files(NamedTuple):
    """The files of a configuration folder, usually /etc, in the order in which they are read.

    ``lockdown`` is the file of exemptions, which is also the first of ``scripts``. ``sysctl`` are
    those of kame-sysctl --system.
    """

    scripts: tuple[str, ...]
    sysctl: tuple[str, ...] = ()
    lockdown: str = ""


def find_files(etc: Path) -> Files:
    """Return the files that are there: setkey's, of ipsec-tools and then of kamexfrm."""
    sysctl, lockdown = etc / SYSCTL, etc / LOCKDOWN
    tools, ours = etc / "ipsec-tools.conf", sorted((etc / "kamexfrm").glob("[!.]*.conf"))
    scripts = [lockdown] if lockdown.exists() else []
    scripts += [tools] if tools.exists() else []
    scripts += sorted((etc / "ipsec-tools.d").glob("[!.]*.conf"))
    scripts += [path for path in ours if path not in (sysctl, lockdown)]
    return Files(
        tuple(map(str, scripts)),
        tuple(system_files(str(etc))),
        str(lockdown) if lockdown.exists() else "",
    )


def check(etc: Path) -> int:
    """Read all files and change nothing; return 0, or 1 where there is an error in one."""
    files = find_files(etc)
    status = 0 if _read_sysctl(files)[1] else 1
    scripts = _read(files.scripts)
    return run_scripts(scripts, _options(), None) | status if scripts is not None else 1


def load(etc: Path) -> int:
    """Put into force what the files say; return 0, or 1 where anything of it failed."""
    files = find_files(etc)
    kernel = NetlinkKernel()
    try:
        return _load(kernel, files)
    finally:
        kernel.close()


def unload(etc: Path, *, is_open: bool = False) -> int:
    """Delete all SAs and policies; with a lockdown keep it closed, unless it is to be open."""
    files = find_files(etc)
    kernel = NetlinkKernel()
    try:
        if is_open:
            status = _write(kernel, _OPEN)
        elif files.lockdown:
            status = _write(kernel, _CLOSED)
        else:
            status = 0
        kept = _read((files.lockdown,)) if files.lockdown and not is_open else []
        if kept is None:
            return 1
        return run_scripts([_FLUSH_ALL, *kept], _options(), kernel) | status
    finally:
        kernel.close()


def _load(kernel: NetlinkKernel, files: Files) -> int:
    status = _close(kernel, files) if files.lockdown else 0
    assignments, is_valid = _read_sysctl(files)
    later: dict[Knob, int] = {}
    if files.lockdown:  # what opens it comes when the files are in force
        later = {k: v for k, v in assignments.items() if k in _CLOSED and v}
    status |= _write(kernel, {k: v for k, v in assignments.items() if k not in later})
    status |= int(not is_valid)
    scripts = _read(files.scripts)
    if scripts is None:
        return 1
    if scripts:
        status |= run_scripts([_flush_for(scripts), *scripts], _options(), kernel)
    if status == 0:
        names = ", ".join(map(printable, files.scripts))
        sys.stdout.write(f"loaded {names}\n" if names else "there are no files to load\n")
    return status or _write(kernel, later)


def _close(kernel: NetlinkKernel, files: Files) -> int:
    """Discard what no policy lets pass, but for the exemptions; return the status."""
    knobs = Engine(kernel).knobs()
    if all(knobs.value(knob) == 0 for knob in _DEF_POLICY):
        return 0
    exemptions = _read((files.lockdown,))
    if exemptions:
        # The load has them again, and says what is wrong with them; some may be there already.
        with contextlib.redirect_stderr(io.StringIO()):
            run_scripts(exemptions, Options(mode="f"), kernel)
    return _write(kernel, _CLOSED)


def _write(kernel: Kernel, assignments: settings.Assignments) -> int:
    if not assignments:
        return 0
    rejected, _ = namespace.write(kernel, assignments)
    for knob, error in rejected.items():
        say(f"kamexfrm boot: {knob.name}: {error}\n")
    return int(bool(rejected))


def _read_sysctl(files: Files) -> tuple[settings.Assignments, bool]:
    """Return what the files of variables assign, and whether all of it could be read."""
    assignments: settings.Assignments = {}
    is_valid = True
    for name in files.sysctl:
        try:
            for place, text in settings.lines_of(name):
                try:
                    knob, value = settings.read_assignment(text)
                except KamexfrmError as error:
                    is_valid = False
                    say(f"kamexfrm boot: {place}: {error}\n")
                else:
                    assignments[knob] = value
        except KamexfrmError as error:
            is_valid = False
            say(f"kamexfrm boot: {error}\n")
    return assignments, is_valid


def _read(names: Sequence[str]) -> list[Script] | None:
    """Return the scripts, or None where one cannot be opened."""
    try:
        return [read_file(name) for name in names]
    except OSError as error:
        say(f"kamexfrm boot: cannot open {printable(error.filename)}: {error.strerror}\n")
        return None


def _flush_for(scripts: Sequence[Script]) -> Script:
    """Return what deletes what no file adds: SAs only where the files have SAs, not an IKE's."""
    try:
        statements = all_statements(scripts, cache(system_resolver))
        has_sas = any(isinstance(statement, Add) for statement in statements)
    except ScriptError:  # which the load reports
        return _FLUSH_POLICIES
    return _FLUSH_ALL if has_sas else _FLUSH_POLICIES


def _options() -> Options:
    sys.stdout.flush()
    return Options(mode="f", strict=True)
