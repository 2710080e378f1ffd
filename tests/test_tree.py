"""The top level of the tree: each file and folder there is one that somebody reads."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Read by git and by the integration; nothing in the tree needs to name them.
HIDDEN = {".ci", ".gitignore"}

#: Pages, where a name is known as ``name``, (name), "name" or name/...; in prose, a word is a word.
PAGES = ("README.md", "CONTRIBUTING.md", "docs/*", "man/*")

#: What builds, checks and runs, where any word that is a name counts.
MACHINERY = ("Makefile", "pyproject.toml", ".ci/run")


def tracked() -> set[str]:
    """Return the entries at the top level that git tracks."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("this tree is not a checkout")
    return {line.partition("/")[0] for line in done.stdout.splitlines()}


def text_of(patterns: tuple[str, ...]) -> str:
    paths = (path for one in patterns for path in sorted(ROOT.glob(one)) if path.is_file())
    return "\n".join(path.read_text() for path in paths)


def unknown(entries: set[str], pages: str, machinery: str) -> list[str]:
    """Return the entries that are no pages themselves and that nothing knows of."""

    def is_known(entry: str) -> bool:
        name = re.escape(entry)
        in_a_page = rf"(?<![\w./-])(?:{name}/|(?<=[`\"(]){name}[`\")])"
        return bool(
            re.search(in_a_page, pages) or re.search(rf"(?<![\w.-]){name}(?![\w-])", machinery)
        )

    known = {*PAGES, *MACHINERY, *HIDDEN}
    return sorted(entry for entry in entries - known if not is_known(entry))


def test_each_entry_at_the_top_is_named_by_a_page_or_by_what_builds_and_checks() -> None:
    assert unknown(tracked(), text_of(PAGES), text_of(MACHINERY)) == []


@pytest.mark.parametrize("stray", ["mark", "notes.txt", "policy"])
def test_a_stray_file_is_found(stray: str) -> None:
    pages = "the mark of a policy, see kamexfrm/rig/notes.txt and `docs`"
    assert unknown({"README.md", "docs", "tests", stray}, pages, "pytest tests/") == [stray]
