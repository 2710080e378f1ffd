"""The packages without building them: versions agree, units start our commands, pages are made."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kamexfrm
from tests.packaging.results import Result, read_all

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "packaging" / "units").iterdir())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]


def test_debians_version_is_the_projects() -> None:
    first = (ROOT / "debian" / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"kamexfrm ({kamexfrm.__version__}) ")


def test_debians_dependencies_are_the_minimum_of_the_project() -> None:
    control = (ROOT / "debian" / "control").read_text()
    debians = dict(re.findall(r"^ python3-(\w+) \(>= ([\d.]+)\),$", control, re.MULTILINE))
    assert debians == dict(one.split(">=") for one in PROJECT["project"]["dependencies"])


def test_launchers_start_the_commands_and_import_nothing_more() -> None:
    launchers = {Path(name).name for name in WHEEL["shared-scripts"]}
    assert launchers == {"setkey", "kame-sysctl", "kamexfrm", "kamexfrmd"}
    for name in WHEEL["shared-scripts"]:
        lines = (ROOT / name).read_text().splitlines()
        assert lines[0] == "#!python"  # which installers replace
        quick = lines[1] == "from kamexfrm.command_line import leave"
        assert quick or lines[1:3] == ["import sys", ""]
        module = re.fullmatch(r"from (kamexfrm[\w.]+) import main", lines[2 if quick else 3])
        assert module
        assert lines[-2:] == ["", "leave(main())" if quick else "sys.exit(main())"]
        assert (ROOT / f"{module[1].replace('.', '/')}.py").exists()


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_commands_of_ours_and_is_installed(unit: Path) -> None:
    text = unit.read_text()
    commands = re.findall(r"^Exec\w+=(\S+)", text, re.MULTILINE)
    assert set(commands) <= {"kamexfrm", "kamexfrmd"}
    assert f"cp packaging/units/{unit.name} debian/" in (ROOT / "debian" / "rules").read_text()
    for page in re.findall(r"man:(\S+)\((\d)\)", text):
        assert (ROOT / "man" / ".".join(page)).exists()


def test_the_service_comes_before_the_network() -> None:
    text = (ROOT / "packaging" / "units" / "kamexfrm.service").read_text()
    assert re.search(r"^Before=network-pre.target ", text, re.MULTILINE)
    assert re.search(r"^Wants=network-pre.target$", text, re.MULTILINE)
    assert re.search(r"^DefaultDependencies=no$", text, re.MULTILINE)


def test_the_exemptions_can_be_read() -> None:
    command = [sys.executable, "-P", "-m", "kamexfrm.setkey", "-n", "-f"]
    done = subprocess.run(
        [*command, str(ROOT / "packaging" / "lockdown.conf")], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_page_of_platforms_is_made_of_the_results() -> None:
    command = [sys.executable, str(ROOT / "docs" / "build_platforms.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_results_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(
        '{"target": "t", "subject": "s", "outcome": "o", "system": "y", "date": "d", "commit": "c"}'
    )
    assert read_all(tmp_path) == [Result("t", "s", "o", "y", "d", "c")]
