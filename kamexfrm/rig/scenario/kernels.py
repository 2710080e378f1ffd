"""Which kernel runs a case: this one, this one in a user namespace, a guest; or why none."""

import enum
import os
import shutil
import subprocess
from collections.abc import Sequence

from kamexfrm.rig.namespace import Namespace
from kamexfrm.rig.probe import kernel_has_ah, kernel_has_esp
from kamexfrm.rig.scenario.plan import Case


class Where(enum.Enum):
    """Where cases run."""

    HERE = "host"
    USER = "host, in a user namespace"
    GUEST = "guest"


class Unable(Exception):
    """No kernel can run it; the text is the reason and the cure."""


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


def choose(kernel: str, cases: Sequence[Case]) -> Where:
    """Return where to run cases for --kernel; raises Unable.

    ``auto`` is this kernel for cases without SAs, and where it has ESP and AH; else the guest.
    """
    if kernel not in ("auto", "host"):
        return Where.GUEST
    needs_esp = any(case.needs_esp for case in cases)
    if may_make_namespaces():
        if not needs_esp or (kernel_has_esp() and kernel_has_ah()):
            return Where.HERE
        if kernel == "auto":
            return Where.GUEST
        raise Unable(
            "the running kernel has no ESP or no AH: try `modprobe -a esp4 esp6 ah4 ah6', "
            "or leave out --kernel host"
        )
    # Whether a kernel has ESP can be asked only from inside; the second run asks.
    if "KAMEXFRM_UNSHARED" not in os.environ and may_make_user_namespaces():
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
