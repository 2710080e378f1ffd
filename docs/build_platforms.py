"""Write docs/platforms.md: what was run on which system, when and with which result.

The lines come from packaging/results, which the targets write. ``--check`` compares instead.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.packaging.results import Result, read_all  # noqa: E402  (found by the line above)

PAGE = ROOT / "docs" / "platforms.md"

HEAD = """\
# Platforms

What was run on which system, and when. `docs/build_platforms.py` makes this page of the files in
`packaging/results`, which the targets of [CONTRIBUTING.md](../CONTRIBUTING.md) write. What is not
here was not run.
"""

#: What each target is about, in the order of the page.
SECTIONS = {
    "platforms": "Distributions",
    "tutorial-test": "README and tutorial, followed by an ordinary user",
    "deb-test": "The Debian package",
    "boot-test": "Boot",
    "pythons": "Pythons and dependencies",
    "dist": "Wheel and sdist",
    "ansible-test": "Many hosts",
}


def page(results: list[Result]) -> str:
    """Return the page for results, which are sorted."""
    parts = [HEAD]
    for target, heading in SECTIONS.items():
        rows = [one for one in results if one.target == target]
        if rows:
            parts.append(f"\n## {heading}\n\n`make {target}`:\n\n")
            parts.append("| tried | result | on | when | commit |\n|---|---|---|---|---|\n")
            parts += [
                f"| {one.subject} | {one.outcome} | {one.system} | {one.date} | {one.commit} |\n"
                for one in rows
            ]
    return "".join(parts)


def main() -> None:
    """Write the page, or compare it."""
    text = page(read_all())
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        sys.exit("docs/platforms.md is not what docs/build_platforms.py makes")


if __name__ == "__main__":
    main()
