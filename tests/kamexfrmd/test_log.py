"""kamexfrmd's options of one word, and its log: levels, and the journal's form."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kamexfrm.command_line import UsageError
from kamexfrm.kamexfrmd.command import Options
from kamexfrm.kamexfrmd.log import Log
from kamexfrm.log_level import LogLevel

KAMEXFRMD = [sys.executable, "-m", "kamexfrm.kamexfrmd"]
NO_NAMESPACE = ["--netns", "/no/such/namespace"]


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (("--log-level", "error"), ["error"]),
        (("--quiet",), ["error"]),
        (("--log-level=warning",), ["error", "warning"]),
        ((), ["error", "warning", "info"]),
        (("--log-level", "debug"), ["error", "warning", "info", "debug"]),
    ],
)
def test_a_level_takes_what_is_graver(
    words: tuple[str, ...], printed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(Options([*words]).log_level)
    for level in LogLevel:
        getattr(log, level.name.lower())(f"{level.name.lower()}")
    assert capsys.readouterr().err == "".join(f"kamexfrmd: {word}\n" for word in printed)


def test_an_unknown_level_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="'loud': one of error, warning, info, debug"):
        Options(["--log-level", "loud"])


@pytest.mark.parametrize("is_journal", [True, False])
def test_lines_to_the_journal_begin_with_their_level(tmp_path: Path, is_journal: bool) -> None:
    with (tmp_path / "stderr").open("w+") as stderr:
        found = os.fstat(stderr.fileno())
        inode = found.st_ino if is_journal else found.st_ino + 1
        stream = f"{found.st_dev}:{inode}"
        environment = {**os.environ, "JOURNAL_STREAM": stream}
        done = subprocess.run(
            [*KAMEXFRMD, *NO_NAMESPACE], stderr=stderr, check=False, env=environment
        )
        stderr.seek(0)
        [line] = stderr.read().splitlines()
    assert done.returncode == 1
    assert line.startswith("<3>" if is_journal else "kamexfrmd: ")
    assert "No such file" in line


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["--pfkey"], "/run/kamexfrm/pfkey"),
        (["--pfkey", "--quiet"], "/run/kamexfrm/pfkey"),
        (["--netns", "red", "--pfkey"], "/run/kamexfrm/pfkey-red"),
        (["--pfkey", "--netns", "/proc/1/ns/net"], "/run/kamexfrm/pfkey"),
        (["--pfkey", "/run/mine"], "/run/mine"),
        (["--pfkey=/run/mine"], "/run/mine"),
    ],
)
def test_pf_key_has_a_path_of_its_own_where_none_is_given(words: list[str], path: str) -> None:
    assert Options(words).pfkey == path


@pytest.mark.parametrize("option", ["--netns", "--encap", "--keepalive", "--log-level"])
def test_an_option_without_its_value_says_so(option: str) -> None:
    with pytest.raises(UsageError, match=f"option '{option}' needs a value"):
        Options([option])
