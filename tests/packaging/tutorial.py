"""``make tutorial-test``: README and tutorial, followed word by word on fresh Debian systems.

In each suite root installs what the pages say; an ordinary user types the rest into a shell of
their own. Each command ends well and prints what its page shows. ``--wheel`` takes the wheel of
dist in place of the checkout.
"""

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from tests.docs.dialogue import Dialogue, dialogues, is_same
from tests.packaging.results import ROOT, record
from tests.packaging.roots import NAMES, SUITES, Root

USER = "user"
HOME = f"/home/{USER}"

#: Commands that end with another status than 0 where the page shows why.
FAILING = re.compile(r"broken\.rig\.toml$|rig run mine\.rig\.toml$|setkey -f -$|^kamexfrm explain")

#: Opens a shell in a network namespace, where what follows is typed until ``exit``.
NAMESPACE = "unshare -rn"


class Typed(NamedTuple):
    """A command of a page, and whether what it prints stands there, too."""

    page: str
    dialogue: Dialogue
    compares: bool


def tutorial() -> Iterator[Typed]:
    """Yield what the tutorial says to type."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for dialogue in dialogues(block):
            yield Typed("tutorial", dialogue, kind == "console")


def readme() -> Iterator[Typed]:
    """Yield what README says to type, and its Python lines within the network of its tour."""
    text = (ROOT / "README.md").read_text()
    [python] = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE):
        for dialogue in dialogues(textwrap.dedent(block)):
            if dialogue.command == "exit":
                command = f"python3 -c {shlex.quote(python)} 2>&1 | tail -1"
                said = ("BlockingIOError: [Errno 11] Resource temporarily unavailable",)
                yield Typed("README", Dialogue("#", command, said), True)
            compares = bool(dialogue.said) or dialogue.command.startswith(("setkey", "ip "))
            yield Typed("README", dialogue, compares)


def script(typed: list[Typed], start: str) -> str:
    """Return a script of bash that types the user's commands and keeps what each prints."""
    lines = [f"cd {start}", "mkdir -p ~/said"]
    for number, (_, (_, command, _), _) in enumerate(typed):
        if command == NAMESPACE:
            lines.append(f"{NAMESPACE} bash <<'END OF THE NAMESPACE'")
        elif command == "exit":
            lines.append("END OF THE NAMESPACE")
        else:
            kept = f"</dev/null >~/said/{number} 2>&1; echo $? >~/said/{number}.status"
            lines.append(f"{{ {command}\n}} {kept}")
    return "\n".join(lines) + "\n"


def follow(root: Root, page: list[Typed], source: str) -> None:
    """Type a page's commands; SystemExit where one fails or prints something else."""
    for _, dialogue, _ in page:
        if dialogue.command.startswith("apt "):
            root.run(dialogue.command.replace("apt install", "apt-get -q -y install"))
    mine = [one for one in page if not one.dialogue.command.startswith("apt ")]
    text = script(mine, source)
    home = root.files / "home" / USER
    (home / "typed.sh").write_text(text)
    root.run(f"rm -rf {HOME}/said; su - {USER} -c 'bash typed.sh'")
    wrong: list[str] = []
    for number, one in enumerate(mine):
        if one.dialogue.command not in (NAMESPACE, "exit"):
            printed = (home / "said" / str(number)).read_text().splitlines()
            status = int((home / "said" / f"{number}.status").read_text())
            if not _is_as_shown(one, printed, status):
                wrong += [f"{root.suite}, {one.page}: {one.dialogue.command}"]
                wrong += [f"status {status}", *printed, ""]
    if wrong:
        sys.exit("\n".join(wrong))


def _is_as_shown(one: Typed, printed: list[str], status: int) -> bool:
    if status and not FAILING.search(one.dialogue.command):
        return False
    return not one.compares or is_same(printed, [*one.dialogue.said])


def _checkout(root: Root) -> str:
    """Put a clone into the user's home; return its path."""
    place = root.files / "home" / USER / "kamexfrm"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(place)], check=True)
    root.run(f"chown -R {USER}: {HOME}")
    return f"{HOME}/kamexfrm"


def _with_wheel(page: list[Typed], root: Root) -> list[Typed]:
    """Return the page with the wheel's name in place of the dot; the wheel is in the home."""
    [wheel] = (ROOT / "dist").glob("*.whl")
    shutil.copy2(wheel, root.files / "home" / USER)
    return [
        one._replace(
            dialogue=one.dialogue._replace(
                command=re.sub(r"(pip install .*) \.$", rf"\1 {wheel.name}", one.dialogue.command)
            )
        )
        for one in page
    ]


def main() -> None:
    """Follow both pages on each suite of the command line, or on all."""
    suites = [word for word in sys.argv[1:] if word != "--wheel"]
    is_wheel = "--wheel" in sys.argv
    for suite in suites or SUITES:
        for name, page in (("tutorial", [*tutorial()]), ("README", [*readme()])):
            with Root(suite) as root:
                root.run(f"useradd --create-home --shell /bin/bash {USER}")
                if is_wheel:
                    follow(root, _with_wheel(page, root), HOME)
                else:
                    follow(root, page, _checkout(root))
            print(f"{suite}: {name} followed, {len(page)} commands", flush=True)
        subject = f"{NAMES[suite]}, {'wheel' if is_wheel else 'checkout'}"
        outcome = "README and tutorial followed by an ordinary user: all as they show"
        record("tutorial-test", subject, outcome, NAMES[suite])


if __name__ == "__main__":
    main()
