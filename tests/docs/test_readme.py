"""README.md: the tour prints what stands there, the Python lines run, the links lead somewhere."""

import os
import re
import sys
import textwrap
from pathlib import Path

import pytest

from kamexfrm.rig import TwoHosts
from tests.docs.dialogue import Dialogue, dialogues, is_same

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("[A-Z]*.md")), *sorted((ROOT / "docs").glob("*.md"))]

#: What makes the network that the two hosts of the test have already.
GIVEN = ("unshare ", "ip ", "exit")


def tour() -> list[Dialogue]:
    """Return the commands of the tour that are typed on a host."""
    block = TEXT.partition("    $ unshare -rn\n")[2].partition("\n\n`ping` looks")[0]
    found = dialogues(textwrap.dedent(block))
    return [one for one in found if not one.command.startswith(GIVEN)]


def test_the_tour_prints_what_the_readme_says(two_hosts: TwoHosts, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    assert len(tour()) == 8
    for _, command, said in tour():
        typed, expected = command, [*said]
        if command.startswith("ping "):  # ours asks for no route: it is counted once
            typed = command.partition("; ")[2]
            assert not two_hosts.a.ping("10.0.0.2", timeout=1)
            expected = [re.sub(r"\d+$", "1", line) for line in said]
        done = two_hosts.a.run(
            ["sh", "-c", f"{typed} 2>&1"],
            directory=tmp_path,
            environment={**os.environ, "PATH": path},
        )
        assert is_same(done.stdout.splitlines(), expected), f"{command}\n{done.stdout}"


def test_the_python_lines_hold_back_what_has_no_sa(two_hosts: TwoHosts) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    done = two_hosts.a.run([sys.executable, "-c", code])
    assert done.stderr.splitlines()[-1].startswith("BlockingIOError")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    assert [one for one in targets if not (page.parent / one).exists()] == []


def test_the_targets_of_make_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word
        for page in PAGES
        for word in re.findall(r"(?:`|^    )make ([\w-]+)", page.read_text(), re.MULTILINE)
    }
    assert {"check", "test", "docs"} <= named <= targets
