"""docs/tutorial.md: each command is typed as it stands there, and says what is printed there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kamexfrm.rig.scenario.reading import gallery
from tests.docs.dialogue import dialogues, fenced, is_same

TEXT = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()


def test_each_command_of_the_tutorial_says_what_is_printed_there(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    typed = [one for block in fenced(TEXT) for one in dialogues(block)]
    assert len(typed) > 10
    for _, command, said in typed:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "XDG_RUNTIME_DIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert is_same(done.stdout.splitlines(), [*said]), f"{command}\n{done.stdout}"


@pytest.mark.parametrize("kind", gallery.kinds())
def test_the_tutorial_shows_the_whole_gallery(kind: str) -> None:
    assert f"| `{kind}` |" in TEXT
