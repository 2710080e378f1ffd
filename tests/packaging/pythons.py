"""``make pythons``: the unit tests on each Python from 3.11 on, and with the oldest dependencies.

Pythons are those of the path and of pyenv; one that is not there is taken from a Debian that has
it, where this is root and debootstrap is installed.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.packaging.results import ROOT, record
from tests.packaging.roots import Root

#: Each Python, and a suite of Debian that has it.
WANTED = {"3.11": "bookworm", "3.12": "", "3.13": "trixie", "3.14": "sid"}

FOLDERS = ("pfkey", "model", "xfrm", "translate", "kernel", "engine", "hub", "setkey", "sysctl")
UNIT = "-m pytest -q -m unit --hypothesis-profile unit -p no:cacheprovider"
LAST_LINE = re.compile(
    r"^(?:=+ )?(\d+ (?:passed|failed).*?)(?: in [\d.]+s.*)?(?: =+)?$", re.MULTILINE
)


def main() -> None:
    """Run all, or those of the command line; end with 1 where a test fails."""
    wanted = sys.argv[1:] or [*WANTED, "minimum"]
    failures = [name for name in wanted if not _try(name)]
    if failures:
        sys.exit(f"failed: {', '.join(failures)}")


def _try(name: str) -> bool:
    if name == "minimum":
        return _run("oldest dependencies", find("3.11") or sys.executable, _oldest())
    found = find(name)
    if found:
        return _run(f"Python {_version(found)}", found, [])
    suite = WANTED[name]
    if not suite or os.geteuid() or not shutil.which("debootstrap"):
        print(f"Python {name}: not on this machine")
        return True
    return _run_in_root(name, suite)


def find(minor: str) -> str:
    """Return an interpreter of a version such as 3.12, or nothing."""
    candidates = [shutil.which(f"python{minor}") or ""]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path / "bin" / "python") for path in sorted(pyenv.glob(f"{minor}.*"))]
    return next((one for one in candidates if one and _version(one).startswith(minor)), "")


def _version(python: str) -> str:
    code = "import platform, ensurepip, venv; print(platform.python_version())"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _oldest() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [line.replace(">=", "==") for line in project["dependencies"]]


def _run(subject: str, python: str, packages: list[str]) -> bool:
    """Run the tests in a new environment; return whether they pass."""
    folder = ROOT / "build" / "pythons" / subject.replace(" ", "-").lower()
    subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, *packages, "-e", f"{ROOT}[test]"], check=True)
    tests = [*map(str, sorted((ROOT / "tests").glob("test_*.py")))]
    tests += [str(ROOT / "tests" / name) for name in FOLDERS]
    command = [str(folder / "bin" / "python"), *UNIT.split(), *tests]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return _report(subject, done.stdout, done.returncode == 0)


def _run_in_root(minor: str, suite: str) -> bool:
    python = f"python{minor}"
    with Root(suite) as root:
        root.take_sources()
        root.install(f"{python} {python}-venv iproute2 mandoc")
        root.run("cd kamexfrm; git init -q; git add -A")
        root.run(f"{python} -m venv venv; venv/bin/pip install -q -e 'kamexfrm[test]'")
        version = root.run("venv/bin/python -c 'import platform; print(platform.python_version())'")
        folders = " ".join(f"tests/{name}" for name in FOLDERS)
        said = root.run(f"cd kamexfrm; ../venv/bin/python {UNIT} tests/test_*.py {folders} || :")
    passes = bool(LAST_LINE.search(said)) and " failed" not in said and " error" not in said
    return _report(f"Python {version.strip()}", said, passes, f"Debian {suite}")


def _report(subject: str, said: str, passes: bool, system: str = "") -> bool:
    counts = LAST_LINE.findall(said)
    if not passes:
        print(said)
    record("pythons", subject, f"unit tests: {counts[-1] if counts else 'did not run'}", system)
    return passes


if __name__ == "__main__":
    main()
