"""What the packages name as theirs can be imported as written, and is said in one way only."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import kamexfrm

ROOT = Path(kamexfrm.__file__).parent


def _packages() -> list[str]:
    """Return the packages that have public names."""
    found = []
    for path in sorted(ROOT.rglob("__init__.py")):
        if "__all__" in path.read_text():
            found.append(".".join(path.parent.relative_to(ROOT.parent).parts))
    return found


PACKAGES = _packages()


def _tree(package: str) -> ast.Module:
    path = ROOT.parent.joinpath(*package.split("."), "__init__.py")
    return ast.parse(path.read_text())


def _for_checkers(package: str) -> dict[str, str]:
    """Return where type checkers find each name: the imports under TYPE_CHECKING."""
    found = {}
    for node in _tree(package).body:
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            continue
        for statement in node.body:
            assert isinstance(statement, ast.ImportFrom), ast.unparse(statement)
            for alias in statement.names:
                found[alias.asname or alias.name] = statement.module or ""
    return found


def _at_run_time(package: str) -> dict[str, str]:
    """Return where the interpreter finds each name: the table given to ``exports``."""
    for node in ast.walk(_tree(package)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "exports":
            table = ast.literal_eval(node.args[1])
            names = {n: f"{package}.{module}" for module in table for n in table[module].split()}
            modules = {m: package for m, exported in table.items() if not exported}
            return modules | names
    return {}


LAZY = [package for package in PACKAGES if _at_run_time(package)]


def test_the_packages_are_found() -> None:
    assert set(LAZY) >= {
        "kamexfrm",
        "kamexfrm.kernel",
        "kamexfrm.model",
        "kamexfrm.pfkey",
        "kamexfrm.rig",
        "kamexfrm.xfrm",
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_can_be_imported_and_is_listed(package: str) -> None:
    module = importlib.import_module(package)
    listed = dir(module)
    assert len(module.__all__) == len(set(module.__all__))
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in listed


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_class_and_function_has_a_docstring(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
            text = value.__doc__ or ""
            # A NamedTuple without one says "Name(field, ...)".
            assert text.strip(), f"{package}.{name}"
            assert not text.startswith(f"{name}("), f"{package}.{name}"


@pytest.mark.parametrize("package", LAZY)
def test_checkers_and_the_interpreter_find_the_same_names(package: str) -> None:
    public = importlib.import_module(package).__all__
    checkers, table = _for_checkers(package), _at_run_time(package)
    assert {name: table[name] for name in checkers} == checkers
    assert set(checkers) <= set(public)
    # What is in the table and not public is a module that exports nothing.
    assert {name for name in table if name not in checkers and table[name] != package} == set()


@pytest.mark.parametrize("package", LAZY)
def test_no_public_name_is_hidden_by_a_module(package: str) -> None:
    """Importing a module binds its name in the package, over a function of the same name."""
    folder = ROOT.parent.joinpath(*package.split("."))
    modules = {path.stem for path in folder.iterdir()}
    public = importlib.import_module(package).__all__
    exported = {name for name in public if _at_run_time(package).get(name, package) != package}
    assert not exported & modules


@pytest.mark.parametrize("package", LAZY)
def test_an_unknown_name_is_an_attribute_error_with_its_name(package: str) -> None:
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        _ = module.nonsense


@pytest.mark.parametrize(
    "path",
    [
        "engine.Engine",
        "engine.SpdAdd",
        "hub.Hub",
        "kernel.fake",
        "kernel.FakeKernel",
        "kernel.NetlinkKernel",
        "model.decide",
        "model.parse_policy",
        "pfkey.decode",
        "pfkey.dialects",
        "xfrm.encode_policy",
        "xfrm.XFRMA_TMPL",
        "translate",
        "net.Address",
        "errors.KernelError",
        "algorithms.TABLE",
        "set_policy",
        "PfKeySocket",
    ],
)
def test_names_are_there_after_importing_the_package_alone(path: str) -> None:
    code = f"import kamexfrm; assert kamexfrm.{path} is not None"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "package",
    ["kamexfrm", "kamexfrm.pfkey", "kamexfrm.kernel", "kamexfrm.model", "kamexfrm.engine"],
)
def test_importing_a_package_loads_none_of_its_modules(package: str) -> None:
    code = f"import sys, {package}; print(*(m for m in sys.modules if m.startswith('kamexfrm')))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(loaded) <= {
        "kamexfrm",
        "kamexfrm.lazy",
        "kamexfrm.errors",
        "kamexfrm.records",
        package,
    }
