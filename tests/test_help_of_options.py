"""The programs that read their options themselves: --help explains each that they take."""

import re

import pytest

from kamexfrm.command_line import Syntax
from kamexfrm.exec import arguments as exec_
from kamexfrm.kamexfrmd import command as kamexfrmd
from kamexfrm.setkey import arguments as setkey
from kamexfrm.setkey import help as setkey_help
from kamexfrm.sysctl import arguments as sysctl

PROGRAMS = {
    "setkey": (setkey_help.HELP, setkey.SYNTAX),
    "kame-sysctl": (sysctl.HELP, sysctl.SYNTAX),
    "kamexfrmd": (kamexfrmd.HELP, kamexfrmd.SYNTAX),
    "kamexfrm exec": (exec_.HELP, exec_.SYNTAX),
}


@pytest.mark.parametrize(("text", "syntax"), PROGRAMS.values(), ids=PROGRAMS)
def test_each_option_is_explained(text: str, syntax: Syntax) -> None:
    items = re.findall(r"^  (-.*?)  +(\S.*)$", text, re.MULTILINE)
    explained = {word for head, _ in items for word in re.findall(r"(?<![\w-])-[\w?-]+", head)}
    assert explained == {name.rstrip("=") for name in syntax.names}
