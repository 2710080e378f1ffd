"""Where the entries of a load go: ahead of the old ones that are left, in the order of matching."""

import errno
from collections import deque
from collections.abc import Hashable, Sequence

from kamexfrm.engine.load import Load, StayingEntry
from kamexfrm.engine.session import Session
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.model.policy import SecurityContext, Selector
from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.brief_policy import brief_policy, encode_context, plain_content
from kamexfrm.translate.xfrm.fast_path import FastPathTemplate, encode_selector
from kamexfrm.translate.xfrm.numbers import direction_to_kernel, label_to_kernel
from kamexfrm.translate.xfrm.policy_from_kernel import has_sidecar, read_tag
from kamexfrm.translate.xfrm.replacement import OldEntry, Replacement
from kamexfrm.translate.xfrm.rewrite import moved
from kamexfrm.xfrm import (
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    Operation,
    Policy,
    XfrmMsg,
    decode_policy,
    encode_policy,
)


class Slot(NamedTuple):
    """Where an entry goes: kernel priority, insertion number, and how each policy is written.

    ``types`` are UPDPOLICY where a policy takes the place of an old one, else NEWPOLICY.
    """

    number: int
    order: int
    types: tuple[int, ...]

    def replaces(self) -> bool:
        """Whether the entry takes the place of an old one."""
        return XfrmMsg.UPDPOLICY in self.types


def policy_name(selector: Selector, label: SecurityContext | None = None) -> bytes:
    """Return the name of a policy as setkey writes them: without mark and interface."""
    name = encode_selector(selector)
    context = label_to_kernel(label)
    return name if context is None else name + encode_context(context)


def place(
    session: Session, load: Load, name: bytes, directions: Sequence[int], priority: int
) -> Slot:
    """Return the place of the next entry; raises KamexfrmError (ENOSPC) when there is none."""
    load.todo = max(0, load.todo - 1)
    replacement = load.replacement
    if replacement is None:
        types = tuple(
            XfrmMsg.UPDPOLICY if load.deleted.pop((name, d), None) else XfrmMsg.NEWPOLICY
            for d in directions
        )
        return Slot(*session.priorities.place(priority), types)
    place_staying(session, load, priority)
    mine = _claim(load, name, directions) if load.staying else directions
    types = tuple(
        XfrmMsg.UPDPOLICY if d in mine and (name, d) in replacement else XfrmMsg.NEWPOLICY
        for d in directions
    )
    number = _place(session, load, replacement, name, mine, priority)
    load.last = priority, number
    return Slot(number, session.priorities.next_order(), types)


def _place(
    session: Session,
    load: Load,
    replacement: Replacement,
    name: Hashable,
    directions: Sequence[int],
    priority: int,
) -> int:
    number = replacement.place(name, directions, priority)
    if number is None:
        _make_room(session, load, replacement)
        number = replacement.place(name, directions, priority)
        if number is None:
            raise KamexfrmError("no kernel priority is left", errno=errno.ENOSPC)
    return number


def _claim(load: Load, name: bytes, directions: Sequence[int]) -> Sequence[int]:
    """Return the directions in which a new entry may replace what is there.

    Raises KernelError (EEXIST) where an entry that stays has its name.
    """
    staying = {
        policy.direction: entry
        for entry in load.staying
        if entry.name == name
        for policy in entry.policies
    }
    there = staying.get(directions[0])
    if there is not None:
        policies = [p for p in there.policies if p.direction == directions[0]]
        tag = read_tag(policies[0]).tag
        if tag is None or not tag.flags & tags.TWIN:
            raise KernelError(errno.EEXIST)
        there.policies.remove(policies[0])  # an explicit fwd takes the twin over
    # A twin does not take over an explicit fwd that stays.
    return [d for d in directions if d == directions[0] or d not in staying]


def keep(
    load: Load, template: FastPathTemplate, name: bytes, directions: Sequence[int], priority: int
) -> bool:
    """Whether an entry is there already, in its place, and all before it in this load too.

    That is for entries with a plain template and no lifetime.
    """
    if load.replacement is None or load.plan.deleted:
        return False
    contents = [plain_content(template, priority, twin=at > 0) for at in range(len(directions))]
    number = load.replacement.keep(name, directions, contents)
    if number:
        load.todo = max(0, load.todo - 1)
        load.last = priority, number
    return number != 0


def _make_room(session: Session, load: Load, replacement: Replacement) -> None:
    """Move the old policies up, the last one first."""
    session.send()
    load.staying = deque(entry._replace(number=0) for entry in load.staying)
    policies: dict[tuple[Hashable, int], Policy] = {}
    for payload in session.kernel.raw_policies():
        if brief := brief_policy(payload):
            policies[brief.name, brief.direction] = decode_policy(payload)
    session.apply(
        [
            Operation(XfrmMsg.UPDPOLICY, encode_policy(policy._replace(priority=move.number)))
            for move in replacement.make_room()
            if (policy := policies.get((move.name, move.direction)))
        ]
    )


def order_all(session: Session, load: Load) -> None:
    """Count those as old that are going to be deleted, and let the others keep their order.

    Foreign policies take no part: they are where they are.
    """
    session.send()
    doomed = {
        (policy_name(selector, label), direction_to_kernel(direction))
        for (selector, label), direction in load.plan.deleted
    }
    old: list[OldEntry] = []
    entries: dict[tuple[bytes, int], StayingEntry] = {}
    for payload in session.kernel.raw_policies():
        brief = brief_policy(payload)
        policy = decode_policy(payload) if brief else None
        tag = read_tag(policy).tag if policy else None
        if brief is None or policy is None or tag is None:
            continue
        name, direction, number, index, content = brief
        old.append(OldEntry(name, direction, number, index, content))
        is_named = (name, direction) in doomed
        is_twin = direction == XFRM_POLICY_FWD and tag.flags & tags.TWIN != 0
        if is_named or (is_twin and (name, XFRM_POLICY_IN) in doomed):
            if is_named:
                load.expected[name, direction] = is_twin
            if has_sidecar(policy):
                load.sidecars.add(policy.selector)
            continue
        entry = StayingEntry(tag.priority, number, name, [])
        entries.setdefault((name, number), entry).policies.append(policy)
    load.staying.extend(sorted(entries.values(), key=lambda entry: entry.number))
    load.replacement = Replacement(old, load.todo + len(load.staying))


def place_staying(session: Session, load: Load, priority: int) -> None:
    """Give entries that stay their places, up to those of a priority as written."""
    replacement = load.replacement
    while load.staying and load.staying[0].priority <= priority and replacement is not None:
        first = load.staying[0]
        directions = [policy.direction for policy in first.policies]
        number = _place(session, load, replacement, first.name, directions, first.priority)
        entry = load.staying.popleft()  # its number is 0 where room was made
        load.last = entry.priority, number
        if number != entry.number:
            session.send()
            session.apply(moved(entry.policies, number, session.now))
