"""Waiting for a guest is shown: a line, and on a terminal a spinner."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = 'links = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob"\n[[steps]]\nping = "alice -> bob"\n'
RUN = [sys.executable, "-m", "kamexfrm.cli", "rig", "run", "--kernel", "guest"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "two.rig.toml").write_text(TEXT)
    return tmp_path


def test_on_a_terminal_a_spinner_turns_until_the_first_output(folder: Path) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*RUN, "two.rig.toml"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        os.close(slave)
        said = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(master, 4096):
                said += data
        os.close(master)
    assert process.returncode == 0
    text = said.decode()
    assert text.startswith("kamexfrm rig: booting a guest\r\n")
    assert "\033[?25l" in text  # the cursor is hidden while it turns
    assert text.index("\033[?25h") < text.index("two.rig.toml")
    assert text.count("booting") > 3
