"""kame-rig(7): its example passes, and it names all that a scenario and the command know."""

import re
from pathlib import Path

import click
import pytest

from kamexfrm.cli.command import main
from kamexfrm.cli.rig import rig
from kamexfrm.rig.scenario.reading import schema
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


def keys_of_the_page() -> set[str]:
    """Return the keys that the page describes, those of the command and of its report left out."""
    found = set()
    for section in re.split(r"^\.Ss ", PAGE, flags=re.MULTILINE):
        if section.partition("\n")[0] in (
            "Hosts and links", "Names", "The matrix", "Steps", "Expectations",
        ):  # fmt: skip
            for line in re.findall(r"^\.(?:It )?Ic (.*)", section, re.MULTILINE):
                words = line.partition(" No = ")[0].split(" , ")
                found |= {word.strip(" ,.:;").strip("[]").partition(".")[0] for word in words}
    return found


def test_the_page_names_the_keys_of_the_schema_and_no_others() -> None:
    keys = {*schema.TOP, *schema.HOST, *schema.KINDS, *schema.EXPECTATION}
    keys |= {key for more in schema.KINDS.values() for key in more}
    assert keys_of_the_page() == keys


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
    assert main.get_command(click.Context(main), "rig") is rig
