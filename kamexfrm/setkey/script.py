"""Scripts: a file (-f) or text (-e) is read to its end before it is carried out, -c as it comes."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from kamexfrm.command_line import printable
from kamexfrm.engine.engine import Engine
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.lazy import expression
from kamexfrm.setkey.arguments import Options
from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.execute import Executor
from kamexfrm.setkey.hosts import Resolver, checking_resolver, system_resolver
from kamexfrm.setkey.lexer import complete_length
from kamexfrm.setkey.line_parser import WholeScripts
from kamexfrm.setkey.load_plan import plans_of, reads
from kamexfrm.setkey.parser import LONGEST, Parser
from kamexfrm.setkey.plain_lines import Lines
from kamexfrm.setkey.reporter import Reporter
from kamexfrm.setkey.script_file import Script, read_scripts
from kamexfrm.setkey.statements import Exit, Statement

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from kamexfrm.engine.load import LoadPlan
    from kamexfrm.model.association import SadEntry
    from kamexfrm.model.policy import SpdEntry

#: Statements that may take more than a second.
_MANY = 1000

_NOTHING_DONE = (
    "setkey: nothing was changed: a script is read to its end before it is carried out"
    " (--as-read carries out what comes before an error)\n"
)

#: A key in the text of -e, which stands in the command line.
_KEY = expression(r"""-[EA]\s*[a-z0-9_-]+\s+(?:0[xX][0-9A-Fa-f]|"[^"])""")
_VISIBLE = (
    "setkey: WARNING: all users can see the key in the text of -e, by ps(1): use -f - or -c\n"
)

#: Characters of an unfinished statement of -c from which on it is not scanned at every line.
_LONG = 65536


def run_script(options: Options) -> int:
    """Run a script; return setkey's exit status."""
    if options.no_action:
        return _run_script(options, None)
    kernel = NetlinkKernel()
    try:
        return _run_script(options, kernel)
    finally:
        kernel.close()


def _run_script(options: Options, kernel: NetlinkKernel | None) -> int:
    if options.mode == "c":
        reporter = Reporter(sys.stdout, sys.stderr, interactive=True)
        executor = _executor(options, kernel, reporter)
        return _end(_interactive(reporter, executor), options, reporter, executor)
    try:
        scripts = read_scripts(options)
    except OSError as error:
        return _unreadable(error)
    if options.mode == "e" and any(
        text in sys.argv and _KEY.search(text) for text in options.scripts
    ):
        sys.stderr.write(_VISIBLE)
    return run_scripts(scripts, options, kernel)


def _unreadable(error: OSError) -> int:
    """Say which file cannot be read, and why; return the exit status."""
    sys.stderr.write(f"setkey: Can't open `{printable(error.filename)}': {error.strerror}\n")
    return 1


def run_scripts(scripts: Sequence[Script], options: Options, kernel: NetlinkKernel | None) -> int:
    """Run scripts that were read, as one; return setkey's exit status.

    Without a kernel they are only read through. Raises KernelError (EPERM) at once.
    """
    reporter = Reporter(sys.stdout, sys.stderr)
    executor = _executor(options, kernel, reporter)
    status = run_whole(scripts, options, reporter, executor)
    return _end(status, options, reporter, executor)


def _executor(
    options: Options, kernel: NetlinkKernel | None, reporter: Reporter
) -> Executor | None:
    if kernel is not None:
        return make_executor(options, kernel, reporter, sys.stdout)
    if not options.no_action:
        return None
    from kamexfrm.setkey.checking import Checker  # with a kernel in memory

    return Checker(reporter, twins=options.twins)


def _end(status: int, options: Options, reporter: Reporter, executor: Executor | None) -> int:
    """Say who kept the lock from us, and whom policies do not serve; return the exit status."""
    if executor and executor.lock_holder:
        sys.stderr.write(
            f"setkey: WARNING: {executor.lock_holder} held this namespace's lock for long: "
            "went on without it\n"
        )
    for each in executor.unserved.values() if executor else ():
        from kamexfrm.setkey.error_hints import unserved_text

        sys.stderr.write(f"setkey: WARNING: {unserved_text(each)}\n")
    return status or int(options.strict and reporter.rejections > 0)


def make_executor(
    options: Options, kernel: NetlinkKernel, reporter: Reporter, out: TextIO
) -> Executor:
    """Connect an executor to this namespace's kernel; raises KernelError (EPERM) at once."""
    kernel.spd_info()
    engine = Engine(kernel)
    tracer = announce = None

    def dump_sad(entries: Iterable[SadEntry]) -> bool:
        from kamexfrm.setkey.dump import dump_sad

        return dump_sad(entries, out, options, announce)

    def dump_spd(entries: Iterable[SpdEntry]) -> bool:
        from kamexfrm.setkey.dump import dump_spd

        return dump_spd(entries, out, options, announce, err=sys.stderr)

    if options.traced:
        from kamexfrm.setkey.verbose import Tracer

        tracer = Tracer(engine, out, texts=options.verbose, hexdump=options.hexdump)
        announce = tracer.announce
    return Executor(
        engine,
        Engine(kernel),
        reporter,
        dump_sad,
        dump_spd,
        tracer=tracer,
        twins=options.twins,
    )


def _statements(pieces: Iterable[str], name: str, resolve: Resolver) -> Iterator[Statement]:
    """Yield the statements of a text in pieces; raises ScriptError, which ends it."""
    line = 1
    for piece in pieces:
        for statement in Parser(piece, name, line=line, resolve=resolve):
            yield statement
            if isinstance(statement, Exit):
                return
        line += piece.count("\n")


def all_statements(scripts: Sequence[Script], resolve: Resolver) -> Iterator[Statement]:
    """Yield the statements of scripts that are read as one; ``exit`` ends the script it is in."""
    for script in scripts:
        for statement in _statements(script.pieces, script.name, resolve):
            if not isinstance(statement, Exit):
                yield statement


def run_whole(
    scripts: Sequence[Script],
    options: Options,
    reporter: Reporter,
    executor: Executor | None,
) -> int:
    """Run scripts of which all is there, as one; return setkey's exit status.

    Where a statement cannot be read nothing is carried out, unless it is to be read as it runs.
    """
    resolve = cache(checking_resolver if options.no_action else system_resolver)
    if executor is None or options.no_action or _is_as_read(options):
        try:
            scripts = [script._replace(pieces=list(script.pieces)) for script in scripts]
        except OSError as error:
            return _unreadable(error)
        return _run(all_statements(scripts, resolve), reporter, executor)
    whole = WholeScripts(scripts, resolve)
    count = _Count()
    try:
        parts = whole.check()
        is_watched = options.verbose or sys.stderr.isatty()
        plans = plans_of(count.over(parts) if is_watched else parts)
    except OSError as error:
        return _unreadable(error)
    except ScriptError as error:
        reporter.script_error(error)
        sys.stderr.write(_NOTHING_DONE)
        return 1
    if count.total < _MANY:
        _load(whole.statements(), plans, executor)
        return 0
    from kamexfrm.setkey.progress import Progress

    progress = Progress(sys.stderr, count.total)
    reporter.write_through(progress)
    try:
        _load(progress.followed(whole.statements()), plans, executor)
    finally:
        progress.close()
    return 0


class _Count:
    """Counts the statements of a script as it is read."""

    def __init__(self) -> None:
        self.total = 0

    def over(self, parts: Iterable[Statement | Lines]) -> Iterator[Statement | Lines]:
        """Yield the parts of a script, and count them."""
        for part in parts:
            self.total += part.run.total if isinstance(part, Lines) else 1
            yield part


def _load(
    statements: Iterator[Statement | Lines],
    plans: Sequence[LoadPlan | None],
    executor: Executor,
) -> None:
    """Carry out a script part by part: what a load deletes is replaced, and the rest goes last."""
    for plan in plans:
        if plan:
            executor.begin_load(plan)
        for statement in statements:
            if isinstance(statement, Lines):
                executor.run_lines(statement)
            elif reads(statement):
                executor.flush()
                executor.run(statement)
                break
            elif not executor.run(statement):
                break
        executor.flush()


def _is_as_read(options: Options) -> bool:
    """Whether what comes before an error is carried out: as asked, and from a terminal."""
    return options.as_read or ("-" in options.scripts and sys.stdin.isatty())


def _run(statements: Iterator[Statement], reporter: Reporter, executor: Executor | None) -> int:
    """Run the statements up to the first that cannot be read."""
    try:
        for statement in statements:
            if executor and not executor.run(statement):
                break
    except ScriptError as error:
        if executor:
            executor.flush()
        reporter.script_error(error)
        return 1
    if executor:
        executor.flush()
    return 0


def _interactive(reporter: Reporter, executor: Executor | None) -> int:
    """Run commands as they come, past errors; only what the lexer cannot read ends it with 1."""
    line = 1
    for whole in _whole_statements(_lines()):
        parser = Parser(whole, "-", line=line)
        line += whole.count("\n")
        statements: Iterator[Statement] = iter(parser)
        while True:
            try:
                statement = next(statements, None)
                if statement is None:
                    break
                if executor:
                    more = executor.run(statement)
                    executor.flush()
                    if not more:
                        return 0
            except ScriptError as error:
                reporter.script_error(error)
                if error.fatal:
                    return 1
                statements = iter(parser)
        sys.stdout.flush()
    return 0


def _whole_statements(lines: Iterator[str]) -> Iterator[str]:
    """Yield what is read in pieces that end where a statement does."""
    pending, enough = "", 0
    for line in lines:
        unfinished = bool(pending)
        pending += line
        if len(pending) > LONGEST:  # without an end: the parser refuses it
            yield pending
            return
        if len(pending) < enough or (unfinished and ";" not in line):
            continue
        length = complete_length(pending)
        if length:
            yield pending[:length]
        pending = pending[length:]
        # A statement of thousands of lines must not be scanned again for each of them.
        enough = len(pending) * 5 // 4 if len(pending) > _LONG else 0
    length = complete_length(pending) if enough else 0
    if length:
        yield pending[:length]


def _lines() -> Iterator[str]:
    """Yield the lines of stdin: from a terminal with editing and history."""
    if sys.stdin is None:  # it was closed
        return
    if not sys.stdin.isatty():
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        while raw := sys.stdin.buffer.readline(LONGEST):
            yield decoder.decode(raw)
        return
    import readline  # noqa: F401  (input() edits its line once this is loaded)

    while True:
        try:
            yield input() + "\n"
        except EOFError:
            return
