"""``make platforms``: a bare clone on fresh Debian systems, as a new user has it.

In each suite: ``make demo`` as root and as an ordinary user, and ``make test`` as root
(``--demo-only`` and ``--test-only`` choose).
"""

import re
import subprocess
import sys

from tests.packaging.results import ROOT, record
from tests.packaging.roots import NAMES, SUITES, Root

DONE = "All as promised."

#: Seconds that the tests in the guest may take: others may use this machine too.
_PATIENCE = 5400


def main() -> None:
    """Try each suite of the command line, or all; end with 1 where something fails."""
    options = {word for word in sys.argv[1:] if word.startswith("--")}
    suites = [word for word in sys.argv[1:] if word not in options]
    for suite in suites or SUITES:
        with Root(suite) as root:
            clone = root.files / "root" / "kamexfrm"
            command = ["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(clone)]
            subprocess.run(command, check=True)
            if "--test-only" not in options:
                _demos(root)
            if "--demo-only" not in options:
                _tests(root)


def _demos(root: Root) -> None:
    said = root.run("cd kamexfrm; make demo; python3 --version; iproute2=$(ip -V); echo $iproute2")
    if DONE not in said:
        sys.exit(said)
    record(
        "platforms", f"{NAMES[root.suite]}, demo", "make demo as root: done", _system(root, said)
    )
    root.run(
        "useradd --create-home user; cp -a kamexfrm /home/user/; rm -rf /home/user/kamexfrm/.venv"
    )
    said = root.run(
        "chown -R user: /home/user; su user -c 'cd ~/kamexfrm; make demo; python3 --version'"
    )
    if DONE not in said:
        sys.exit(said)
    subject = f"{NAMES[root.suite]}, demo of a user"
    record("platforms", subject, "make demo as an ordinary user: done", _system(root, said))


def _tests(root: Root) -> None:
    log = ROOT / "build" / f"test-{root.suite}.log"
    options = f"PYTEST_ADDOPTS=--guest-timeout={_PATIENCE}"
    said = root.run(f"cd kamexfrm; {options} make test 2>&1 || :; python3 --version", log=log)
    ends = re.findall(r"^=+ (\d+ (?:passed|failed).*) =+$", said, re.MULTILINE)
    outcome = f"make test as root: {ends[-1] if ends else 'did not run'}"
    record("platforms", f"{NAMES[root.suite]}, test", outcome, _system(root, said))
    if not ends or " failed" in said or " error" in said:
        sys.exit("\n".join(said.splitlines()[-60:]))


def _system(root: Root, said: str) -> str:
    version = re.findall(r"^Python ([\d.]+)$", said, re.MULTILINE)
    return f"{NAMES[root.suite]}, Python {version[-1]}"


if __name__ == "__main__":
    main()
