"""``kamexfrm plan``, ``apply`` and ``confirm``: from the running state to that of files."""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import click

from kamexfrm.cli import options
from kamexfrm.cli.progress import Progress, progress
from kamexfrm.cli.trouble import Command, Trouble
from kamexfrm.command_line import printable, say
from kamexfrm.engine.apply import Applied, Hooks, steps_of
from kamexfrm.engine.difference import Difference, knobs_of, wanted_knobs
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import Rejected, SpdAdd
from kamexfrm.engine.snapshot import Snapshot
from kamexfrm.engine.wanted import Wanted
from kamexfrm.errors import KamexfrmError, Place
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.operator.changes import Change, changes_of, counts_of, to_document
from kamexfrm.operator.document import document, to_text

_Function = TypeVar("_Function", bound=Callable[..., object])

#: The sign of each action, and its colour.
_SIGNS = {
    "add": ("+", "green"),
    "update": ("~", "yellow"),
    "move": (">", "yellow"),
    "delete": ("-", "red"),
}

#: Exit status with --detailed-exitcode where there is something to do, or was.
_SOMETHING = 2


def _wanted_options(function: _Function) -> _Function:
    """Add what plan and apply have in common."""
    for add in (
        options.netns,
        options.show_keys,
        options.as_json,
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
        click.option(
            "--detailed-exitcode",
            is_flag=True,
            help="Exit with 0 for nothing to do, 2 for something, 1 for an error.",
        ),
        click.option(
            "--prune/--no-prune",
            default=True,
            help="Delete what is ours and not in the files (the default), or leave it.",
        ),
        click.option(
            "--sysctl", metavar="FILE", help="Variables, as kame-sysctl(8) has them in files."
        ),
        click.argument("files", nargs=-1, required=True, metavar="FILE..."),
    ):
        function = add(function)
    return function


def _wanted(files: Sequence[str], variables: str | None) -> Wanted:
    """Read the files; raises KamexfrmError."""
    from kamexfrm.operator.wanted import WantedError, read_wanted

    gc.disable()  # nothing here makes cycles, and there may be fifty thousand entries
    try:
        return read_wanted(
            files, variables, warn=lambda text: say(f"kamexfrm: {printable(text)}\n")
        )
    except WantedError as error:
        raise Trouble(*error.lines) from None


@click.command(cls=Command)
@_wanted_options
def plan(
    files: tuple[str, ...],
    sysctl: str | None,
    prune: bool,
    detailed_exitcode: bool,
    quiet: bool,
    as_json: bool,
    show_keys: bool,
) -> None:
    """Show what would have to be done for this namespace to hold what FILEs say.

    FILEs are those of setkey(8), - is standard input. Nothing is changed.
    """
    wanted = _wanted(files, sysctl)
    kernel = NetlinkKernel()
    found = Engine(kernel).difference(wanted, prune=prune)
    in_the_way = _refused(found.rejected)
    if as_json:
        text = to_text(to_document("plan", found, keys=show_keys, refused=in_the_way))
        click.echo(text, nl=False)
    elif not quiet:
        _show(changes_of(found, keys=show_keys))
        click.echo(_summary(found, "to be done"))
    _tell(in_the_way)
    if in_the_way:
        sys.exit(1)
    sys.exit(_SOMETHING if detailed_exitcode and not found.is_empty else 0)


@click.command(cls=Command)
@_wanted_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--confirm",
    type=click.FloatRange(min=1, max=7 * 86400),
    metavar="SECONDS",
    help="Take it back after so many seconds unless `kamexfrm confirm` comes.",
)
def apply(
    files: tuple[str, ...],
    sysctl: str | None,
    prune: bool,
    detailed_exitcode: bool,
    quiet: bool,
    as_json: bool,
    show_keys: bool,
    yes: bool,
    confirm: float | None,
) -> None:
    """Make this namespace hold what FILEs say, as a whole or not at all.

    What is the same is not touched, and neither is what other programs made. On a terminal it shows
    the plan and asks.
    """
    from kamexfrm.operator import confirmation

    wanted = _wanted(files, sysctl)
    kernel = NetlinkKernel()
    waiting = confirmation.ask()
    if waiting is not None:
        raise Trouble(
            f"an earlier change waits for `kamexfrm confirm`, {waiting.seconds:.0f} seconds more:"
            " let it stay with that, or take it back with `kamexfrm confirm --revert`"
        )
    asks = not (yes or as_json) and sys.stdin is not None and sys.stdin.isatty()
    engine = Engine(kernel)
    shown = engine.difference(wanted, prune=prune) if asks else None
    if shown is not None and not shown.is_empty and not shown.rejected:
        _show(changes_of(shown, keys=show_keys))
        click.echo(_summary(shown, "to be done"))
        if not click.confirm("Do it?"):
            raise Trouble("nothing was changed")
    with progress("writing", quiet=quiet) as bar:
        run = _Run(kernel, wanted, shown, bar, confirm)
        applied = run.apply(engine, prune=prune)
    until = run.end(applied)
    refused = _refused(applied.rejected)
    if as_json:
        more = {"applied": not refused, "refused": refused, "confirm_until": until}
        click.echo(
            to_text(to_document("apply", applied.difference, keys=show_keys, **more)), nl=False
        )
    elif not quiet and not refused:
        if shown is None:
            _show(changes_of(applied.difference, keys=show_keys))
        click.echo(_summary(applied.difference, "done"))
        if until is not None:
            click.echo(
                f"This is taken back in {confirm:.0f} seconds, unless you say: kamexfrm confirm"
            )
    _tell(refused)
    if refused:
        raise Trouble("nothing was changed")
    sys.exit(_SOMETHING if detailed_exitcode and not applied.difference.is_empty else 0)


class _Run:
    """What happens beside a change: the rehearsal, the bar, the process that takes it back."""

    def __init__(
        self,
        kernel: NetlinkKernel,
        wanted: Wanted,
        shown: Difference | None,
        bar: Progress,
        confirm: float | None,
    ) -> None:
        from kamexfrm.operator import confirmation

        self._kernel, self._wanted, self._shown, self._bar = kernel, wanted, shown, bar
        self._confirm = confirm
        self._guard: confirmation.Guard | None = None

    def apply(self, engine: Engine, *, prune: bool) -> Applied:
        """Apply what is wanted; raises KamexfrmError."""
        hooks = Hooks(self._check, self._before, self._bar.step)
        try:
            return engine.apply(self._wanted, hooks, prune=prune)
        except BaseException:
            if self._guard is not None:
                self._guard.cancel()  # it is taken back already
            raise

    def _check(self, found: Difference) -> tuple[Rejected, ...]:
        from kamexfrm.operator.rehearsal import rehearse

        if self._shown is not None and _signs(found) != _signs(self._shown):
            raise Trouble("the namespace has changed since you were asked: nothing was changed")
        self._bar.total = steps_of(found)
        return rehearse(found, wanted_knobs(knobs_of(self._kernel), self._wanted.knobs))

    def _before(self, snapshot: Snapshot) -> None:
        from kamexfrm.operator import confirmation

        if self._confirm is not None:
            self._guard = confirmation.start(snapshot, self._confirm)

    def end(self, applied: Applied) -> float | None:
        """Let the time begin to run; return its end in seconds since the epoch."""
        if self._guard is None or self._confirm is None:
            return None
        if applied.rejected:
            self._guard.cancel()
            return None
        self._guard.arm()
        return time.time() + self._confirm


def _signs(found: Difference) -> list[Change]:
    return list(changes_of(found, keys=True))


@click.command(cls=Command)
@click.option("--revert", is_flag=True, help="Take the change back at once.")
@options.as_json
@options.netns
def confirm(revert: bool, as_json: bool) -> None:
    """Let the change of `kamexfrm apply --confirm` stay."""
    from kamexfrm.operator import confirmation

    if not (confirmation.take_back() if revert else confirmation.confirm()):
        raise Trouble(
            "no change waits here: it was confirmed or taken back already,"
            " or the process that waited was killed, and then it stays"
        )
    if as_json:
        click.echo(to_text(document("confirm", confirmed=not revert, reverted=revert)), nl=False)
    else:
        click.echo("The change is taken back." if revert else "The change stays.")


def _refused(rejected: Iterable[Rejected]) -> list[dict[str, str | int]]:
    """Return refusals as plain data: where, the kernel's word, and the cure."""
    found: list[dict[str, str | int]] = []
    for request, error in rejected:
        place = getattr(request.cookie, "place", request.cookie)
        file, line = place[:2] if isinstance(place, Place) else ("-", 0)
        found.append({"file": file, "line": line, "text": _text_of(request, error)})
    return found


def _text_of(request: object, error: KamexfrmError) -> str:
    from kamexfrm.setkey.error_hints import reason_of, text_of

    text = text_of(error, policy=isinstance(request, SpdAdd))
    return ": ".join((text, *reason_of(error)))


def _tell(refused: Iterable[dict[str, str | int]]) -> None:
    for row in refused:
        say(printable(f"kamexfrm: {row['file']},{row['line']}: {row['text']}") + "\n")


def _show(changes: Iterable[Change]) -> None:
    """Print changes, as lines of a fixed form; in colour on a terminal."""
    paint = _painter()
    for action, _, text, before, reason in changes:
        sign, colour = _SIGNS[action]
        shown = before if action == "delete" and before else text
        paint(f"{sign} {shown}", colour)
        if action == "update":
            paint(f"    was: {before}", "dim")
        if action in ("update", "move"):
            paint(f"    since {reason}", "dim")


def _painter() -> Callable[[str, str], None]:
    if not options.colours():
        return lambda text, _: click.echo(printable(text))
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False, force_terminal=True)
    return lambda text, style: console.print(Text(printable(text), style=style))


def _summary(found: Difference, what: str) -> str:
    add, update, move, delete = counts_of(found)
    rest = f"{found.unchanged} unchanged, {found.foreign} foreign"
    if found.is_empty:
        return f"Nothing {what}: {rest}."
    return f"{add} added, {update} updated, {move} moved, {delete} deleted: {what}; {rest}."
