"""kame-rig(7): its example passes, and it names all that a scenario and the command know."""

import re
from pathlib import Path

import pytest

from kamexfrm.cli.command import main
from kamexfrm.cli.rig import rig
from kamexfrm.rig.scenario.reading import actions
from kamexfrm.rig.scenario.reading.document import read_text
from kamexfrm.rig.scenario.report import transcript as report
from kamexfrm.rig.scenario.run.runner import Runner

PAGE = (Path(__file__).parents[2] / "man" / "kame-rig.7").read_text()
EXAMPLE = re.search(r"^\.Sh EXAMPLES\n\.Bd -literal\n(.*?)^\.Ed", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.dataplane
def test_the_example_of_the_page_passes() -> None:
    assert EXAMPLE
    (case,) = read_text(EXAMPLE[1], "kame-rig.7")
    result = Runner().run(case)
    assert result.passed, report.failure_text(result)


def test_the_page_names_each_kind_of_step_and_each_key() -> None:
    keys = {*actions.KINDS, *actions.EXPECTING}
    keys |= {key for more in actions.KINDS.values() for key in more}
    for key in keys:
        assert re.search(rf"\b{key}\b", PAGE), key


def test_the_page_names_each_command_and_each_option() -> None:
    for name, command in rig.commands.items():
        assert f"kamexfrm rig {name}" in PAGE, name
        for option in command.params:
            for word in option.opts:
                if word.startswith("--") and not getattr(option, "hidden", False):
                    short = [one for one in option.opts if re.fullmatch("-.", one)]
                    named = any(re.search(rf"Fl {one[1:]}\b", PAGE) for one in (word, *short))
                    assert named, (name, word)


def test_the_group_is_part_of_the_command() -> None:
    assert main.commands["rig"] is rig
