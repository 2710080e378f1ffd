"""Fuzzes setkey's reader: ``python tests/fuzz/fuzz_setkey.py --seconds 600 --seed 1``.

With atheris installed it is guided by coverage; else texts of the tests are damaged at random, and
a damaged one that the reader answers in a new way is damaged further. What is found is made
smaller and printed; the exit status is then 1.
"""

import argparse
import importlib
import random
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.fuzz.setkey_laws import check

TESTS = Path(__file__).parent.parent

#: Seconds of processor time to read one text of less than 100,000 bytes.
SLOW = 1.0

#: Seconds after which a text has hung.
HANGS = 60.0

#: What damaged texts are damaged with.
PIECES = [
    *(b"\0", b"\r\n", b"\n", b"\r", b";", b"#", b'"', b"\\\n", b"\\", b"$", b"\xff", b"\xc2\xb2"),
    *(b"-P", b"-E", b"-A", b"-C", b"-R", b'-ctx 1 1 "l"', b"-u", b"-r", b"-lh", b"-natt_mtu 9"),
    *(b"-m any", b"-m tunnel", b"-f", b"-n", b"-46n", b"-hwif e0", b"-esn", b"-natt", b"-5", b"-"),
    *(b"0", b"1", b"255", b"256", b"65535", b"65536", b"4294967295", b"4294967296", b"-1"),
    *(b"18446744073709551615", b"18446744073709551616", b"9" * 40, b"0x", b"0xffffffff", b"0x123"),
    *(b"[", b"]", b"[any]", b"[80]", b"[domain]", b"/", b"/24", b"/128", b"//", b",", b"8,0"),
    *(b"::", b"::1", b"fe80::1%lo", b"0.0.0.0/0", b"10.1", b"2001:db8::/32", b"::ffff:1.2.3.4"),
    *(b"any", b"tcp", b"icmp", b"icmp6", b"gre", b"mh", b"esp", b"ah", b"ipcomp", b"50", b"ip4"),
    *(b"esp-udp", b"esp-old", b"ah-old", b'tagged "t"', b"none", b"discard", b"ipsec", b"entrust"),
    *(
        b"bypass",
        b"in",
        b"out",
        b"fwd",
        b"prio",
        b"priority",
        b"low",
        b"def",
        b"high",
        b"+",
        b"use",
    ),
    *(b"transport", b"tunnel", b"require", b"unique", b"unique:7", b"unique#70000", b"use#5"),
    *(b"default", b"me-any", b"any-me", b"encap", b"1.1.1.1-2.2.2.2", b"1.1.1.1[500]-2.2.2.2[500]"),
    *(
        b"spdadd ",
        b"add ",
        b"delete ",
        b"get ",
        b"getspi ",
        b"deleteall ",
        b"flush",
        b"dump",
        b"exit",
    ),
    *(b"spdupdate ", b"spddelete ", b"spdget ", b"spdflush", b"spddump", b"update ", b"bogus "),
    *(
        b"aes-cbc",
        b"null",
        b"aes-gcm-16",
        b"des-32iv",
        b"hmac-sha1",
        b"hmac-sha256-128",
        b"deflate",
    ),
]


class Finding(NamedTuple):
    """A text and what is wrong about it; ``kind`` is the same for the same fault."""

    kind: str
    text: bytes
    detail: str


class HungError(Exception):
    """Reading a text does not end."""


def seeds() -> list[bytes]:
    """Return the scripts of the tests, whole and line by line."""
    found = [path.read_bytes() for path in sorted((TESTS / "golden/samples").glob("*.conf"))]
    commands = re.compile(rb"^(?:add|getspi|get|delete|dump|flush|spd\w+) .*;.*\n", re.MULTILINE)
    for folder in ("setkey/samples", "golden/samples"):
        for path in sorted((TESTS / folder).glob("*.txt")):
            found += commands.findall(path.read_bytes())
    for path in sorted((TESTS / "setkey").glob("test_*.py")):
        quoted = re.findall(r'"((?:add|spd\w+|delete|getspi)\b[^"\n]*)"', path.read_text())
        found += [line.replace("\\n", "\n").encode() for line in quoted]
    return sorted({text if text.endswith(b"\n") else text + b"\n" for text in found})


def damaged(chance: random.Random, corpus: list[bytes]) -> bytes:
    """Return a text made of others, with damage."""
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
            text[at:end] = chance.choice(PIECES) + chance.choice((b"", b"", b" "))
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
            text[at:end] = bytes(text[at:end] or chance.choice(PIECES)) * many
    return bytes(text[:99_000])


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise HungError


def look(text: bytes, slow: float = SLOW) -> tuple[str, Finding | None]:
    """Check one text; return the reader's answer in a few words, or what is wrong."""
    signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        return check(text, slow), None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frames[-1].filename).name}:{frames[-1].name}"
        name = type(error).__name__
        law = str(error).partition(":")[0] if name == "LawError" else where
        return "", Finding(f"{name} {law}", text, "".join(traceback.format_exception(error)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def smaller(finding: Finding, slow: float = SLOW) -> Finding:
    """Return a finding of the same kind with as little text as is soon found."""
    best, size = finding, max(1, len(finding.text) // 2)
    end = time.monotonic() + HANGS
    while size and time.monotonic() < end:
        at = 0
        while at < len(best.text) and time.monotonic() < end:
            less = best.text[:at] + best.text[at + size :]
            _, found = look(less, slow)
            if found and found.kind == finding.kind:
                best = found
            else:
                at += size
        size //= 2
    return best


def fuzz(
    seed: int, *, seconds: float | None = None, texts: int | None = None, slow: float = SLOW
) -> Iterator[Finding]:
    """Yield findings, each kind once, until the time is over or so many texts are looked at."""
    chance = random.Random(seed)
    corpus = seeds()
    kinds: set[str] = set()
    answers: set[str] = set()
    end = None if seconds is None else time.monotonic() + seconds
    looked = 0
    queue = list(corpus)
    while (end is None or time.monotonic() < end) and (texts is None or looked < texts):
        text = queue.pop() if queue else damaged(chance, corpus)
        looked += 1
        answer, finding = look(text, slow)
        if finding is not None and finding.kind not in kinds:
            kinds.add(finding.kind)
            yield smaller(finding, slow)
        elif answer and answer not in answers and len(answers) < 20_000:
            answers.add(answer)
            if len(text) < 3000:
                corpus.append(text)
    print(f"{looked} texts, {len(answers)} kinds of answers, {len(kinds)} findings")


def main() -> int:
    """Run from the command line; return the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=None)
    chosen = options.parse_args()
    seed = random.SystemRandom().randrange(2**32) if chosen.seed is None else chosen.seed
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        print(f"seed {seed}", flush=True)
    else:
        atheris.instrument_all()
        atheris.Setup(
            [sys.argv[0], f"-max_total_time={chosen.seconds:.0f}", f"-seed={seed}"], check
        )
        atheris.Fuzz()
        return 0
    found = False
    for finding in fuzz(seed, seconds=chosen.seconds):
        found = True
        print(f"\n== {finding.kind}\n{finding.text[:500]!r}\n{finding.detail}", flush=True)
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
