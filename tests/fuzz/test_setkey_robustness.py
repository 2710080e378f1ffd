"""Files and surroundings that setkey was not made for: a message with a place, never a traceback.

What stands before a bad statement is done; the bad one and what follows is not.
"""

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

SETKEY = [sys.executable, "-m", "kamexfrm.setkey"]

FIRST = b"spdadd 10.0.0.1 10.0.0.2 any -P out none;\n"
LAST = b"spdadd 10.0.0.3 10.0.0.4 any -P out none;\n"

pytestmark = pytest.mark.usefixtures("namespace")


class Done(NamedTuple):
    status: int
    out: str
    err: str


def setkey(*arguments: str | Path, text: bytes = b"", redirected: str = "") -> Done:
    """Run setkey; ``redirected`` is what a shell does to its streams."""
    command = [*SETKEY, *map(str, arguments)]
    if redirected:
        command = ["sh", "-c", f'exec "$@" {redirected}', "sh", *command]
    done = subprocess.run(command, input=text, capture_output=True, timeout=60, check=False)
    found = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in found.err
    return found


def sources() -> list[str]:
    """Return the sources of the kernel's policies that are entries, sorted."""
    done = subprocess.run(["ip", "xfrm", "policy"], capture_output=True, text=True, check=True)
    return sorted(re.findall(r"src (10\S+) dst", done.stdout))


MEGABYTE = 1_000_000

BAD = {
    "a line of a megabyte of letters": b"spdadd " + b"a" * MEGABYTE + b";\n",
    "a megabyte of digits": b"spdadd 10.0.0.9 10.0.0.2 any -P out prio " + b"9" * MEGABYTE + b";",
    "a key of a megabyte": b"add 10.0.0.9 10.0.0.2 esp 5 -E aes-cbc 0x" + b"0" * MEGABYTE + b";\n",
    "a request of a megabyte": b"spdadd 10.0.0.9 10.0.0.2 any -P out ipsec "
    + b"esp/" * 250_000
    + b";",
    "a NUL byte": b"spdadd 10.0.0.9 10.0.0.2 any -P out\0none;\n",
    "a NUL byte in a name": b"spdadd 10.0.0.9\0 10.0.0.2 any -P out none;\n",
    "a quotation mark without partner": b'add 10.0.0.9 10.0.0.2 esp 5 -E aes-cbc "0123;\n',
    "noise": random.Random(1).randbytes(100_000),
    "noise after a command": b"spdadd 10.0.0.9 " + random.Random(2).randbytes(1000) + b";",
    "UTF-16": "spdadd 10.0.0.9 10.0.0.2 any -P out none;\n".encode("utf-16"),
    "Latin-1": "spdadd 10.0.0.9 größe any -P out none;\n".encode("latin-1"),
    "a no-break space": "spdadd 10.0.0.9\N{NO-BREAK SPACE}10.0.0.2 any -P out none;\n".encode(),
    "a typographer's quotation marks": "add 10.0.0.9 10.0.0.2 esp 5 -E aes-cbc “a”;\n".encode(),
    "an escape sequence": b"spdadd 10.0.0.9 \x1b[31m any -P out none;\n",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_statement_gets_a_message_with_its_place(bad: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.conf"
    path.write_bytes(FIRST + bad + b"\n" + LAST)
    status, out, err = setkey("-f", path)
    assert (status, out) == (1, "")
    if b"\0" in bad:
        assert err == f"setkey: Can't open `{path}': not a text: there is a NUL character in it\n"
        assert sources() == []
        return
    assert re.search(rf"(?m)^setkey: {re.escape(str(path))},\d+: ", err)
    assert all(char.isprintable() or char in "\n\t" for char in err)
    assert len(err) < 10_000
    assert sources() == []
    assert setkey("--as-read", "-f", path).status == 1
    assert sources() == ["10.0.0.1/32"]


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_statement_leaves_nothing_when_typed(bad: bytes) -> None:
    # Whether what follows is read depends on where the bad statement ends, if it does.
    status, out, _ = setkey("-c", text=FIRST + bad + b";\n" + LAST)
    assert status in (0, 1)
    assert all(char.isprintable() or char in "\n\t" for char in out)
    assert set(sources()) <= {"10.0.0.1/32", "10.0.0.3/32"}
    assert "10.0.0.1/32" in sources()


GOOD = {
    "no newline at the end": FIRST + LAST.rstrip(b"\n"),
    "carriage returns": (FIRST + LAST).replace(b"\n", b"\r\n"),
    "a comment of a megabyte": FIRST + b"#" + b"x" * MEGABYTE + b"\n" + LAST,
    "a megabyte of blanks": FIRST.replace(b" ", b" " * MEGABYTE, 1) + LAST,
    "a megabyte of newlines": FIRST + b"\n" * MEGABYTE + LAST,
    "noise in a comment": FIRST
    + b"#"
    + random.Random(3).randbytes(99).translate(None, b"\n\0")
    + b"\n"
    + LAST,
}


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
def test_a_strange_but_good_file_is_done(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "good.conf"
    path.write_bytes(good)
    assert setkey("-f", path) == (0, "", "")
    assert sources() == ["10.0.0.1/32", "10.0.0.3/32"]


def test_a_statement_without_its_end_is_not_done(tmp_path: Path) -> None:
    path = tmp_path / "cut.conf"
    path.write_bytes(FIRST + LAST.rstrip(b";\n"))
    status, _, err = setkey("-f", path)
    assert status == 1
    assert f"setkey: {path},2: syntax error at `'\n" in err
    assert sources() == []


def test_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    path = tmp_path / "windows.conf"
    path.write_bytes(b"\xef\xbb\xbf" + FIRST)
    status, _, err = setkey("-f", path)
    assert status == 1
    assert err.startswith(f"setkey: {path},1: Syntax error at `\\ufeff'\n")
    assert "a byte order mark" in err
    assert sources() == []


def test_an_unfinished_statement_of_many_lines_is_typed_in_one_breath() -> None:
    text = FIRST + b'spdadd "' + b"10.0.0.9 10.0.0.2 any -P out none;\n" * 20_000
    assert setkey("-c", text=text) == (0, "", "")
    assert sources() == ["10.0.0.1/32"]


def test_a_typed_statement_of_many_lines_is_done() -> None:
    text = FIRST + LAST.replace(b" ", b" #\n" * 30_000, 1)
    assert setkey("-c", text=text) == (0, "", "")
    assert sources() == ["10.0.0.1/32", "10.0.0.3/32"]


def test_a_directory_cannot_be_opened(tmp_path: Path) -> None:
    assert setkey("-f", tmp_path) == (1, "", f"setkey: Can't open `{tmp_path}': Is a directory\n")


def test_a_name_that_a_terminal_would_take_for_a_command_is_made_harmless() -> None:
    assert setkey("-f", "/no\x1b[31m").err == (
        "setkey: Can't open `/no\\x1b[31m': No such file or directory\n"
    )


@pytest.mark.parametrize(
    "arguments", [("-D",), ("-DP",), ("-V",), ("-h",), ("--json", "-D"), ("-f", "-"), ("-c",)]
)
def test_a_full_disk_gets_a_message(arguments: tuple[str, ...]) -> None:
    status, out, err = setkey(
        *arguments, text=b"spddump;" + FIRST + b"spddump;", redirected=">/dev/full"
    )
    assert (status, out) == (1, "")
    assert "setkey: No space left on device\n" in err


@pytest.mark.parametrize("arguments", [("-D",), ("-DP",), ("-c",)])
def test_a_closed_output_is_no_trouble(arguments: tuple[str, ...]) -> None:
    assert setkey(*arguments, text=b"dump;" + FIRST, redirected=">&- 2>&-") == (0, "", "")


def test_a_closed_input_is_no_script() -> None:
    status, _, err = setkey("-f", "-", redirected="<&-")
    assert (status, err) == (1, "setkey: Can't open `-': Bad file descriptor\n")
    assert setkey("-c", redirected="<&-") == (0, "", "")


def test_a_locale_without_a_character_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    status, out, _ = setkey("-c", text="größe;".encode())
    assert status == 0
    assert out.startswith("syntax error at `gr'\n")
