"""The text of a script: in pieces that mean what the whole means, and bounded."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamexfrm.setkey import script_file
from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.hosts import system_resolver
from kamexfrm.setkey.parser import LONGEST, Parser
from kamexfrm.setkey.script import _statements
from kamexfrm.setkey.script_file import read_pieces
from kamexfrm.setkey.statements import Statement
from tests.setkey.setkey_process import SETKEY

POLICY = "spdadd 10.0.0.1 10.0.0.2 any -P out none;"
LINES = (
    POLICY,
    f"{POLICY} # a comment; with a semicolon",
    "spdadd 10.0.0.1 10.0.0.2 any\n  -P out ipsec esp/transport//unique#7;",
    f"{POLICY} flush; spdflush;",
    'spdadd tagged "a;b\nc" -P out none;',
    '# a "comment',
    "",
    "add 10.0.0.1 10.0.0.2 esp 0x1000 -E null;\r",
    "# \u00e9 \u4e2d \udcff",
    "spdad 10.0.0.1;",
    "exit;",
)


def outcome(statements: Iterable[Statement]) -> tuple[list[Statement], tuple[object, ...]]:
    """Return what is read, and the error that ends it."""
    found: list[Statement] = []
    try:
        found.extend(statements)
    except ScriptError as error:
        return found, (str(error), error.place, error.source, error.caret, error.hints)
    return found, ()


@given(st.lists(st.sampled_from(LINES)), st.integers(min_value=1, max_value=200))
def test_a_text_in_pieces_means_what_the_whole_means(lines: list[str], size: int) -> None:
    text = "".join(f"{line}\n" for line in lines)
    data = text.encode("utf-8", "surrogateescape")
    before = script_file._CHUNK_BYTES
    script_file._CHUNK_BYTES = size
    try:
        pieces = read_pieces(io.BytesIO(data))
    finally:
        script_file._CHUNK_BYTES = before
    assert "".join(pieces) == text
    assert outcome(_statements(pieces, "f", system_resolver)) == outcome(Parser(text, "f"))


def run(mode: list[str], data: bytes, megabytes: int) -> subprocess.CompletedProcess[bytes]:
    """Feed setkey the same data for ever, with so much memory."""
    with subprocess.Popen(
        ["prlimit", f"--as={megabytes << 20}", *SETKEY, "-n", *mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            while True:
                process.stdin.write(data * (65536 // len(data)))
        process.stdin.close()
        process.stdin = None
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess([], process.returncode, stdout, stderr)


@pytest.mark.parametrize(
    ("mode", "data", "reason"),
    [
        ("-f", b"\0", "not a text: there is a NUL character in it"),
        ("-f", b"flush;\n", "longer than 256 MiB"),
        ("-f", b"flush;", "a statement or line longer than 4 MiB"),
        ("-f", b'"flush\n', "a statement or line longer than 4 MiB"),
        ("-c", b"\0", "a character that does not show, U+0000"),
        ("-c", b'"flush\n', "a statement of more than 1 MiB"),
    ],
)
def test_a_script_without_an_end_is_refused(mode: str, data: bytes, reason: str) -> None:
    done = run([mode, "-"] if mode == "-f" else [mode], data, 1000)
    assert reason in (done.stdout + done.stderr).decode()
    assert b"Traceback" not in done.stderr
    assert done.returncode == 1


def test_a_long_statement_is_an_error_at_its_first_word() -> None:
    text = f"flush;\nspdadd {' ' * LONGEST}10.0.0.1 10.0.0.2 any -P out none;"
    found, error = outcome(Parser(text, "f"))
    assert len(found) == 1
    assert error[0] == "syntax error at `spdadd'"
    found, error = outcome(Parser(text.replace(" " * LONGEST, " " * (LONGEST - 100)), "f"))
    assert len(found) == 2


PEAK = """
import re, sys
from kamexfrm.setkey.command import main
main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def write_policies(path: Path, lines: int, first: str = "10") -> None:
    with path.open("w") as file:
        file.write("spdflush;\n")
        for number in range(lines):
            address = f"{first}.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            file.write(f"spdadd {address} 10.0.0.2 any -P out ipsec esp/transport//require;\n")
            first = "10"


def peak(*words: str | Path) -> int:
    """Return the peak of memory in bytes while setkey reads a file."""
    done = subprocess.run([sys.executable, "-c", PEAK, *words], check=True, capture_output=True)
    return int(done.stdout) << 10


def test_memory_grows_by_no_more_than_the_file(tmp_path: Path) -> None:
    small, large = tmp_path / "small.conf", tmp_path / "large.conf"
    write_policies(small, 10)
    write_policies(large, 100_000)
    least = peak("-n", "-f", small)
    assert peak("-n", "-f", large) - least < 1.5 * large.stat().st_size


@pytest.mark.usefixtures("real_kernel")
def test_memory_of_a_reload_grows_by_no_more_than_the_file(tmp_path: Path) -> None:
    small, large = tmp_path / "small.conf", tmp_path / "large.conf"
    write_policies(small, 5_000)
    least = max(peak("-f", small), peak("-f", small))
    write_policies(large, 50_000)
    most = least + 1.5 * (large.stat().st_size - small.stat().st_size)
    assert peak("-f", large) < most  # most of it is new
    assert peak("-f", large) < most  # all is there already
    write_policies(large, 50_000, "9")
    most = least + 2 * (large.stat().st_size - small.stat().st_size)
    assert peak("-f", large) < most  # another one in front: all are written again
