"""The fate of a packet with any of the differences, and which of them make it what it is."""

from typing import NamedTuple

from kamexfrm.model.linux.adjusting import adjusted
from kamexfrm.model.linux.arriving import arriving
from kamexfrm.model.linux.differences import KAME, LINUX
from kamexfrm.model.linux.fate import Fate
from kamexfrm.model.linux.leaving import leaving
from kamexfrm.model.linux.situation import Situation
from kamexfrm.model.packet import Path


class Judgement(NamedTuple):
    """A packet's fate on Linux, and the names of the differences without which it were another."""

    fate: Fate
    names: tuple[str, ...]


def fate(situation: Situation, kernel: frozenset[str] = LINUX) -> Fate:
    """Return what becomes of a packet where the named differences hold."""
    situation = adjusted(situation, kernel)
    if situation.packet.path is Path.OUT:
        return leaving(situation, kernel)
    arrival = arriving(situation, kernel)
    if situation.packet.path is Path.IN or not arrival.received:
        return arrival
    return leaving(situation, kernel)._replace(errno=0, received=True)


def judge(situation: Situation, kernel: frozenset[str] = LINUX) -> Judgement:
    """Return the fate on Linux, with the differences that apply, in alphabetical order.

    ``kernel`` are the differences of one kernel (``differences.linux_of``).

    Where several do and none of them alone, those are named that suffice by themselves, else all
    that together do.
    """
    wanted = fate(situation, kernel)
    if wanted == fate(situation, KAME):
        return Judgement(wanted, ())
    alone = [name for name in kernel if fate(situation, kernel - {name}) != wanted]
    either = alone or [name for name in kernel if fate(situation, frozenset({name})) == wanted]
    return Judgement(wanted, tuple(sorted(either or _enough(situation, wanted, kernel))))


def _enough(situation: Situation, wanted: Fate, kernel: frozenset[str]) -> set[str]:
    """Return differences that together have the fate, none of which can be left out."""
    names = set(kernel)
    for name in sorted(kernel):
        if fate(situation, frozenset(names - {name})) == wanted:
            names.remove(name)
    return names
