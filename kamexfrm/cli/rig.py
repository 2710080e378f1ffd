"""``kamexfrm rig``: scripted network namespaces to try and test IPsec configurations in."""

import fnmatch
import json
import os
import shutil
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from kamexfrm.rig.scenario.plan import Case
    from kamexfrm.rig.scenario.report.transcript import Transcript
    from kamexfrm.rig.scenario.result import CaseResult
    from kamexfrm.rig.scenario.run.runner import Pause

#: Exit statuses.
PASSED, FAILED, USAGE, SKIPPED = 0, 1, 2, 4

#: Seconds that a guest has for everything, unless --timeout says otherwise or somebody is asked.
_PATIENCE = 600.0

_FILE = click.Path(path_type=Path)


@click.group()
def rig() -> None:
    """Try and test IPsec configurations on hosts made of network namespaces.

    A scenario is a TOML file: hosts and links, a setkey script for each host, steps and what is
    expected of them. See kame-rig(7).
    """


@rig.command()
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE...")
@click.option("-k", "pattern", default="", help="Only cases whose FILE[CASE] has this in it.")
@click.option(
    "--kernel",
    default="auto",
    show_default=True,
    metavar="auto|host|guest|PATH",
    help="Where: auto is the running kernel if it can, else the guest; PATH is a guest's kernel.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show failed cases and the summary only.")
@click.option("-x", "--exitfirst", is_flag=True, help="Stop at the first failed case.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON report instead.")
@click.option("--junit", type=_FILE, help="Write a JUnit file.")
@click.option("--pcap", type=_FILE, help="Write captures and ESP keys into a folder.")
@click.option("--step", is_flag=True, help="Wait for Enter before each step.")
@click.option("--enter", metavar="HOST", help="Open a shell in a host at the end of each case.")
@click.option("--keep", is_flag=True, help="Keep the hosts of each case until Enter.")
@click.option("--timeout", type=float, help="Of the guest, in seconds: 600 unless it asks.")
@click.option("--colour/--no-colour", default=None, hidden=True)
@click.option("--shared", type=_FILE, hidden=True, help="The folder shared with the machine.")
def run(
    files: tuple[Path, ...],
    pattern: str,
    kernel: str,
    quiet: bool,
    exitfirst: bool,
    as_json: bool,
    junit: Path | None,
    pcap: Path | None,
    step: bool,
    enter: str | None,
    keep: bool,
    timeout: float | None,
    colour: bool | None,
    shared: Path | None,
) -> None:
    """Run scenarios: every case of every FILE.

    The status is 0 when all passed, 1 when one failed, 2 for a scenario or an option that cannot
    be read, 4 when no kernel here can run them.
    """
    from kamexfrm.rig.scenario.report import transcript as report
    from kamexfrm.rig.scenario.stage import kernels

    cases = read_cases(files, pattern)
    if enter and not any(enter in case.hosts for case in cases):
        usage(f"--enter {enter}: no host of that name")
    colour = report.wants_colour(sys.stdout) if colour is None else colour
    try:
        where = kernels.choose(kernel, cases)
    except kernels.Unable as reason:
        skip(str(reason))
    if where is kernels.Where.USER:
        _run_unshared()
    if where is kernels.Where.GUEST:
        words = ["-k", pattern] if pattern else []
        words += ["--quiet"] if quiet else []
        words += ["--exitfirst"] if exitfirst else []
        words += ["--json"] if as_json else []
        words += ["--step"] if step else []
        words += ["--enter", enter] if enter else []
        words += ["--keep"] if keep else []
        words += ["--colour" if colour else "--no-colour"]
        asks = step or keep or bool(enter)
        guest = InGuest(kernel, None if asks and timeout is None else timeout or _PATIENCE, asks)
        sys.exit(guest.run(cases, files, words, junit, pcap))
    pause = None
    if step or keep or enter:
        from kamexfrm.rig.scenario.run.pausing import Pausing

        pause = Pausing(step=step, enter=enter or "", keep=keep, shared=shared)
    transcript = report.Transcript(
        sys.stderr if as_json else sys.stdout, colour=colour, quiet=quiet or as_json
    )
    results = _run_here(cases, transcript, pcap, pause, exitfirst)
    if as_json:
        click.echo(json.dumps(report.as_json(results), indent=2))
    if junit:
        report.write_junit(junit, results)
    sys.exit(PASSED if all(result.passed for result in results) else FAILED)


def read_cases(files: tuple[Path, ...], pattern: str) -> "list[Case]":
    """Read all files, so that a mistake in the last is known before the first runs."""
    from kamexfrm.rig.scenario.reading import document
    from kamexfrm.rig.scenario.report import transcript as report

    cases: list[Case] = []
    try:
        for file in files:
            cases += document.read_file(file)
    except document.ScenarioError as error:
        usage(str(error))
    glob = pattern if any(c in pattern for c in "*?") else f"*{pattern}*"
    chosen = [
        case
        for case in cases
        if pattern in report.identity(case) or fnmatch.fnmatch(report.identity(case), glob)
    ]
    if not chosen:
        usage(f"-k {pattern}: none of {len(cases)} cases")
    return chosen


def usage(text: str) -> NoReturn:
    """Leave with what cannot be read."""
    click.echo(f"kamexfrm rig: {text}", err=True)
    sys.exit(USAGE)


def skip(reason: str) -> NoReturn:
    """Leave with the reason why nothing can be run."""
    click.echo(f"kamexfrm rig: skipped: {reason}", err=True)
    sys.exit(SKIPPED)


def _run_here(
    cases: "list[Case]",
    transcript: "Transcript",
    pcap: Path | None,
    pause: "Pause | None",
    exitfirst: bool,
) -> "list[CaseResult]":
    from kamexfrm.rig.scenario.run.runner import Runner

    begin = time.monotonic()
    runner = Runner(transcript, pcap=pcap, pause=pause)
    results: list[CaseResult] = []
    for case in cases:
        results.append(runner.run(case))
        if exitfirst and not results[-1].passed:
            break
    transcript.summary(results, time.monotonic() - begin)
    return results


def _run_unshared() -> NoReturn:
    """Run this command once more as root of a user namespace of its own."""
    from kamexfrm.rig.scenario.run import holder

    os.environ["KAMEXFRM_UNSHARED"] = "1"
    os.environ.setdefault(holder.FOLDER, str(holder.folder()))
    words = ["unshare", "--map-root-user", "--net", sys.executable, "-m", "kamexfrm.cli"]
    sys.stdout.flush()
    os.execvp(words[0], [*words, *sys.argv[1:]])  # noqa: S606 (our own command line)


class InGuest:
    """Runs the same command in a guest; captures and reports come out by a folder.

    ``timeout`` in seconds. ``asks`` is whether somebody will be asked: by a terminal then.
    """

    def __init__(self, kernel: str, timeout: float | None, asks: bool) -> None:
        self._program = None if kernel in ("auto", "guest") else Path(kernel)
        self._timeout = timeout
        self._asks = asks

    def run(
        self,
        cases: "list[Case]",
        files: tuple[Path, ...],
        words: list[str],
        junit: Path | None,
        pcap: Path | None,
    ) -> int:
        """Run files with further options; return the exit status."""
        from kamexfrm.rig import guest as guests
        from kamexfrm.rig.reaper import WatchedFolder

        with WatchedFolder("kamexfrm-rig.") as watched:
            share = watched.path
            words += ["--junit", str(share / "junit.xml")] if junit else []
            words += ["--pcap", str(share / "pcap")] if pcap else []
            words += ["--shared", str(share)] if "--keep" in words else []
            command = [sys.executable, "-u", "-m", "kamexfrm.cli", "rig", "run"]
            command += ["--kernel", "host", *words, "--", *map(str, files)]
            try:
                with self._announced(cases, share) if "--keep" in words else nullcontext():
                    status = self._guest(command, share)
            except guests.GuestTimeoutError as error:
                click.echo(f"kamexfrm rig: {error}", err=True)
                return FAILED
            except guests.GuestError as error:
                skip(f"the running kernel cannot, and the guest neither: {error}")
            if junit and (share / "junit.xml").exists():
                shutil.copyfile(share / "junit.xml", junit)
            if pcap and (share / "pcap").exists():
                shutil.copytree(share / "pcap", pcap, dirs_exist_ok=True)
        return status

    def _guest(self, command: list[str], share: Path) -> int:
        from kamexfrm.rig import guest as guests

        outputs = (sys.stdout, sys.stderr)
        names = [n for n, f in zip(("stdout", "stderr"), outputs, strict=True) if f.isatty()]
        with guests.Guest(
            command,
            share=share,
            timeout=self._timeout,
            program=self._program,
            console=names if self._asks else None,
            consoles=share,
        ) as guest:
            return guest.wait(sys.stdout.buffer, sys.stderr.buffer)

    @staticmethod
    def _announced(cases: "list[Case]", share: Path) -> AbstractContextManager[None]:
        """Let ``kamexfrm rig enter`` find the hosts that are kept in the guest."""
        from kamexfrm.rig.scenario.run import holder

        hosts = dict.fromkeys((name for case in cases for name in case.hosts), 0)
        name = holder.free_name(holder.name_of(cases[0].file))
        return holder.announced(holder.mine(name, cases[0], hosts, str(share)))


@rig.command()
@click.argument("kind", required=False)
def new(kind: str | None) -> None:
    """Print a scenario to begin with; without KIND, say which there are.

    Redirect it to a file: kamexfrm rig new tunnel > tunnel.rig.toml
    """
    from kamexfrm.rig.scenario.reading import gallery
    from kamexfrm.rig.scenario.reading.table import suggestion

    if kind is None:
        for name in gallery.kinds():
            click.echo(f"{name:<16} {gallery.title_of(name)}")
        return
    if kind not in gallery.kinds():
        usage(f"no kind {kind}{suggestion(kind, gallery.kinds())}")
    click.echo(gallery.path_of(kind).read_text(encoding="utf-8"), nl=False)


@rig.command()
@click.argument("file", type=_FILE)
@click.option("-k", "pattern", default="", help="The first case with this in FILE[CASE].")
@click.option("--svg", is_flag=True, help="Print an SVG picture.")
def graph(file: Path, pattern: str, svg: bool) -> None:
    """Draw the hosts and links of a scenario."""
    from kamexfrm.rig.scenario.report import graph as drawing

    case = read_cases((file,), pattern)[0]
    click.echo(drawing.svg(case) if svg else drawing.text(case), nl=False)


@rig.command("list")
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE...")
@click.option("-k", "pattern", default="", help="Only cases whose FILE[CASE] has this in it.")
def list_cases(files: tuple[Path, ...], pattern: str) -> None:
    """List the cases of scenarios; a way to check files without running them."""
    from kamexfrm.rig.scenario.report import transcript as report

    for case in read_cases(files, pattern):
        click.echo(report.identity(case))


@rig.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Say which kernels can run scenarios here, and what is to be done where one cannot.

    The status is 0 when ESP can be tried somehow, else 4.
    """
    from kamexfrm.rig.scenario.stage import doctor as examining

    findings = examining.findings()
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{'yes' if finding.well else 'no':<4} {finding.what}")
            if finding.cure:
                click.echo(f"     {finding.cure}")
    sys.exit(PASSED if examining.able(findings) else SKIPPED)
