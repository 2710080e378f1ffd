"""``kamexfrm demo``: the main job as a transcript that checks itself."""

import os
import subprocess
import sys

import pytest


@pytest.mark.dataplane
def test_the_demo_goes_as_it_promises() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kamexfrm.cli", "demo", "--kernel", "host"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].startswith("All as promised.")
    assert done.stdout.count("== ") == 4
    assert "\033" not in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("plain", [False, True])
def test_colour_is_for_terminals_that_want_it(plain: bool) -> None:
    ours, theirs = os.openpty()
    code = "from kamexfrm.cli.demo import Narrator; Narrator(None, None, None).heading('x')"
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1" if plain else ""}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, env=environment, check=True)
    os.close(theirs)
    said = os.read(ours, 1000)
    os.close(ours)
    assert (b"\033[" in said) is not plain
    assert b"== x" in said
