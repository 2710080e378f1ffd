"""Options as all commands read them, and text that no terminal takes for a command."""

import subprocess
import sys

import pytest

from kamexfrm.command_line import Syntax, UsageError, iter_options, printable

SYNTAX = Syntax(
    frozenset(("-a", "-f=", "-p", "-p=", "--all", "--file=", "--load", "--load=")),
    unknown="unknown {option}",
    unknown_letter="unknown {letter} in {word}",
    no_value="{option} wants a value",
)


def read(line: str, syntax: Syntax = SYNTAX) -> str:
    """Return what is read of a line, as words ``name:value``."""
    return " ".join(f"{name}:{value}" for name, value in iter_options(line.split(), syntax))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("-aa --all", "-a: -a: --all:"),
        ("-affile -f -a", "-a: -f=:file -f=:-a"),
        ("--file x --file=y --file=", "--file=:x --file=:y --file=:"),
        ("-p file", "-p: :file"),
        ("-pfile --load=x --load", "-p=:file --load=:x --load:"),
        ("- -a", ":- :-a"),
        ("-a -- -a --", "-a: :-a :--"),
    ],
)
def test_options_are_read_as_getopt_reads_them(line: str, found: str) -> None:
    assert read(line) == found


def test_options_may_follow_operands_where_the_syntax_allows_it() -> None:
    assert read("one -a two", SYNTAX._replace(permuted=True)) == ":one -a: :two"
    assert read("one -a two") == ":one :-a :two"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("-ax", "unknown x in -ax"),
        ("--al", "unknown --al"),
        ("--all=x", "unknown --all=x"),
        ("-f", "-f wants a value"),
        ("--file", "--file wants a value"),
    ],
)
def test_an_error_has_the_words_of_the_command(line: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(line)
    assert str(caught.value) == text


def test_what_comes_before_an_error_is_read() -> None:
    options = iter_options(["-a", "-x"], SYNTAX)
    assert next(options) == ("-a", "")


def test_text_is_safe_on_a_terminal() -> None:
    assert printable("é\x1b[m\udcff\n\u202e") == "é\\x1b[m\\xff\n\\u202e"
    assert printable("a\nb\tc", "") == "a\\nb\\tc"


@pytest.mark.parametrize("output", ["/dev/stdout", "/dev/full"])
def test_a_command_leaves_with_its_status_and_what_it_printed(output: str) -> None:
    code = f"""
import sys
from kamexfrm.command_line import leave
sys.stdout = open({output!r}, "w")
print("done")
sys.stderr.write("odd")
leave(3)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "odd")
    assert done.stdout == ("done\n" if output == "/dev/stdout" else "")
