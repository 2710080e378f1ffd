"""A difference as rows: what is done about what, as statements of setkey, and why."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kamexfrm.engine.difference import Difference, KnobChange
from kamexfrm.engine.policy_difference import PolicyChange
from kamexfrm.engine.sa_difference import SaChange
from kamexfrm.model.association import LinuxParts, SecurityAssociation
from kamexfrm.model.policy import Direction, SecurityPolicy
from kamexfrm.model.policy_text import format_priority
from kamexfrm.model.statement_text import (
    InexpressibleError,
    policy_deletion,
    policy_statement,
    sa_deletion,
    sa_statement,
)
from kamexfrm.operator.document import document
from kamexfrm.translate.xfrm.policy_from_kernel import spd_entry_from_kernel
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
from kamexfrm.xfrm import Policy, Selector, State, decode_policy

ADD, UPDATE, DELETE, MOVE = "add", "update", "delete", "move"

_NOT_THERE = "it is not there"
_NOT_WANTED = "the files do not name it"


class Change(NamedTuple):
    """One change: ``action`` is add, update, delete or move, ``kind`` policy, sa or knob.

    ``text`` is the statement, or the line of kame-sysctl, that makes it; ``before`` the statement
    or line of what is there, None where nothing is.
    """

    action: str
    kind: str
    text: str
    before: str | None
    reason: str


class Counts(NamedTuple):
    """How many changes of each kind there are."""

    add: int = 0
    update: int = 0
    move: int = 0
    delete: int = 0


def changes_of(found: Difference, *, keys: bool = False) -> Iterator[Change]:
    """Yield the changes in the order in which they are made; with ``keys`` in the texts."""
    for knob in found.knobs:
        yield _knob(knob)
    for sa in found.associations.changes:
        if sa.request is not None:
            yield _sa(sa, keys=keys)
    for policy in found.policies.changes:
        yield _policy(policy, found.policies.sidecars)
    for sa in found.associations.changes:
        if sa.request is None:
            yield _sa(sa, keys=keys)


def counts_of(found: Difference) -> Counts:
    """Count the changes without writing their texts."""
    add = update = move = delete = 0
    for change in found.policies.changes:
        if change.request is None:
            delete += 1
        elif not change.there:
            add += 1
        elif change.is_same:
            move += 1
        else:
            update += 1
    for sa in found.associations.changes:
        if sa.request is None:
            delete += 1
        elif sa.there is None:
            add += 1
        else:
            update += 1
    return Counts(add, update + len(found.knobs), move, delete)


def to_document(command: str, found: Difference, *, keys: bool, **more: Any) -> dict[str, Any]:
    """Return the document of a difference, described in schemas/plan.json and apply.json."""
    return document(
        command,
        changes=[change._asdict() for change in changes_of(found, keys=keys)],
        unchanged=found.unchanged,
        foreign=found.foreign,
        **more,
    )


def _knob(change: KnobChange) -> Change:
    name = change.request.knob.name
    before = f"{name} = {change.before}"
    return Change(UPDATE, "knob", f"{name} = {change.request.value}", before, "its value differs")


def _policy(change: PolicyChange, sidecars: Mapping[Selector, Policy]) -> Change:
    request, there, is_same = change
    before = None
    standing = None
    if there:
        standing = spd_entry_from_kernel(decode_policy(there[0]), sidecars.get).policy
        before = policy_text(standing)
    if request is None:
        assert standing is not None  # noqa: S101  (what is deleted is there)
        return Change(DELETE, "policy", _policy_deletion(standing), before, _NOT_WANTED)
    text = policy_text(request.policy)
    if standing is None:
        return Change(ADD, "policy", text, None, _NOT_THERE)
    if is_same:
        return Change(MOVE, "policy", text, before, "its place among the others differs")
    return Change(UPDATE, "policy", text, before, _policy_reason(standing, request.policy))


def _policy_reason(there: SecurityPolicy, wanted: SecurityPolicy) -> str:
    found = []
    if there.type is not wanted.type:
        found.append("its action differs")
    elif there.requests != wanted.requests:
        found.append("its requests differ")
    if there.priority != wanted.priority:
        found.append(f"its priority was {format_priority(there.priority).removeprefix('prio ')}")
    if (there.lifetime, there.validtime) != (wanted.lifetime, wanted.validtime):
        found.append("its lifetime differs")
    if not found and wanted.direction is Direction.IN:
        found.append("its fwd twin is missing or another one")
    return ", ".join(found) or "it is written anew"


def policy_text(policy: SecurityPolicy) -> str:
    """Return a policy's statement; what the language lacks is said in a comment behind it."""
    try:
        return policy_statement(policy)
    except InexpressibleError as error:
        bare = policy._replace(lifetime=0, validtime=0)
        try:
            return f"{policy_statement(bare)} # {error}"
        except InexpressibleError:
            return f"# {error}"


def _policy_deletion(policy: SecurityPolicy) -> str:
    try:
        return policy_deletion(policy.selector, policy.direction, policy.label)
    except InexpressibleError as error:
        return f"# spddelete: {error}"


def _sa(change: SaChange, *, keys: bool) -> Change:
    request, there, replaces = change
    before = None
    standing = None
    if there is not None:
        standing = sad_entry_from_kernel(there, 0).association
        before = sa_text(standing, keys=keys)
    if request is None:
        assert standing is not None  # noqa: S101  (what is deleted is there)
        return Change(DELETE, "sa", sa_deletion(standing), before, _NOT_WANTED)
    text = sa_text(request.association, keys=keys)
    if standing is None or there is None:
        return Change(ADD, "sa", text, None, _NOT_THERE)
    reason = "its lifetime differs"
    if replaces:
        reason = _sa_reason(standing, request.association, there)
    return Change(UPDATE, "sa", text, before, reason)


def _sa_reason(there: SecurityAssociation, wanted: SecurityAssociation, state: State) -> str:
    found = [
        f"its {word} differs"
        for word, one, other in (
            ("source", there.source, wanted.source),
            ("mode", there.mode, wanted.mode),
            ("reqid", there.reqid, wanted.reqid),
            ("replay window", there.replay_window, wanted.replay_window),
            ("use of ESN", there.esn, wanted.esn),
            ("encapsulation in UDP", there.nat_traversal, wanted.nat_traversal),
            ("security context", there.label, wanted.label),
            ("mark", there.id.mark, wanted.id.mark),
            ("sel, dev, if_id, dir or offload", _linux_parts(there), _linux_parts(wanted)),
        )
        if one != other
    ]
    mine, theirs = (_algorithms(sa) for sa in (there, wanted))
    if mine != theirs:
        found.append("its algorithm differs")
    elif _materials(there) != _materials(wanted):
        found.append("its key differs")
    return ", ".join(found) or "its ICV or its flags differ (see kame-sysctl)"


def _linux_parts(sa: SecurityAssociation) -> LinuxParts:
    return (sa.linux or LinuxParts())._replace(mark=None, numbers=None)


def _algorithms(sa: SecurityAssociation) -> list[str]:
    keys = (sa.encryption, sa.authentication, sa.compression)
    return [(key.algorithm.kernel if key.algorithm else key.kernel) if key else "" for key in keys]


def _materials(sa: SecurityAssociation) -> list[bytes]:
    return [key.material if key else b"" for key in (sa.encryption, sa.authentication)]


def sa_text(sa: SecurityAssociation, *, keys: bool) -> str:
    """Return an SA's statement; what the language lacks is said in a comment."""
    try:
        return sa_statement(sa, keys=keys)
    except InexpressibleError as error:
        name = f"{sa.source} {sa.destination} {sa.protocol.name.lower()} 0x{sa.spi:x}"
        return f"# add {name}: {error}"
