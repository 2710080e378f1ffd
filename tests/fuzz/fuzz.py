"""Fuzzes readers of hostile input: ``python tests/fuzz/fuzz.py --seconds 600 [TARGET ...]``.

With atheris installed coverage guides it, and what reached new code is kept under build/fuzz for
the next time; else inputs of the tests are damaged at random. Each target runs in a process of its
own. What is found is printed; the exit status is then 1.
"""

import argparse
import importlib.util
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.fuzz.mutation import HANGS, fuzz  # noqa: E402
from tests.fuzz.targets import TARGETS, load  # noqa: E402

#: Inputs that reached new code, and those that broke a law.
FOLDER = ROOT / "build/fuzz"

#: Megabytes that a target may take: inputs are small.
MEMORY = 1024

#: Characters of a target's output that are shown where it found something.
OUTPUT = 10_000

#: Bytes of the longest input.
LONGEST = 4096


def run_guided(name: str, seconds: float, seed: int) -> None:
    """Fuzz a target with atheris; ends the process, with status 0 where nothing was found."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["kamexfrm"]):
        target = load(name)
    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(target.seeds()):
        (corpus / f"seed-{number:04}").write_bytes(text)

    words = FOLDER / f"{name}.dict"
    quoted = ["".join(f"\\x{byte:02x}" for byte in piece) for piece in target.pieces]
    words.write_text("".join(f'"{text}"\n' for text in quoted if len(text) < 256))

    def check(data: bytes) -> None:
        target.check(data)

    options = [
        f"-max_total_time={seconds:.0f}",
        f"-seed={seed}",
        f"-timeout={HANGS:.0f}",
        f"-rss_limit_mb={MEMORY}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={FOLDER}/{name}-found-",
        f"-dict={words}",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], check)
    atheris.Fuzz()


def run_unguided(name: str, seconds: float, seed: int) -> int:
    """Fuzz a target by damage alone; return the exit status."""
    found = False
    for finding in fuzz(load(name), seed, seconds=seconds):
        found = True
        print(f"\n== {finding.kind}\n{finding.text[:500]!r}\n{finding.detail}", flush=True)
    return int(found)


def run_all(names: list[str], seconds: float, seed: int, *, guided: bool) -> int:
    """Run targets one after the other, each in its process; return 1 where one found something."""
    how = "coverage" if guided else "damage alone (atheris is not installed)"
    print(f"{seconds:.0f} s for each target, guided by {how}, seed {seed}", flush=True)
    status = 0
    for name in names:
        print(f"{name}: {TARGETS[name]}", flush=True)
        command = [sys.executable, __file__, "--alone", f"--seconds={seconds}", f"--seed={seed}"]
        if not guided:
            command.append("--unguided")
        done = subprocess.run([*command, name], check=False, capture_output=True)
        output = (done.stdout + done.stderr).decode(errors="replace")
        print(f"    {_summary(output)}", flush=True)
        if done.returncode:
            print(output[-OUTPUT:] + f"\n{name}: FOUND SOMETHING", flush=True)
            status = 1
    return status


def _summary(output: str) -> str:
    """Return the inputs tried, and how many were new, as libFuzzer or fuzz() reports them."""
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", output))
    if "number_of_executed_units" not in stats:
        return output.strip().rpartition("\n")[2]
    return (
        f"{stats['number_of_executed_units']} inputs, {stats['new_units_added']} of them reached "
        f"new code, {stats['peak_rss_mb']} MB"
    )


def main() -> int:
    """Run from the command line; return the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options.add_argument("--seconds", type=float, default=600.0, help="for each target (600)")
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--unguided", action="store_true", help="do without atheris")
    options.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    names = chosen.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        options.error(f"no target {unknown[0]}")
    seed = random.SystemRandom().randrange(1, 2**31) if chosen.seed is None else chosen.seed
    guided = not chosen.unguided and importlib.util.find_spec("atheris") is not None
    if not chosen.alone:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which ends the target as well
        return run_all(names, chosen.seconds, seed, guided=guided)
    if guided:
        run_guided(names[0], chosen.seconds, seed)
    return run_unguided(names[0], chosen.seconds, seed)


if __name__ == "__main__":
    sys.exit(main())
