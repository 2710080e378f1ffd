"""What was run on which platform, when, and its result: a file for each in packaging/results.

The targets that need another system write them; ``docs/build_platforms.py`` makes the page.
"""

import json
import platform
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "packaging" / "results"


class Result(NamedTuple):
    """One run: ``target`` is make's, ``subject`` what it was tried on, ``outcome`` a short line."""

    target: str
    subject: str
    outcome: str
    system: str
    date: str
    commit: str


def record(target: str, subject: str, outcome: str, system: str = "") -> Result:
    """Write the result of a run that ended now; ``system`` is where it ran, this one by default."""
    result = Result(
        target,
        subject,
        outcome,
        system or this_system(),
        time.strftime("%Y-%m-%d", time.gmtime()),
        _commit(),
    )
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(result._asdict(), indent=2)
    (FOLDER / f"{_file_name(target, subject)}.json").write_text(f"{text}\n")
    print(f"{target}, {subject}: {outcome}", flush=True)
    return result


def read_all(folder: Path = FOLDER) -> list[Result]:
    """Return all results, sorted by target and subject."""
    found: list[dict[str, Any]] = [
        json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))
    ]
    return sorted(Result(**one) for one in found)


def this_system() -> str:
    """Return the distribution and the kernel of this machine, such as ``Debian 12, Linux 6.1``."""
    release = platform.freedesktop_os_release()
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{release['ID'].capitalize()} {release.get('VERSION_ID', '?')}, Linux {kernel}"


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short=8", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _file_name(target: str, subject: str) -> str:
    letters = f"{target}-{subject}".lower()
    return "-".join("".join(c if c.isalnum() or c == "." else " " for c in letters).split())
