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
    """Return the rows of the column list whose head begins with a word, without the head.

    A row that is too long for a line goes on in the next one, whose first cell is empty.
    """
    lists = re.findall(r"^\.Bl -column.*?\n(.*?)^\.El", text, re.MULTILINE | re.DOTALL)
    [found] = [one for one in lists if one.startswith(f".It Sy {first} ")]
    lines = found.splitlines()[1:]
    assert all(line.startswith(".It ") for line in lines)
    cells = [[cell.strip() for cell in re.split(r" ?\bTa(?: |$)", line[4:])] for line in lines]
    found_rows: list[list[str]] = []
    for row in cells:
        if row[0] == r"\&":  # the row before goes on
            pairs = zip(found_rows[-1], ["", *row[1:]], strict=True)
            found_rows[-1] = [" ".join(filter(None, pair)) for pair in pairs]
        else:
            found_rows.append(row)
    return found_rows


def configure(host: Host, script: str) -> None:
    done = host.run([*SETKEY, "--strict", "-f", "-"], input=script, timeout=120)
    assert (done.status, done.stdout, done.stderr) == (0, "", "")
