"""What pages show of a terminal: the commands, and whether what they print is what stands there."""

import re
from typing import NamedTuple

#: What differs from run to run: times, processes, dates, the kernel's ids.
CHANCE = re.compile(
    r"\d+\.\d+(?= s\b)|^ *\d+\.\d{3}(?= )|(?<=by process )\d+"
    r"|(?<=created: )[A-Z].*(?=  lastused)|(?<=pid=)\d+|(?<=spid=)\d+|(?<=id )\d+(?=\))"
)

#: Where the hosts are: that depends on the kernel, and on who runs it.
PLACE = re.compile(r" in a guest| \(in a user namespace\)")

#: What is said where the running kernel lacks ESP.
BOOTING = "kamexfrm rig: booting a guest"


class Dialogue(NamedTuple):
    """A command after its prompt, and the lines that it is said to print."""

    prompt: str
    command: str
    said: tuple[str, ...]


def dialogues(text: str) -> list[Dialogue]:
    """Return the dialogues of a block: lines after ``$``, ``#``, and ``>`` for what goes on."""
    found: list[Dialogue] = []
    for line in text.splitlines():
        if line[:2] in ("$ ", "# "):
            found.append(Dialogue(line[0], line[2:], ()))
        elif line.startswith("> "):
            last = found.pop()
            found.append(last._replace(command=f"{last.command}\n{line[2:]}"))
        elif found:
            last = found.pop()
            found.append(last._replace(said=(*last.said, line)))
    return found


def fenced(text: str, kind: str = "console") -> list[str]:
    """Return the fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def is_same(printed: list[str], said: list[str]) -> bool:
    """Whether all lines are the same, but for chance and white space; ``...`` is any number."""
    return _match(*([line for line in lines if line != BOOTING] for lines in (printed, said)))


def _match(printed: list[str], said: list[str]) -> bool:
    if not said:
        return not printed
    if said[0] == "...":
        return any(_match(printed[at:], said[1:]) for at in range(len(printed) + 1))
    return bool(printed) and _shape(printed[0]) == _shape(said[0]) and _match(printed[1:], said[1:])


def _shape(line: str) -> str:
    return " ".join(CHANCE.sub("N", PLACE.sub("", line)).split())
