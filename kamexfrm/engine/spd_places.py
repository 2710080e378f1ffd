"""Where the entries of a load go: ahead of the old ones that are left, in the order of matching."""

import errno
from collections.abc import Sequence
from itertools import islice

from kamexfrm.engine.load import Load, StayingEntry
from kamexfrm.engine.lookup import find_policy
from kamexfrm.engine.session import Session
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.model.policy import SecurityContext, SecurityPolicy, Selector
from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.brief_policy import (
    brief_policy,
    encode_context,
    encode_scope,
    plain_content,
)
from kamexfrm.translate.xfrm.fast_path import FastPathTemplate, encode_selector
from kamexfrm.translate.xfrm.numbers import direction_to_kernel, label_to_kernel
from kamexfrm.translate.xfrm.old_policies import OldPolicies, OldPolicy
from kamexfrm.translate.xfrm.policy_from_kernel import has_sidecar, read_tag
from kamexfrm.translate.xfrm.policy_name import mark_to_kernel, sidecar_selector
from kamexfrm.translate.xfrm.replacement import Move, Replacement
from kamexfrm.translate.xfrm.rewrite import moved
from kamexfrm.xfrm import (
    EMPTY_SELECTOR,
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    Policy,
    PolicyId,
    Run,
    XfrmMsg,
    decode_policy,
)

#: Policies that are read and moved at once.
_AT_ONCE = 128


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


def policy_name(selector: Selector, label: SecurityContext | None = None) -> int:
    """Return a hash of a policy's name, as brief_policy() has it."""
    name = encode_selector(selector)
    context = label_to_kernel(label)
    if context is not None:
        name += encode_context(context)
    if selector.scope is not None:
        name += encode_scope(mark_to_kernel(selector.scope.mark), selector.scope.if_id)
    return hash(name)


def place(
    session: Session, load: Load, name: int, directions: Sequence[int], priority: int
) -> Slot:
    """Return the place of the next entry; raises KamexfrmError (ENOSPC) when there is none."""
    load.todo = max(0, load.todo - 1)
    if load.places is not None:
        number, order, replaced = load.places[name, directions[0]]
        update, new = XfrmMsg.UPDPOLICY, XfrmMsg.NEWPOLICY
        return Slot(number, order, tuple(update if d in replaced else new for d in directions))
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
    return Slot(number, replacement.order(priority) or session.priorities.next_order(), types)


def _place(
    session: Session,
    load: Load,
    replacement: Replacement,
    name: int,
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


def _claim(load: Load, name: int, directions: Sequence[int]) -> Sequence[int]:
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
    session: Session,
    load: Load,
    template: FastPathTemplate,
    name: int,
    policy: SecurityPolicy,
    directions: Sequence[int],
) -> Slot | None:
    """Return where an entry is already, as all before it in this load are; else it is placed.

    The slot has no types where nothing is to be written. That is for entries with a plain template.
    """
    replacement = load.replacement
    if replacement is None or load.plan.deleted:
        return None
    contents = [
        plain_content(template, policy.priority, twin=at > 0) for at in range(len(directions))
    ]
    found = replacement.keep(name, directions, contents, policy.priority)
    if found is None:
        return None
    load.todo = max(0, load.todo - 1)
    load.last = policy.priority, found.number
    if found.is_same and not policy.lifetime | policy.validtime:
        return Slot(found.number, found.order, ())
    return Slot(found.number, found.order, (XfrmMsg.UPDPOLICY,) * len(directions))


def _make_room(session: Session, load: Load, replacement: Replacement) -> None:
    """Move old policies behind what the load has written, and keep their order on the way."""
    session.send()
    moves = replacement.make_room()
    while some := list(islice(moves, _AT_ONCE)):
        found = _read_moved(session, some)
        session.make_room(
            operation
            for move in some
            if (policy := found.get((move.name, move.direction)))
            for operation in moved((policy,), move.number, session.time())
        )
        if load.staying:
            _renumber_staying(load, some)


def _renumber_staying(load: Load, moves: Sequence[Move]) -> None:
    """Write down the new numbers of entries that stay and have yet to get their places."""
    numbers = {(move.name, move.direction): move.number for move in moves}
    for at, entry in enumerate(load.staying):
        if entry.policies:
            key = entry.name, entry.policies[0].direction
            load.staying[at] = entry._replace(number=numbers.get(key, entry.number))


def _read_moved(session: Session, moves: Sequence[Move]) -> dict[tuple[int, int], Policy]:
    """Return the policies that are to be moved, by their names and directions."""
    found = {}
    for move in moves:
        id = PolicyId(EMPTY_SELECTOR, index=move.id, direction=move.direction)
        policy = find_policy(session.kernel, id)
        if policy is None:
            break  # it has more of a name than a selector
        found[move.name, move.direction] = policy
    else:
        return found
    wanted = {(move.name, move.direction) for move in moves}

    def add(found: dict[tuple[int, int], Policy], run: Run) -> None:
        for payload in run.payloads():
            brief = brief_policy(payload)
            name = (hash(brief.name), brief.direction) if brief else (0, -1)
            if name in wanted:
                found[name] = decode_policy(payload)

    return session.kernel.gather_policies(dict, add)


def order_all(session: Session, load: Load) -> None:
    """Count those as old that are going to be deleted, and let the others keep their order.

    Foreign policies take no part: they are where they are.
    """
    session.send()
    doomed = {
        (policy_name(selector, label), direction_to_kernel(direction))
        for (selector, label), direction in load.plan.deleted
    }
    old = OldPolicies()
    entries: dict[tuple[int, int], StayingEntry] = {}
    for payload in session.kernel.raw_policies():
        brief = brief_policy(payload)
        policy = decode_policy(payload) if brief else None
        tag = read_tag(policy).tag if policy else None
        if brief is None or policy is None or tag is None:
            continue
        name, direction, number = hash(brief.name), brief.direction, brief.number
        old.add(OldPolicy(name, direction, number, brief.index, brief.content))
        is_named = (name, direction) in doomed
        is_twin = direction == XFRM_POLICY_FWD and tag.flags & tags.TWIN != 0
        if is_named or (is_twin and (name, XFRM_POLICY_IN) in doomed):
            if is_named:
                load.expected[name, direction] = is_twin
            if has_sidecar(policy):
                load.sidecars.add(sidecar_selector(policy))
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
            session.apply(moved(entry.policies, number, session.time()))
