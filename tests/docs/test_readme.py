"""README.md: the tour prints what stands there, the Python lines run, the links lead somewhere."""

import os
import re
import sys
from pathlib import Path

import pytest

from kamexfrm.rig import TwoHosts

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("[A-Z]*.md")), *sorted((ROOT / "docs").glob("*.md"))]

#: What differs from run to run: dates, process ids, the kernel's ids of policies.
CHANCE = re.compile(r"(?<=created: )[A-Z].*(?=  lastused)|(?<=pid=)\d+|(?<=spid=)\d+")


def tour() -> list[tuple[str, str]]:
    """Return each command of the tour with its output, white space and what varies normalised."""
    block = TEXT.partition("\n    # cat host.conf\n")
    text = f"    # cat host.conf\n{block[2]}".partition("\n\nWriting the variable")[0]
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("    # "):
            found.append((line.removeprefix("    # "), ""))
        else:
            command, printed = found.pop()
            found.append((command, f"{printed}{line.removeprefix('    ')}\n"))
    return [(command, plain(printed)) for command, printed in found]


def plain(text: str) -> str:
    return "\n".join(" ".join(CHANCE.sub("N", line).split()) for line in text.splitlines())


def test_the_tour_prints_what_the_readme_says(two_hosts: TwoHosts, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    (tmp_path / "host.conf").write_text(dict(tour())["cat host.conf"] + "\n")
    assert len(tour()) == 8
    for command, said in tour():
        typed = command
        if command.startswith("ping "):
            typed = command.partition("; ")[2]
            assert not two_hosts.a.ping("10.0.0.2", timeout=1)
        done = two_hosts.a.run(
            ["sh", "-c", f"{typed} 2>&1"],
            directory=tmp_path,
            environment={**os.environ, "PATH": path},
        )
        assert plain(done.stdout) == said, command


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
