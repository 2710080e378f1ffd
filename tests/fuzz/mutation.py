"""Fuzzing without coverage: inputs of the tests are damaged at random.

A damaged input that the reader answers in a new way is damaged further. What is found is made
smaller.
"""

import random
import signal
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from tests.fuzz.target import Target

#: Seconds after which a text has hung.
HANGS = 60.0


class Finding(NamedTuple):
    """A text and what is wrong about it; ``kind`` is the same for the same fault."""

    kind: str
    text: bytes
    detail: str


class HungError(Exception):
    """Reading a text does not end."""


def damaged(chance: random.Random, corpus: list[bytes], pieces: tuple[bytes, ...]) -> bytes:
    """Return an input made of others, with damage."""
    text = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        text += chance.choice(corpus)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5, 9))):
        at = chance.randrange(len(text) + 1)
        if chance.random() < 0.5:  # where a word begins
            spaces = [i + 1 for i, byte in enumerate(text[:2000]) if byte in b" /[-:;\n"]
            at = chance.choice(spaces) if spaces else at
        end = min(len(text), at + chance.choice((0, 0, 1, 1, 2, 4, 9, 30)))
        kind = chance.random()
        if kind < 0.6:
            text[at:end] = chance.choice(pieces) + chance.choice((b"", b"", b" "))
        elif kind < 0.75:
            text[at:end] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 1, 3))))
        elif kind < 0.85:
            other = chance.choice(corpus)
            start = chance.randrange(len(other))
            text[at:end] = other[start : start + chance.choice((5, 20, 100))]
        elif kind < 0.97:
            del text[at:end]
        else:
            many = chance.choice((3, 10, 100, 1000, 10000))
            text[at:end] = bytes(text[at:end] or chance.choice(pieces)) * many
    return bytes(text[:99_000])


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise HungError


def look(target: Target, text: bytes) -> tuple[str, Finding | None]:
    """Check one input; return the reader's answer in a few words, or what is wrong."""
    signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        return target.check(text), None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frames[-1].filename).name}:{frames[-1].name}"
        name = type(error).__name__
        law = str(error).partition(":")[0] if name == "LawError" else where
        return "", Finding(f"{name} {law}", text, "".join(traceback.format_exception(error)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def smaller(target: Target, finding: Finding) -> Finding:
    """Return a finding of the same kind with as little text as is soon found."""
    best, size = finding, max(1, len(finding.text) // 2)
    end = time.monotonic() + HANGS
    while size and time.monotonic() < end:
        at = 0
        while at < len(best.text) and time.monotonic() < end:
            less = best.text[:at] + best.text[at + size :]
            _, found = look(target, less)
            if found and found.kind == finding.kind:
                best = found
            else:
                at += size
        size //= 2
    return best


def fuzz(
    target: Target, seed: int, *, seconds: float | None = None, inputs: int | None = None
) -> Iterator[Finding]:
    """Yield findings, each kind once, until the time is over or so many inputs are tried."""
    chance = random.Random(seed)
    corpus = target.seeds()
    kinds: set[str] = set()
    answers: set[str] = set()
    end = None if seconds is None else time.monotonic() + seconds
    looked = 0
    queue = list(corpus)
    while (end is None or time.monotonic() < end) and (inputs is None or looked < inputs):
        text = queue.pop() if queue else damaged(chance, corpus, target.pieces)
        looked += 1
        answer, finding = look(target, text)
        if finding is not None and finding.kind not in kinds:
            kinds.add(finding.kind)
            yield smaller(target, finding)
        elif answer and answer not in answers and len(answers) < 20_000:
            answers.add(answer)
            if len(text) < 3000:
                corpus.append(text)
    print(f"{looked} inputs, {len(answers)} kinds of answers, {len(kinds)} findings")
