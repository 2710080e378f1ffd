"""Choosing the kernel of a run: this one, this one in a user namespace, or a guest."""

import enum
import errno
import os
import shutil
import subprocess
from collections.abc import Sequence

from kamexfrm.errors import KamexfrmError
from kamexfrm.rig import guest_debian
from kamexfrm.rig.namespace import Namespace
from kamexfrm.rig.probe import ABILITIES
from kamexfrm.rig.scenario.plan import Case


class Where(enum.Enum):
    """Where cases run."""

    HERE = "host"
    USER = "host, in a user namespace"
    GUEST = "guest"


class Unable(KamexfrmError):
    """No kernel can run the cases; the text is the reason and the cure."""

    errno = errno.EOPNOTSUPP


def may_make_namespaces() -> bool:
    """Whether this process may make network namespaces."""
    try:
        Namespace().close()
    except OSError:
        return False
    return True


def may_make_user_namespaces() -> bool:
    """Whether unshare(1) gives this user a namespace of its own to be root in."""
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", "true"],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return done.returncode == 0


#: What to type where the running kernel lacks something.
_CURES = {
    "ESP": "modprobe -a esp4 esp6",
    "AH": "modprobe -a ah4 ah6",
    "netem": "modprobe sch_netem",
    "NAT": "modprobe -a sch_ingress cls_matchall act_ct",
    "bridges": "modprobe bridge",
    "XFRM interfaces": "modprobe xfrm_interface",
}


def guest_kernel(kernel: str) -> str | None:
    """Return the guest's kernel for --kernel, with an absolute path; None for the usual one."""
    if kernel in ("auto", "host", "guest"):
        return None
    return kernel if guest_debian.is_named(kernel) else os.path.abspath(kernel)


def lacking(cases: Sequence[Case]) -> list[str]:
    """Return what cases need and the running kernel lacks."""
    wanted = dict.fromkeys(need for case in cases for need in case.needs)
    return [need for need in wanted if not ABILITIES[need]()]


def choose(kernel: str, cases: Sequence[Case]) -> Where:
    """Return where to run cases for --kernel; raises Unable.

    ``auto`` is this kernel where it has all that the cases need; else the guest.
    """
    if kernel not in ("auto", "host"):
        return Where.GUEST
    if may_make_namespaces():
        missing = lacking(cases)
        if not missing:
            return Where.HERE
        if kernel == "auto":
            return Where.GUEST
        cures = "; ".join(_CURES[need] for need in missing)
        raise Unable(
            f"this kernel has no {', no '.join(missing)}: try `{cures}', or leave out --kernel host"
        )
    # Only the run inside can check the kernel's abilities.
    if "KAMEXFRM_UNSHARED" not in os.environ and may_make_user_namespaces():
        needs_esp = any(case.needs_esp for case in cases)
        if kernel == "host" or not needs_esp or _loaded("esp4"):
            return Where.USER
        return Where.GUEST
    if kernel == "auto":
        return Where.GUEST
    raise Unable(
        "not allowed to make network namespaces: be root, or allow user namespaces "
        "(sysctl kernel.unprivileged_userns_clone=1, and no AppArmor restriction)"
    )


def _loaded(module: str) -> bool:
    """Whether the running kernel has a module loaded or built in: users cannot load it."""
    return os.path.isdir(f"/sys/module/{module}")
