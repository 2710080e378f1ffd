"""The kernel's own AF_KEY, for the tests that compare with it: a module that comes and goes."""

import subprocess

import pytest

from kamexfrm.rig import until


def load() -> None:
    """Have the kernel speak PF_KEY itself; a kernel that cannot has nothing to compare with."""
    if subprocess.run(["modprobe", "af_key"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel has no AF_KEY to compare with")


def unload() -> None:
    """Have it no longer do so, as soon as the last socket is closed."""
    until(_is_unloaded, what="the end of all uses of af_key")


def _is_unloaded() -> bool:
    done = subprocess.run(["modprobe", "-r", "af_key"], capture_output=True, check=False)
    return done.returncode == 0
