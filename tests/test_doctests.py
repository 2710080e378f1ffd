"""The examples in the docstrings of the three vocabularies are run as they stand."""

import doctest
import importlib
from pathlib import Path

import pytest

import kamexfrm

ROOT = Path(kamexfrm.__file__).parent
PACKAGES = ("model", "pfkey", "xfrm")


def _modules(package: str) -> list[str]:
    """Return the package itself and its modules."""
    files = (ROOT / package).rglob("*.py")
    names = (path.relative_to(ROOT.parent).with_suffix("").parts for path in files)
    return sorted(".".join(parts).removesuffix(".__init__") for parts in names)


def _run(name: str) -> doctest.TestResults:
    """Run a module's examples; they find the package's public names as after ``import *``."""
    package = importlib.import_module(".".join(name.split(".")[:2]))
    public = {public: getattr(package, public) for public in package.__all__}
    return doctest.testmod(importlib.import_module(name), extraglobs=public)


@pytest.mark.parametrize("name", [name for package in PACKAGES for name in _modules(package)])
def test_the_examples_say_what_happens(name: str) -> None:
    assert _run(name).failed == 0


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_begins_with_an_example(package: str) -> None:
    assert _run(f"kamexfrm.{package}").attempted
