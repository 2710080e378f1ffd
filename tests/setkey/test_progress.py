"""How far a long script is: a bar on a terminal, lines with -v, and nothing elsewhere."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("namespace")

#: setkey that shows at once what it shows of a load of more than a second.
AT_ONCE = """
import sys
from kamexfrm.setkey import progress, script
progress._DELAY = progress._BAR_PAUSE = progress._LINE_PAUSE = 0
script._MANY = 30
from kamexfrm.setkey.command import main
sys.exit(main(sys.argv[1:]))
"""

POLICY = "spdadd 10.0.{}.{} 10.9.0.0/16 any -P out ipsec esp/transport//require;\n"


def lines(count: int) -> str:
    return "".join(POLICY.format(n >> 8, n & 255) for n in range(count))


@pytest.fixture
def long_script(tmp_path: Path) -> str:
    path = tmp_path / "long.conf"
    path.write_text(f"spdflush;\n{lines(30)}dump;\n{POLICY.format(0, 1)}{lines(3)}")
    return str(path)


def on_a_terminal(*words: str) -> tuple[int, str]:
    """Run setkey with its standard error on a terminal; return its status and what is there."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", AT_ONCE, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=slave,
    ) as process:
        os.close(slave)
        said = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(master, 4096):
                said += data
        os.close(master)
    return process.returncode, said.decode().replace("\r\n", "\n")


def test_on_a_terminal_a_bar_is_shown_and_taken_away(long_script: str) -> None:
    status, said = on_a_terminal("-f", long_script)
    assert status == 0
    assert "\rsetkey: [" in said
    assert " of 36 statements, " in said
    seen = [line.rpartition("\033[K")[2] for line in said.split("\n")]
    assert sum("File exists" in line for line in seen) == 4
    assert all(line.startswith("setkey: /") for line in seen if "File exists" in line)
    assert seen[-1] == ""
    assert not [line for line in seen if "statements" in line]


def test_a_short_script_shows_none(tmp_path: Path) -> None:
    (tmp_path / "short.conf").write_text(lines(10))
    assert on_a_terminal("-f", str(tmp_path / "short.conf")) == (0, "")


def test_elsewhere_lines_come_with_v_only(long_script: str) -> None:
    for words, shown in ((["-v"], True), ([], False)):
        done = subprocess.run(
            [sys.executable, "-c", AT_ONCE, *words, "-f", long_script],
            check=True,
            capture_output=True,
            text=True,
        )
        assert (" of 36 statements, " in done.stderr) == shown
        assert "\r" not in done.stderr
