"""kamexfrm-exec(8): its options are the command's, its examples begin as they should."""

import re
import shlex

import pytest

from kamexfrm.command_line import UsageError
from kamexfrm.exec.arguments import HELP, Options, read_options
from kamexfrm.exec.filter import Barrier
from kamexfrm.exec.forced_policy import read_policies
from kamexfrm.rig import Host
from tests.man.manual_source import page, section

PAGE = page("kamexfrm-exec.8")
LIST = section(PAGE, "DESCRIPTION").partition("The options are as follows:")[2]
HEADS = [line for line in LIST.splitlines() if line.startswith(".It Fl ")]
EXAMPLES = [
    shlex.split(line.removeprefix(".Dl kamexfrm exec "))
    for line in section(PAGE, "EXAMPLES").splitlines()
    if line.startswith(".Dl ")
]


def option_words(head: str) -> list[str]:
    """Return the spellings in an item's head: ``.It Fl v , -verbose`` is ``-v --verbose``."""
    words = head.removeprefix(".It Fl ").split()
    return [
        f"-{word}"
        for word in words
        if len(word) == 1 or word.startswith("-")
        if word not in (",", "|")
    ]


def accepts(*words: str) -> Options | None:
    try:
        return read_options([*words, "true"])
    except UsageError:
        return None


def test_the_page_has_the_options_of_the_command() -> None:
    listed = {word for head in HEADS for word in option_words(head)}
    assert listed == set(re.findall(r"(?<=[ ,(])--?[a-zV-]+(?=[ ,\]])", HELP))
    for word in listed:
        assert any(accepts(word, *value) for value in ([], ["strict"], ["info"])), word


def test_the_page_has_the_barriers() -> None:
    (head,) = [head for head in HEADS if "-barrier" in head]
    assert set(re.findall(r"[a-z]+", head.partition("Cm")[2])) == {b.value for b in Barrier}
    assert "This is the default" in LIST.split(".It Cm peek")[1].split(".It Cm")[0]
    assert Options().barrier is Barrier.PEEK


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_an_example_is_understood(namespace: Host, words: list[str]) -> None:
    options = read_options(words)
    assert not options.program[0].startswith("-")
    if options.policies:
        assert len(read_policies(options.policies)) == len(options.policies)
