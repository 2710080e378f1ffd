"""The list of commands loads none of them, and is what each says of itself."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from kamexfrm.cli.command import SECTIONS, main
from kamexfrm.cli.lazy_group import Entry

ENTRIES = [entry for section in SECTIONS for entry in section.entries]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_line_about_a_command_is_its_own(entry: Entry) -> None:
    command = main.get_command(click.Context(main), entry.name)
    assert command is not None
    assert command.get_short_help_str(1000) == entry.summary


def test_help_loads_no_command() -> None:
    code = "import sys; sys.argv[1:] = ['--help']\nfrom kamexfrm.cli.command import main\n"
    code += "try: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {entry.name} " in done.stdout for entry in ENTRIES)
    modules = {entry.code.partition(":")[0] for entry in ENTRIES}
    assert not modules & set(done.stderr.split())


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    done = CliRunner().invoke(main, ["gest"])
    assert done.exit_code == 2
    assert "did you mean guest?" in done.output
