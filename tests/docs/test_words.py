"""Pages use plain words, and name nothing of the machine they were written on."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "man").iterdir()))

#: What slows a reader down, with what to write in its place.
RIDDLES = {
    r"whoever|whomever|somebody|anybody|everybody": "the caller, another process, all",
    r"anew": "again",
    r"for want of": "without",
    r"(?:has|have) not": "lacks",
    r"is told in": "is described in",
    r"hears? of": "receives",
    r"swapped (?:in|out|as)": "rewritten",
    r"unnoticed by the programs": "transparently",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_has_no_riddles(page: Path) -> None:
    text = " ".join(page.read_text().split())
    for riddle, plain in RIDDLES.items():
        found = re.search(rf"(?i)\b(?:{riddle})\b(?! (?:yet|been))", text)
        assert not found, f"{found[0]!r}: {plain}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_names_no_place_or_number_of_its_making(page: Path) -> None:
    assert not re.search(r"/work/|/root/|/home/|\bissue #?\d|#\d{2,}\b", page.read_text())
