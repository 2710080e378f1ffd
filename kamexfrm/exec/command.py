"""The command ``kamexfrm exec``: becomes a program, with a supervisor beside it."""

import errno
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import kamexfrm
from kamexfrm.command_line import UsageError, guarded, printable, say
from kamexfrm.errors import KamexfrmError, KernelError, LanguageError
from kamexfrm.exec.arguments import HELP, USAGE, Options, read_options
from kamexfrm.exec.filter import assemble, rules
from kamexfrm.exec.launch import Serve, become, hand_over, start_supervisor
from kamexfrm.exec.log import Log
from kamexfrm.exec.seccomp import Listener
from kamexfrm.exec.system import machine
from kamexfrm.log_level import LogLevel

if TYPE_CHECKING:
    from kamexfrm.model.policy import SocketPolicy

#: Exit status as of env(1): nothing started, not executable, not found.
STATUS_FAILED, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND = 125, 126, 127


def main(arguments: list[str]) -> int:
    """Become the program; return an exit status only where that fails."""
    return guarded("kamexfrm exec", lambda: _main(arguments), STATUS_FAILED)


def _main(arguments: list[str]) -> int:
    try:
        options = read_options(arguments)
    except UsageError as error:
        say(f"kamexfrm exec: {error}\n{USAGE}")
        return STATUS_FAILED
    if options.show:
        version = f"kamexfrm, version {kamexfrm.__version__}\n"
        sys.stdout.write(HELP if options.show == "help" else version)
        return 0
    try:
        _supervise(options)
    except LanguageError as error:
        say(f"kamexfrm exec: {error.place}: {error}\n")
        for hint in error.hints:
            say(f"  {hint}\n")
        return STATUS_FAILED
    except KamexfrmError as error:
        say(f"kamexfrm exec: {printable(str(error))}\n")
        return STATUS_FAILED
    except OSError as error:  # no process, no memory, an unknown machine
        say(f"kamexfrm exec: {error.strerror}\n")
        return STATUS_FAILED
    try:
        become(options.program)
    except OSError as error:
        say(f"kamexfrm exec: {printable(options.program[0], '')}: {error.strerror}\n")
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        return STATUS_NOT_FOUND if missing else STATUS_NOT_EXECUTABLE


def _supervise(options: Options) -> None:
    """Put this process under a filter, with a supervisor that serves it; raises KamexfrmError."""
    policies: tuple[SocketPolicy, ...] = ()
    if options.policies:
        from kamexfrm.exec.forced_policy import inherited_sockets, read_policies

        policies = read_policies(options.policies)
        for line in inherited_sockets():
            say(f"kamexfrm exec: {line} from before, outside the policies\n")
    descriptor = _open_log(options)
    numbers = machine()
    wanted = rules(numbers, options.barrier, policies=bool(policies))
    program = assemble(numbers, wanted, refuse_foreign=bool(policies))
    logs_for = os.getpid() if options.verbose and not options.log else 0
    kept = (descriptor,) if descriptor >= 0 else ()
    prepare = partial(_prepare, descriptor, options.level, policies, logs_for)
    hand_over(program, start_supervisor(prepare, kept))
    if descriptor >= 0:
        os.close(descriptor)


def _prepare(
    descriptor: int, level: LogLevel, policies: "Sequence[SocketPolicy]", logs_for: int
) -> Serve:
    """Load what takes long: the program starts when that is done, and its first call is fast."""
    from kamexfrm.exec.supervisor import Supervisor
    from kamexfrm.hub.served import use_all_descriptors

    def serve(listener: Listener) -> None:
        log = Log(descriptor, level)
        try:
            use_all_descriptors()
            supervisor = Supervisor(listener, log, policies)
            if logs_for:
                supervisor.log_while_runs(logs_for)
            supervisor.run()
        except Exception:  # nothing else would report it
            log.failure("the supervisor ended")
            raise  # so the keeper sees that it failed

    return serve


def _open_log(options: Options) -> int:
    """Return the descriptor that the supervisor writes to, -1 for none; raises KernelError."""
    try:
        if options.log:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            return os.open(options.log, flags, 0o600)
        return os.dup(2) if options.verbose else -1
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, options.log or "standard error") from None
