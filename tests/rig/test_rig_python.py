"""Where the rig finds our own commands."""

import sys
from pathlib import Path

import pytest

from kamexfrm.rig.python import installed


def test_a_command_beside_the_interpreter_comes_before_one_in_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("beside", "path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "setkey").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    assert installed("setkey") == str(tmp_path / "beside" / "setkey")
    (tmp_path / "beside" / "setkey").unlink()
    assert installed("setkey") == str(tmp_path / "path" / "setkey")


def test_the_folders_of_the_system_are_looked_in_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert installed("sh") in ("/usr/bin/sh", "/usr/sbin/sh")
    assert installed("no-such-command") == "no-such-command"
