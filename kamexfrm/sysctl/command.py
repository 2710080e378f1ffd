"""The command kame-sysctl: all operands are checked, then written, then shown."""

import gc
import sys
from collections.abc import Mapping, Sequence

import kamexfrm
from kamexfrm.command_line import UsageError, guarded, permission_hint, printable, say
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.model.knobs import KNOBS, Knob
from kamexfrm.sysctl import settings
from kamexfrm.sysctl.arguments import HELP, USAGE, Options, read_options

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from kamexfrm.sysctl.settings import Assignments


def main() -> int:
    """Run the command; return its exit status."""
    gc.disable()  # nothing here makes cycles, and a knob may rewrite fifty thousand policies
    return run(sys.argv[1:])


def run(arguments: list[str]) -> int:
    """Carry out a command line; return 0, 1 (something rejected or unknown) or 2 (usage)."""
    return guarded("kame-sysctl", lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    try:
        return _act(read_options(arguments))
    except UsageError as error:
        _complain(printable(error.text, ""))
        say(USAGE)
        return 2
    except KamexfrmError as error:
        _complain(str(error))
        say(permission_hint(error))
        return 1


def _complain(text: str) -> None:
    say(f"kame-sysctl: {text}\n")


def _enter(netns: str) -> None:
    """Put this process into a network namespace; raises KamexfrmError."""
    from kamexfrm.kernel.namespace import enter

    try:
        enter(netns)
    except KernelError as error:
        raise KamexfrmError(printable(f"--netns: {error}", "")) from None


def _act(options: Options) -> int:
    if options.action:
        version = f"kame-sysctl (kamexfrm) {kamexfrm.__version__}\n"
        sys.stdout.write(HELP if options.action == "help" else version)
        return 0
    if options.netns:
        _enter(options.netns)
    actions = _Actions(options)
    status = 0 if actions.valid else 1
    assignments = actions.assignments if actions.valid else {}
    if options.describe or (options.names and not assignments):
        names = [(knob.name, "") for knob in actions.reads]
        _show(options, {}, actions.descriptions or names, ": ")
        return status
    if assignments or actions.reads or not actions.fixed:
        status |= _with_kernel(options, assignments, actions.reads)
    if actions.fixed:
        _show(options, {}, actions.fixed, " = ")
    for name, text in actions.unsupported:
        sys.stdout.write(f"{name}: {text}\n")
    return status


# What the command line means


class _Actions:
    """The reads and writes of a command line; ``valid`` is false where an operand is wrong."""

    def __init__(self, options: Options) -> None:
        self.assignments = settings.preset(options.preset) if options.preset else {}
        self.reads: list[Knob] = []
        self.descriptions: list[tuple[str, str]] = []
        self.unsupported: list[tuple[str, str]] = []
        self.fixed: list[tuple[str, int]] = []
        self.valid = True
        self._ignore = options.ignore
        self._describe = options.describe
        for file in options.files:
            self._take_file(file)
        if options.system:
            self._take_system(says=not (options.quiet or options.json))
        for operand in options.operands:
            self._take(operand, "=" in operand)
        if options.all and not options.operands:
            self.reads += KNOBS
            self.descriptions += settings.described() if options.describe else []
            plain = not (options.names or options.values or options.json)
            self.unsupported = settings.unsupported() if plain else []

    def _take(self, text: str, is_assignment: bool, where: str = "") -> None:
        try:
            if is_assignment:
                knob, value = settings.read_assignment(text)
                self.assignments[knob] = value
            elif (fixed := settings.fixed(text)) is not None and not self._describe:
                self.fixed.append(fixed)
            elif self._describe:
                self.descriptions += settings.described(text)
            else:
                self.reads += settings.matching(text)
        except KamexfrmError as error:
            if not (self._ignore and isinstance(error, settings.UnknownSysctlError)):
                _complain(f"{where}{error}")
                self.valid = False

    def _take_system(self, *, says: bool) -> None:
        from kamexfrm.sysctl.system_files import system_files

        for file in system_files():
            if says:
                sys.stdout.write(f"* Applying {printable(file, '')} ...\n")
            self._take_file(file)

    def _take_file(self, file: str) -> None:
        try:
            for place, text in settings.lines_of(file):
                self._take(text, True, f"{place}: ")
        except KamexfrmError as error:
            _complain(str(error))
            self.valid = False


# What is done


def _with_kernel(options: Options, assignments: "Assignments", reads: list[Knob]) -> int:
    """Write and read in this network namespace; return the status."""
    if not assignments and not reads:
        _show(options, {}, [], "")
        return 0
    # Only here: names, descriptions and errors need no kernel and start faster without.
    from kamexfrm.kernel.netlink import NetlinkKernel
    from kamexfrm.sysctl import namespace

    kernel = NetlinkKernel()
    try:
        knobs, warning = namespace.read(kernel)
        if warning:
            _complain(warning)
        written: dict[Knob, tuple[int, int]] = {}
        rejected: Mapping[Knob, KamexfrmError] = {}
        if assignments:
            rejected, holder = namespace.write(kernel, assignments)
            for knob, value in assignments.items():
                if knob in rejected:
                    _complain(f"{knob.name}={value}: {rejected[knob]}")
                    continue
                written[knob] = (knobs.value(knob), value)
                knobs = knobs.replace(knob, value)
            if holder and written:
                _complain(f"warning: written without the namespace's lock, which {holder} holds")
            if any(knob.field == "def_policy" and not new for knob, (_, new) in written.items()):
                _complain(namespace.NO_EXEMPTIONS)
    finally:
        kernel.close()
    if options.quiet:
        written = {}
    _show(options, written, [(knob.name, knobs.value(knob)) for knob in reads], " = ")
    return 1 if rejected else 0


# What is shown


def _show(
    options: Options,
    written: Mapping[Knob, tuple[int, int]],
    reads: "Sequence[tuple[str, int]] | Sequence[tuple[str, str]]",
    between: str,
) -> None:
    """Print what was written and what is read, as lines or as JSON."""
    if options.json:
        from json import dumps

        changes = {knob.name: {"old": old, "new": new} for knob, (old, new) in written.items()}
        if reads or changes or not options.quiet:
            sys.stdout.write(dumps({**dict(reads), **changes}, indent=2))
            sys.stdout.write("\n")
        return
    rows = [(knob.name, ": ", f"{old} -> {new}") for knob, (old, new) in written.items()]
    rows += [(name, between, f"{value}") for name, value in reads]
    for name, separator, value in rows:
        if options.names:
            sys.stdout.write(f"{name}\n")
        elif options.values:
            sys.stdout.write(f"{value}\n")
        else:
            sys.stdout.write(f"{name}{separator}{value}\n")
