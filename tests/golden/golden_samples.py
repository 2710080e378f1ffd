"""Recorded runs of the original setkey: reading them, masking what no two runs share, comparing.

``samples/NN-name.conf`` is a script, ``NN-name.txt`` what ipsec-tools' setkey 0.9.1 printed with it
on Linux 6.1 with AF_KEY, command by command. Where ours prints something else on purpose, or on
another kernel, ``differences.toml`` says what and why, line for line.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kamexfrm.model.linux.kernel_range import holds_for

SAMPLES = Path(__file__).parent / "samples"
DIFFERENCES = Path(__file__).parent / "differences.toml"

#: What differs from one run to the next: a pattern, what stands for it, and what it is.
VOLATILE: tuple[tuple[str, str, str], ...] = (
    (r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}", "DATE", "dates of -D and -DP"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", "dates of ip -s xfrm"),
    (r"\bdiff: \d+\(s\)", "diff: AGE(s)", "ages of SAs"),
    (r"(?m)^\d{4} (\S+ +[LMDd] \w{8}) +\d+/", r"MMSS \1 AGE/", "time and age in -l"),
    (r"\bpid=\d+", "pid=PID", "process ids"),
    (r"(?m)^(\t.*seq)=\d+ pid", r"\1=N pid", "the number in a dump: the order is compared anyway"),
    (r"(?m)^\tspid=\d+", "\tspid=ID", "ids of policies, a counter of the kernel"),
    (r"\bdir=(\d) (flags=\w+ )?id=[0-9a-f]+", r"dir=\1 \2id=ID", "ids of policies in -v"),
    (r"(?m)^  len=(\d+) reserved=[12] ", r"  len=\1 reserved=N ", "the same refcnt in -v"),
    (
        r"setkey @\(#\).*\n(usage: setkey .*\n(?: +setkey .*\n)+)?",
        "VERSION AND USAGE\n",
        "another program has another version and its own options",
    ),
    (r"(?m)^(00000000: (?:\w\w ){12})(?:\w\w ){4}$", r"\1PID", "process ids in rows of -H"),
    (r"\baddtime=1\d{9}\b", "addtime=NOW", "times of creation in -v"),
    (r"(?m)^\trefcnt=[12]$", "\trefcnt=N", "2 for a second while a timer holds the policy, then 1"),
    (
        r"(\tah mode=\w+ )spi=\d+\(0x[0-9a-f]{8}\)( .*\n.* state=larval )",
        r"\1spi=CHOSEN\2",
        "the SPI that getspi 0 leaves to the kernel",
    ),
    (r"(\tproto ah) spi 0x[0-9a-f]{8}\(\d+\)", r"\1 spi CHOSEN", "the same in ip xfrm"),
)

#: What is compared of ``ip -s xfrm state``; flags, selectors, sequence numbers and times are not.
_STATE_LINE = re.compile(
    r"src |\tproto |\treplay-window \d+|\t(?:auth|auth-trunc|enc|comp|aead|encap) |"
    r"\t  limit: |\t  expire |\t  \d+\(bytes\), |\tsecurity context"
)
_STATE_NOISE = re.compile(r"(?<=\treplay-window )(\d+).*| addr \S+$")

#: What tells entries with the same first line apart: an SPI, a direction.
_NAMED = re.compile(r"\bspi[= ]\S+|\n\t(?:in|out|fwd)\b")

_STEP = re.compile(r"### (.*?) *\[exit (\d+)\]")
_STREAM = re.compile(r"--- (stdout|stderr)")


class Done(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


class Step(NamedTuple):
    """One recorded command: ``title`` is its line, ``turn`` counts equal titles of a sample."""

    sample: str
    title: str
    turn: int
    done: Done

    @property
    def name(self) -> str:
        """How ``differences.toml`` calls it."""
        again = f" ({self.turn + 1})" if self.turn else ""
        return f"{self.sample}: {self.title}{again}"


def samples() -> list[str]:
    """Return the names of all samples."""
    return sorted(path.stem for path in SAMPLES.glob("*.txt"))


def steps(sample: str) -> list[Step]:
    """Read a sample; what is in it besides commands is left out."""
    found: list[Step] = []
    turns: dict[str, int] = {}
    head: re.Match[str] | None = None
    text = {"stdout": "", "stderr": ""}
    stream = ""

    def close() -> None:
        if head is not None:
            title = " ".join(head[1].split())
            turn = turns[title] = turns.get(title, -1) + 1
            found.append(
                Step(sample, title, turn, Done(int(head[2]), text["stdout"], text["stderr"]))
            )

    lines = (SAMPLES / f"{sample}.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    for line in lines:
        if line.startswith("###"):
            close()
            head = _STEP.fullmatch(line.rstrip("\n"))
            text, stream = {"stdout": "", "stderr": ""}, ""
        elif match := _STREAM.fullmatch(line.rstrip("\n")):
            stream = match[1]
        elif stream:
            text[stream] += line
    close()
    return found


def masked(text: str) -> str:
    """Return a text with what is volatile replaced."""
    for pattern, instead, _ in VOLATILE:
        text = re.sub(pattern, instead, text)
    return text


def states(text: str) -> str:
    """Return what is compared of ``ip -s xfrm state``."""
    kept = (line for line in text.splitlines() if _STATE_LINE.match(line))
    return "".join(_STATE_NOISE.sub(r"\1", line) + "\n" for line in kept)


def hunks(recorded: Done, ours: Done) -> set[str]:
    """Return the differences as pieces of a diff: ``-`` recorded, ``+`` ours.

    Entries of a dump are compared each with its own counterpart, and their order too.
    """
    found = set()
    if recorded.status != ours.status:
        found.add(f"-exit status {recorded.status}\n+exit status {ours.status}\n")
    for old, new in ((recorded.out, ours.out), (recorded.err, ours.err)):
        a, b = _blocks(masked(old)), _blocks(masked(new))
        for kind, a1, a2, b1, b2 in _opcodes([x.key for x in a], [x.key for x in b]):
            if kind != "equal":
                found.add(_hunk(_lines(a[a1:a2]), _lines(b[b1:b2])))
                continue
            for left, right in zip(a[a1:a2], b[b1:b2], strict=True):
                for sort, c1, c2, d1, d2 in _opcodes(left.lines, right.lines):
                    if sort != "equal":
                        found.add(_hunk(left.lines[c1:c2], right.lines[d1:d2]))
    return found


class _Block(NamedTuple):
    """A line and the indented ones after it; ``key`` tells an entry of a dump from the others."""

    key: str
    lines: list[str]


def _blocks(text: str) -> list[_Block]:
    groups: list[list[str]] = []
    for line in text.splitlines():
        if groups and line[:1] in ("\t", " "):
            groups[-1].append(line)
        else:
            groups.append([line])
    return [
        _Block("".join((group[0], *_NAMED.findall("\n".join(group))[:1])), group)
        for group in groups
    ]


def _lines(blocks: Sequence[_Block]) -> list[str]:
    return [line for block in blocks for line in block.lines]


def _opcodes(a: list[str], b: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    return difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()


def _hunk(gone: list[str], new: list[str]) -> str:
    return "".join([*(f"-{line}\n" for line in gone), *(f"+{line}\n" for line in new)])


class Differences(NamedTuple):
    """``differences.toml``, read: hunks by step, and steps that are not run, with the reason."""

    hunks: Mapping[str, frozenset[str]]
    not_run: Mapping[str, str]


def read_differences() -> Differences:
    """Read and check the file: every difference has a reason, every reason a difference.

    What holds for other kernels than the running one is left out.
    """
    content = tomllib.loads(DIFFERENCES.read_text(encoding="utf-8"))
    reasons: dict[str, str] = content["reasons"]
    found: dict[str, set[str]] = {}
    used = set()
    for row in content["difference"]:
        used.add(row["why"])
        if not holds_for(row.get("kernels", ""), os.uname().release):
            continue
        for step in row["where"]:
            found.setdefault(step, set()).add(row["diff"])
    assert used == set(reasons), f"reasons and differences do not match: {used ^ set(reasons)}"
    return Differences({step: frozenset(h) for step, h in found.items()}, content["not_run"])


def as_toml(step: str, found: Iterable[str]) -> str:
    """Return differences as they are to stand in the file, once somebody knows a reason."""
    return "".join(
        f"[[difference]]\nwhy = \"\"\nwhere = [\"{step}\"]\ndiff = '''\n{hunk}'''\n\n"
        for hunk in sorted(found)
    )
