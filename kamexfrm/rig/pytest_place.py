"""Where a test runs: in this process, in a user namespace of its own, or in a guest.

A test that needs something of the kernel says so by its marker, by its fixtures, or, where it is
a case of a scenario, by what the scenario has. It runs in the first place that has all of it.
"""

import enum
import functools
import subprocess

import pytest

from kamexfrm.rig import python
from kamexfrm.rig.probe import ABILITIES
from kamexfrm.rig.pytest_scenario import ScenarioItem
from kamexfrm.rig.scenario.stage.kernels import may_make_namespaces, may_make_user_namespaces

#: The ini option that says what the fixtures need which make hosts; its values.
RIG_NEEDS = "rig_needs"
NEEDS_ESP, NEEDS_NAMESPACES = "esp", "namespaces"

#: Fixtures that make network namespaces; those of the first line are for traffic as well.
_HOSTS = frozenset({"rig", "two_hosts", "gateways"})
_NAMESPACES = _HOSTS | {"namespace"}

_IPSEC = ("ESP", "AH")


class Place(enum.Enum):
    """Where a test runs, by the name that its reports have for it."""

    HERE = "here"
    USER = "the user namespace"
    GUEST = "the guest"


#: Makes one of an ordinary user root of namespaces of its own.
UNSHARE = ("unshare", "--map-root-user", "--net")


def place_of(item: pytest.Item) -> Place:
    """Return where a test runs."""
    if item.config.option.all_in_guest:
        return Place.GUEST
    kernel = kernel_of(item)
    if kernel == "guest":
        return Place.GUEST
    if kernel == "host":
        may_not = not may_make_namespaces() and may_make_user_namespaces()
        return Place.USER if may_not else Place.HERE
    needs = _needs_of(item)
    return Place.HERE if needs is None else _place_for(needs)


def kernel_of(item: pytest.Item) -> str:
    """Return ``host`` or ``guest`` for a test of both kernels, else ""."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or not item.get_closest_marker("both_kernels"):
        return ""
    return str(callspec.params.get("kernel", ""))


def why_not_here(item: pytest.Item) -> str:
    """Return why a test cannot run in this process, in words for its report."""
    if kernel_of(item) == "guest" or item.config.option.all_in_guest:
        return "it is for the guest"
    if not may_make_namespaces() and not may_make_user_namespaces():
        return "this user may not make network namespaces"
    return f"the running kernel lacks {' or '.join(_needs_of(item) or ())}"


def _needs_of(item: pytest.Item) -> tuple[str, ...] | None:
    """Return what a test needs of a kernel (``ABILITIES``), beside namespaces; None: nothing."""
    if marker := item.get_closest_marker("dataplane"):
        return marker.args or _IPSEC
    if isinstance(item, ScenarioItem):
        return item.needs
    fixtures = set(getattr(item, "fixturenames", ()))
    if fixtures & _HOSTS and item.config.getini(RIG_NEEDS) == NEEDS_ESP:
        return _IPSEC
    return () if fixtures & _NAMESPACES else None


@functools.cache
def _place_for(needs: tuple[str, ...]) -> Place:
    """Return the first place that has network namespaces and what is needed."""
    if may_make_namespaces():
        return Place.HERE if all(ABILITIES[need]() for need in needs) else Place.GUEST
    if may_make_user_namespaces() and _user_namespace_has(needs):
        return Place.USER
    return Place.GUEST


def _user_namespace_has(needs: tuple[str, ...]) -> bool:
    """Whether the running kernel has what is needed, seen from a user namespace of ours."""
    if not needs:
        return True
    words = [*UNSHARE, *python.module("kamexfrm.rig.probe"), *needs]
    done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    return done.returncode == 0
