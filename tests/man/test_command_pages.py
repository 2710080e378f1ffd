"""The pages of kamexfrm's commands: options as the command's, members as the schema's."""

import re
from pathlib import Path

import click
import pytest

from kamexfrm.cli.command import SECTIONS, main
from kamexfrm.cli.shared_options import SHARED
from kamexfrm.operator.document import SCHEMAS, schema
from tests.man.manual_source import page, section

#: Commands whose page has another name, and those that kamexfrm(8) or another page describes.
PAGES = {
    "confirm": "kamexfrm-apply.8",
    "exempt": "kamexfrm-lockdown.8",
    "reset": "kamexfrm-adopt.8",
}
ELSEWHERE = {"completion", "help", "exec", "guest", "demo", "rig"}

COMMANDS = [e.name for part in SECTIONS for e in part.entries if e.name not in ELSEWHERE]
DOCUMENTS = sorted(file.stem for file in Path(SCHEMAS).glob("*.json"))


def options_of(name: str) -> set[str]:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    parameters = {parameter for each in commands for parameter in each.params} - set(SHARED)
    return {word for parameter in parameters for word in parameter.opts if word[0] == "-"}


@pytest.mark.parametrize("file", sorted({PAGES.get(n, f"kamexfrm-{n}.8") for n in COMMANDS}))
def test_a_page_has_the_options_of_its_commands(file: str) -> None:
    names = [name for name in COMMANDS if PAGES.get(name, f"kamexfrm-{name}.8") == file]
    described = re.findall(r"^\.It Fl (.+)$", section(page(file), "DESCRIPTION"), re.MULTILINE)
    words = {f"-{word}" for line in described for word in re.findall(r"(?:^|Fl )(-?[\w-]+)", line)}
    assert words == set().union(*map(options_of, names))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_page_of_documents_has_their_members(name: str) -> None:
    text = section(page("kamexfrm-json.7"), "DESCRIPTION").partition(f".Ss {name}\n")[2]
    listed = re.findall(r"^\.It Sy (\w+)$", text.partition(".Ss ")[0], re.MULTILINE)
    assert sorted(listed) == sorted(set(schema(name)["properties"]) - {"schema"})
