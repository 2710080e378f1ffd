"""``kamexfrm rig run``: on this kernel, in a user namespace, or the same command in a guest."""

import dataclasses
import json
import os
import shutil
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from kamexfrm.cli import rig_parallel
from kamexfrm.cli import rig_reports as reports
from kamexfrm.cli.rig_cases import (
    FAILED,
    FILE,
    PASSED,
    SELECTION,
    read_cases,
    skip,
    standard_input,
    usage,
    width_of,
)
from kamexfrm.cli.rig_parallel import part_of
from kamexfrm.cli.waiting import booting
from kamexfrm.command_line import wants_colour

if TYPE_CHECKING:
    from kamexfrm.rig.scenario.plan import Case
    from kamexfrm.rig.scenario.report.transcript import Transcript
    from kamexfrm.rig.scenario.result import CaseResult, RunResult
    from kamexfrm.rig.scenario.run.runner import Pause

#: Seconds that a guest has for everything, without --timeout and where no option is interactive.
_GUEST_TIMEOUT = 600.0


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """The options of ``run`` as click reads them; ``timeout`` in seconds."""

    files: tuple[Path, ...]
    pattern: str
    number: int
    part: str
    kernel: str
    quiet: bool
    verbose: bool
    exitfirst: bool
    as_json: bool
    junit: Path | None
    html: Path | None
    report: Path | None
    record: Path | None
    observe: bool
    pcap: Path | None
    step: bool
    enter: str | None
    keep: bool
    timeout: float | None
    colour: bool | None
    width: int | None
    shared: Path | None
    given: Path | None

    @property
    def interactive(self) -> bool:
        """Whether the run reads the terminal."""
        return self.step or self.keep or bool(self.enter)

    @property
    def guest_timeout(self) -> float | None:
        """Seconds that a guest has, None for no limit."""
        if self.interactive and self.timeout is None:
            return None
        return self.timeout or _GUEST_TIMEOUT

    def words(self, colour: bool, width: int) -> list[str]:
        """Return the options for the same command in a guest; files that it writes left out."""
        words = ["-k", self.pattern] if self.pattern else []
        words += ["--part", self.part] if self.part else []
        words += ["--quiet"] if self.quiet else []
        words += ["--verbose"] if self.verbose else []
        words += ["--exitfirst"] if self.exitfirst else []
        words += ["--json"] if self.as_json else []
        words += ["--observe"] if self.observe or self.html else []
        words += ["--step"] if self.step else []
        words += ["--enter", self.enter] if self.enter else []
        words += ["--keep"] if self.keep else []
        words += ["--colour" if colour else "--no-colour", "--width", str(width)]
        return words

    def words_of_part(self) -> list[str]:
        """Return the options and files for the same command about a part of the cases."""
        words = ["-k", self.pattern] if self.pattern else []
        words += ["--kernel", self.kernel]
        words += ["--exitfirst"] if self.exitfirst else []
        words += ["--observe"] if self.html else []
        words += ["--pcap", str(self.pcap)] if self.pcap else []
        words += ["--timeout", str(self.timeout)] if self.timeout else []
        return [*words, "--", *map(str, self.files)]


@click.command()
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@click.option("-k", "pattern", default="", metavar="EXPR", help=SELECTION)
@click.option(
    "-n",
    "--parallel",
    "number",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Run the cases in N guests at once, or N at once where the kernel can do it.",
)
@click.option("--part", default="", hidden=True, help="Of the cases, NUMBER/OF.")
@click.option(
    "--kernel",
    default="auto",
    show_default=True,
    metavar="auto|host|guest|debian:SUITE|PATH",
    help="Where: auto is the running kernel if it can, else the guest; or a guest's kernel.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show failed cases and the summary only.")
@click.option("-v", "--verbose", is_flag=True, help="Show packets and hosts at each failure.")
@click.option("-x", "--exitfirst", is_flag=True, help="Stop at the first failed case.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON report instead.")
@click.option("--junit", type=FILE, help="Write a JUnit file.")
@click.option("--html", type=FILE, metavar="FILE", help="Write a page with packets and causes.")
@click.option("--report", type=FILE, metavar="FILE", help="Write a text with all of failures.")
@click.option("--record", type=FILE, hidden=True, help="Write the run for the process outside.")
@click.option("--observe", is_flag=True, hidden=True, help="Record packets and what moved.")
@click.option("--pcap", type=FILE, help="Write captures and ESP keys into a folder.")
@click.option("--step", is_flag=True, help="Wait for Enter before each step.")
@click.option("--enter", metavar="HOST", help="Open a shell in a host at the end of each case.")
@click.option("--keep", is_flag=True, help="Keep the hosts of each case until Enter.")
@click.option("--timeout", type=float, help="Of the guest, in seconds: 600 unless it asks.")
@click.option("--colour/--no-colour", default=None, hidden=True, help="Whether to paint.")
@click.option("--width", type=int, hidden=True, help="Characters in a line, 0 for any.")
@click.option("--shared", type=FILE, hidden=True, help="The folder shared with the machine.")
@click.option("--given", type=FILE, hidden=True, help="The standard input, read before.")
def run(**options: Any) -> None:
    """Run scenarios: every case of every FILE.

    A folder stands for all scenarios in it, and - for the standard input.

    The status is 0 when all passed, 1 when one failed, 2 for a scenario or an option that cannot
    be read, 4 when no kernel here can run them.
    """
    sys.exit(_run(Options(**options)))


def _run(options: Options) -> int:
    """Run all chosen cases where they can be run; return the exit status."""
    from kamexfrm.rig.scenario.report import transcript as report
    from kamexfrm.rig.scenario.stage import kernels

    given = options.given.read_text() if options.given else standard_input(options.files)
    cases = read_cases(options.files, options.pattern, given)
    if options.enter and not any(options.enter in case.hosts for case in cases):
        usage(f"--enter {options.enter}: no host of that name")
    if options.part:
        cases = part_of(cases, options.part)
    if options.number > 1 and options.interactive:
        usage("-n goes with neither --step, --enter nor --keep")
    if not options.record:
        reports.check(options.junit, options.html, options.report)
    colour = wants_colour(sys.stdout) if options.colour is None else options.colour
    width = width_of(sys.stdout) if options.width is None else options.width
    try:
        where = kernels.choose(options.kernel, cases)
    except kernels.Unable as reason:
        skip(str(reason))
    if where is kernels.Where.USER:
        _run_unshared(given)
    transcript = report.Transcript(
        sys.stderr if options.as_json else sys.stdout,
        colour=colour,
        quiet=options.quiet or options.as_json,
        facts=options.verbose,
        width=width,
    )
    if options.number > 1 and len(cases) > 1:
        number = min(options.number, len(cases)) if where is kernels.Where.GUEST else 0
        done = _run_parts(cases, transcript, options, given, number)
    elif where is kernels.Where.GUEST:
        return _GuestRun(options, cases, transcript, given).run()
    else:
        done = _run_here(cases, transcript, options)
    if options.as_json:
        click.echo(json.dumps(report.as_json(done.results), indent=2))
    if options.junit:
        report.write_junit(options.junit, done.results)
    reports.write(done, html=options.html, report=options.report, record=options.record)
    return FAILED if done.failed else PASSED


def _run_here(cases: "list[Case]", transcript: "Transcript", options: Options) -> "RunResult":
    from kamexfrm.rig.scenario.result import RunResult
    from kamexfrm.rig.scenario.run.runner import Runner

    began, begin = time.time(), time.monotonic()
    runner = Runner(
        transcript,
        pcap=options.pcap,
        pause=_pause(options),
        observe=options.observe or bool(options.html),
    )
    results: list[CaseResult] = []
    for case in cases:
        results.append(runner.run(case))
        if options.exitfirst and not results[-1].passed:
            break
    seconds = time.monotonic() - begin
    if not options.record:  # the process outside tells how a run in a guest ended
        transcript.summary(results, seconds, reports.rest(options.report, cases[0].file))
    return RunResult(tuple(results), os.uname().release, began, seconds)


def _run_parts(
    cases: "list[Case]",
    transcript: "Transcript",
    options: Options,
    given: str | None,
    guests: int,
) -> "RunResult":
    """Run the cases in processes of their own, of which each boots a guest where there are any."""
    with booting("kamexfrm rig", guests) if guests else nullcontext() as begun:
        done = rig_parallel.run(
            cases,
            options.number,
            options.words_of_part(),
            transcript,
            given,
            begun,
            exitfirst=options.exitfirst,
        )
    transcript.summary(done.results, done.seconds, reports.rest(options.report, cases[0].file))
    return done


def _pause(options: Options) -> "Pause | None":
    if not options.interactive:
        return None
    from kamexfrm.rig.scenario.run.pausing import Pausing

    return Pausing(
        step=options.step, enter=options.enter or "", keep=options.keep, shared=options.shared
    )


def _run_unshared(given: str | None) -> NoReturn:
    """Run this command once more as root of a user namespace of its own."""
    from kamexfrm.rig import python
    from kamexfrm.rig.scenario.run import holder

    os.environ["KAMEXFRM_UNSHARED"] = "1"
    os.environ.setdefault(holder.FOLDER, str(holder.folder()))
    words = ["unshare", "--map-root-user", "--net", *python.module("kamexfrm.cli")]
    arguments = sys.argv[1:]
    if given is not None:
        file = os.memfd_create("scenario", 0)  # inherited
        with open(file, "w", closefd=False, encoding="utf-8") as written:
            written.write(given)
        after = arguments.index("run") + 1
        arguments[after:after] = ["--given", f"/proc/self/fd/{file}"]
    sys.stdout.flush()
    os.execvp(words[0], [*words, *arguments])  # noqa: S606 (our own command line)


class _GuestRun:
    """Runs the same command in a guest; captures and reports come out through a shared folder."""

    def __init__(
        self,
        options: Options,
        cases: "list[Case]",
        transcript: "Transcript",
        given: str | None,
    ) -> None:
        self._options = options
        self._cases = cases
        self._transcript = transcript
        self._given = given

    def run(self) -> int:
        """Run the guest, and say how all cases ended; return the exit status."""
        from kamexfrm.rig import guest as guests
        from kamexfrm.rig.reaper import WatchedFolder
        from kamexfrm.rig.scenario.stage import pcap

        options = self._options
        begin = time.monotonic()
        with WatchedFolder("kamexfrm-rig.") as watched:
            share = watched.path
            try:
                with self._announced(share) if options.keep else nullcontext():
                    status = self._guest(self._command(share), share)
            except guests.GuestTimeoutError as error:
                click.echo(f"kamexfrm rig: {error}", err=True)
                return FAILED
            except guests.GuestError as error:
                skip(f"the running kernel cannot, and the guest neither: {error}")
            report = share / "junit.xml"
            if options.junit and report.is_file() and not report.is_symlink():
                shutil.copyfile(report, options.junit)
            if options.pcap and (share / "pcap").exists():
                pcap.copy_files(share / "pcap", options.pcap)
            if status not in (PASSED, FAILED):
                return status
            done = reports.read(share / "record.json", self._cases)
        done = dataclasses.replace(done, seconds=time.monotonic() - begin)
        reports.write(done, html=options.html, report=options.report, record=options.record)
        if not options.record:
            rest = reports.rest(options.report, self._cases[0].file)
            self._transcript.summary(done.results, done.seconds, rest)
        return FAILED if done.failed else PASSED

    def _command(self, share: Path) -> list[str]:
        from kamexfrm.rig import python

        options = self._options
        words = options.words(colour=self._transcript.colour, width=self._transcript.width)
        words += ["--junit", str(share / "junit.xml")] if options.junit else []
        words += ["--record", str(share / "record.json")]
        words += ["--pcap", str(share / "pcap")] if options.pcap else []
        words += ["--shared", str(share)] if options.keep else []
        if self._given is not None:
            (share / "given").write_text(self._given)
            words += ["--given", str(share / "given")]
        command = python.module("kamexfrm.cli", unbuffered=True)
        return [*command, "rig", "run", "--kernel", "host", *words, "--", *map(str, options.files)]

    def _guest(self, command: list[str], share: Path) -> int:
        from kamexfrm.rig import guest as guests
        from kamexfrm.rig.scenario.stage import kernels

        options = self._options
        outputs = (sys.stdout, sys.stderr)
        names = [n for n, f in zip(("stdout", "stderr"), outputs, strict=True) if f.isatty()]
        with (
            booting("kamexfrm rig", spinner=not options.interactive) as begun,
            guests.Guest(
                command,
                share=share,
                timeout=options.guest_timeout,
                program=kernels.guest_kernel(options.kernel),
                console=names if options.interactive else None,
                consoles=share,
            ) as guest,
        ):
            return guest.wait(sys.stdout.buffer, sys.stderr.buffer, begun)

    def _announced(self, share: Path) -> AbstractContextManager[None]:
        """Let ``kamexfrm rig enter`` find the hosts that are kept in the guest."""
        from kamexfrm.rig.scenario.run import holder

        case = self._cases[0]
        hosts = dict.fromkeys((name for each in self._cases for name in each.hosts), 0)
        name = holder.free_name(holder.name_of(case.file))
        return holder.announced(holder.mine(name, case, hosts, str(share)))
