"""kamexfrm help prints what --help does, and the short -V what --version does."""

import pytest
from click.testing import CliRunner

from kamexfrm.cli.command import main


def run(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, words, prog_name="kamexfrm")
    assert done.exit_code == status
    return done.output


@pytest.mark.parametrize("words", [(), ("status",), ("rig", "run"), ("interface",)])
def test_help_is_the_same_by_word_and_by_option(words: tuple[str, ...]) -> None:
    assert run("help", *words).rstrip() == run(*words, "--help").rstrip()


def test_help_of_what_is_not_there_names_the_nearest() -> None:
    assert "did you mean explain?" in run("help", "explian", status=2)
    assert "kamexfrm status has no commands" in run("help", "status", "x", status=2)


def test_the_version_has_a_short_option() -> None:
    assert run("-V") == run("--version")
