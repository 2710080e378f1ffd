"""The difference between the SAs of a namespace and the wanted ones.

An SA that stays is not touched: its counters, numbers and replay window go on. Lifetimes are
changed in place; an SA that differs in more is replaced in one piece.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from kamexfrm.engine.requests import Rejected, SaAdd
from kamexfrm.engine.wanted import Wanted
from kamexfrm.engine.wanted_sas import WantedSas, state_id
from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import Lifetime, SadEntry
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import IPSEC_PROTOCOLS, Mode
from kamexfrm.translate.xfrm.interface_policies import may_belong
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
from kamexfrm.translate.xfrm.sa_restart import as_kept, is_same
from kamexfrm.translate.xfrm.sa_to_kernel import sa_id_to_kernel
from kamexfrm.translate.xfrm.tag import is_of_statement, sa_user
from kamexfrm.xfrm import UNLIMITED, State, decode_state

#: Two ends of a life that are so near to each other are one: seconds.
_SLACK = 2


class SaChange(NamedTuple):
    """An SA that is added (``there`` is None), deleted (``request`` is None) or changed.

    ``replaces`` is whether it is made anew, and not only given other lifetimes.
    """

    request: SaAdd | None
    there: State | None = None
    replaces: bool = False


class SaDifference(NamedTuple):
    """What has to be done about SAs; deletions come last.

    ``rejected`` are what Linux lacks, and what foreign SAs leave no place for.
    """

    changes: tuple[SaChange, ...]
    rejected: tuple[Rejected, ...]
    unchanged: int
    foreign: int


def sa_difference(
    kernel: Kernel, wanted: Wanted, knobs: Knobs, now: int, *, prune: bool
) -> SaDifference:
    """Compare the SAD with the wanted SAs; raises KamexfrmError."""
    names = WantedSas(wanted.associations, knobs)
    rejected = names.rejected

    def is_unchanged(payload: bytes, request: SaAdd, state: State) -> bool:
        there = decode_state(payload)
        if not is_of_statement(there.selector.user) or not there.spi:
            return False
        if wanted.moment and there.lifetime != UNLIMITED:
            return False  # it depends on the SA's age
        return _compared(there, request, state, wanted.moment, now, ours=True) is None

    unchanged = foreign = 0
    changes: list[SaChange] = []
    gone: list[SaChange] = []
    for payload in chain.from_iterable(run.payloads() for run in kernel.state_runs()):
        if names.take_unchanged(payload, is_unchanged):
            unchanged += 1
            continue
        there = decode_state(payload)
        if there.protocol not in IPSEC_PROTOCOLS or not (there.spi and there.is_keyed):
            continue
        ours = is_of_statement(there.selector.user)
        foreign += not ours
        wants = names.pop(state_id(there))
        if wants is None:
            if ours and prune:
                gone.append(SaChange(None, there))
            else:
                unchanged += ours
            continue
        change = _compared(there, *wants, wanted.moment, now, ours=ours)
        if change is None:
            unchanged += 1
        elif ours:
            changes.append(change)
        else:
            in_the_way = KernelError(errno.EEXIST, "a foreign SA of this name is in the way")
            rejected.append(Rejected(wants[0], in_the_way))
    added, gone = _replaced(names.left(), gone)
    return SaDifference((*added, *changes, *gone), tuple(rejected), unchanged, foreign)


def _replaced(
    added: Iterable[SaAdd], gone: Sequence[SaChange]
) -> tuple[list[SaChange], list[SaChange]]:
    """Let an SA replace one that goes where the kernel takes them for one: one has no mark."""
    old = {state_id(change.there): change.there for change in gone if change.there is not None}
    marked = {id._replace(mark=None): id for id in old if id.mark is not None}
    changes = []
    for request in added:
        id = sa_id_to_kernel(request.association.id)
        other = marked.get(id) if id.mark is None else id._replace(mark=None)
        there = old.pop(other, None) if other is not None else None
        changes.append(SaChange(request, there, replaces=there is not None))
    return changes, [SaChange(None, state) for state in old.values()]


def _compared(
    there: State, request: SaAdd, state: State, moment: int, now: int, *, ours: bool
) -> SaChange | None:
    """Return what has to be done about an SA that is there, None for nothing."""
    if not ours:
        # Who made it does not matter as long as it is the same.
        user = sa_user(request.association.mode is Mode.ANY)
        there = there._replace(selector=there.selector._replace(user=user))
    if there.if_id and there.if_id == state.reqid and may_belong(state):
        state = state._replace(if_id=there.if_id)  # it serves an XFRM interface
    if not is_same(there, as_kept(state, os.uname().release)):
        return SaChange(request, there, replaces=True)
    entry = sad_entry_from_kernel(there, now)
    recreated = entry.created != there.current.add_time
    hard, soft = request.association.hard, request.association.soft
    pairs = ((entry.association.hard, hard), (entry.association.soft, soft))
    if all(_same_limit(a, b, entry, moment, recreated=recreated) for a, b in pairs):
        return None
    # The kernel counts from the time at which it got the SA.
    shift = (moment or entry.created) - there.current.add_time
    return SaChange(
        request._replace(
            association=request.association._replace(
                hard=_from_then(hard, shift), soft=_from_then(soft, shift)
            )
        ),
        there,
    )


def _same_limit(
    there: Lifetime, wanted: Lifetime, entry: SadEntry, moment: int, *, recreated: bool
) -> bool:
    if (there.allocations, there.usetime) != (wanted.allocations, wanted.usetime):
        return False
    if moment and there.addtime and wanted.addtime:
        ends = entry.created + there.addtime, moment + wanted.addtime
        if abs(ends[0] - ends[1]) > _SLACK and there.addtime != wanted.addtime:
            return False
    elif there.addtime != wanted.addtime:
        return False
    if recreated and there.bytes and wanted.bytes:
        return True  # what is left of such a limit was written when the SA was made again
    if moment and there.bytes and wanted.bytes:
        return there.bytes - entry.bytes <= wanted.bytes <= there.bytes
    return there.bytes == wanted.bytes


def _from_then(limit: Lifetime, shift: int) -> Lifetime:
    """Return a limit that counts from another time, which was ``shift`` seconds earlier."""
    return limit._replace(addtime=max(1, limit.addtime + shift)) if limit.addtime else limit
