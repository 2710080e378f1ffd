"""Reading the sources of the manual pages, for the tests of this folder."""

import re
import sys
from pathlib import Path

from kamexfrm.rig import Host

FOLDER = Path(__file__).parents[2] / "man"
SETKEY = [
    sys.executable,
    "-c",
    "from kamexfrm.setkey.command import main; raise SystemExit(main())",
]


def page(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def section(text: str, heading: str, level: str = "h") -> str:
    """Return a section (``h``) or subsection (``s``) of a page's source."""
    _, _, rest = text.partition(f"\n.S{level} {heading}\n")
    assert rest, f"no section {heading}"
    return re.split(r"\n\.Sh " if level == "h" else r"\n\.S[hs] ", rest)[0]


def rows(text: str, first: str) -> list[list[str]]:
    """Return the rows of the column list whose head begins with a word, without the head."""
    lists = re.findall(r"^\.Bl -column.*?\n(.*?)^\.El", text, re.MULTILINE | re.DOTALL)
    [found] = [one for one in lists if one.startswith(f".It Sy {first} ")]
    lines = found.splitlines()[1:]
    assert all(line.startswith(".It ") for line in lines)
    return [[cell.strip() for cell in re.split(r" Ta(?: |$)", line[4:])] for line in lines]


def configure(host: Host, script: str) -> None:
    done = host.run([*SETKEY, "--strict", "-f", "-"], input=script, timeout=120)
    assert (done.status, done.stdout, done.stderr) == (0, "", "")
