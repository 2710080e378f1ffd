"""The running state as a file of setkey, which loads to the same state; and the variables."""

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator

from kamexfrm.engine.difference import knobs_of
from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import Lifetime, LinuxParts, SadEntry
from kamexfrm.model.knobs import KNOBS
from kamexfrm.model.policy import IPSEC_PROTOCOLS, Owner, SpdEntry
from kamexfrm.model.statement_text import InexpressibleError, policy_statement, sa_statement
from kamexfrm.operator.saved_at import SAVED_AT
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
from kamexfrm.translate.xfrm.sa_to_kernel import numbers_of
from kamexfrm.translate.xfrm.tag import is_of_statement
from kamexfrm.xfrm import State

_HEAD = (
    "# The SAs and policies of this namespace; to load: kamexfrm apply FILE,",
    "# or setkey -f FILE where there are none.",
)


def saved(
    kernel: Kernel,
    now: int,
    *,
    keys: bool = True,
    replay: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """Yield the lines of a file that loads to what there is; raises KernelError.

    Lifetimes are what is left of them at ``now``, in seconds since the epoch. Without ``keys`` SAs
    are comments. ``warn`` gets what setkey's language cannot say.
    """
    knobs = knobs_of(kernel)
    yield f"{SAVED_AT}{now}"
    yield from _HEAD
    yield "#"
    for knob in KNOBS:
        yield f"# {knob.name} = {knobs.value(knob)}"
    foreign = 0
    states = []
    for state in kernel.states():
        if state.protocol not in IPSEC_PROTOCOLS or not (state.spi and state.is_keyed):
            continue
        if is_of_statement(state.selector.user):
            states.append(state)
        else:
            foreign += 1
    yield ""
    for state in reversed(states):  # the oldest first
        yield _sa_line(state, now, keys=keys, replay=replay, warn=warn)
    entries = []
    for entry in Engine(kernel).spd():
        if entry.owner is not Owner.OURS:
            foreign += not entry.socket
        elif not entry.twin:
            entries.append(entry)
    entries.sort(key=lambda entry: entry.kernel_priority)
    yield ""
    for entry in entries:
        yield _policy_line(entry, warn)
    if foreign:
        yield f"# not ours, and not here: {foreign} policies and SAs of other programs"


def _sa_line(
    state: State, now: int, *, keys: bool, replay: bool, warn: Callable[[str], None]
) -> str:
    entry = sad_entry_from_kernel(state, now)
    sa = entry.association
    sa = sa._replace(hard=_left(sa.hard, entry, now), soft=_left(sa.soft, entry, now))
    numbers = numbers_of(state) if replay else None
    if numbers is not None:
        sa = sa._replace(linux=(sa.linux or LinuxParts())._replace(numbers=numbers))
    try:
        text = sa_statement(sa, keys=keys)
    except InexpressibleError as error:
        name = f"{sa.source} {sa.destination} {sa.protocol.name.lower()} 0x{sa.spi:x}"
        warn(f"{name}: not in the language of setkey: {error}")
        return f"# {name}: {error}"
    return text if keys else f"# {text}"


def _left(limit: Lifetime, entry: SadEntry, now: int) -> Lifetime:
    """Return what is left of a limit, at least one of a unit."""
    age = max(0, now - entry.created) if entry.created else 0
    return limit._replace(
        addtime=max(1, limit.addtime - age) if limit.addtime else 0,
        bytes=max(1, limit.bytes - entry.bytes) if limit.bytes else 0,
    )


def _policy_line(entry: SpdEntry, warn: Callable[[str], None]) -> str:
    try:
        return policy_statement(entry.policy)
    except InexpressibleError as error:
        name = f"policy with id {entry.id}"
        warn(f"{name}: not in the language of setkey: {error}")
        return f"# {name}: {error}"


def variables(kernel: Kernel) -> Iterator[str]:
    """Yield the lines of a file of kame-sysctl with all variables; raises KernelError."""
    knobs = knobs_of(kernel)
    for knob in KNOBS:
        yield f"{knob.name} = {knobs.value(knob)}"


def write_whole(path: str, lines: Iterable[str], mode: int) -> None:
    """Write a file that is never there in part: it takes the place of what is there at its end.

    What is no regular file, such as a terminal, is written to. Raises KamexfrmError.
    """
    try:
        real = os.path.realpath(path)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(real).st_mode):
                with open(real, "w", encoding="utf-8", errors="surrogateescape") as file:
                    file.writelines(f"{line}\n" for line in lines)
                return
        _replace(real, lines, mode)
    except OSError as error:
        raise KamexfrmError(f"{path}: {error.strerror}", errno=error.errno) from None


def _replace(path: str, lines: Iterable[str], mode: int) -> None:
    folder, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder or ".")
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            os.fchmod(file.fileno(), mode)
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def moment() -> int:
    """Return the time now, in seconds since the epoch."""
    return int(time.time())
