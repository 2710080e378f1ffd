"""Kernel objects as setkey's statements, and as plain data."""

from collections.abc import Iterator
from typing import NamedTuple

from kamexfrm.model.association import SadEntry
from kamexfrm.model.policy import PRIORITY_DEFAULT, Level, SecurityPolicy
from kamexfrm.model.statement_text import InexpressibleError, policy_statement, sa_statement
from kamexfrm.operator.translate.objects import Objects, Remark
from kamexfrm.translate.xfrm.policy_from_kernel import spd_entry_from_kernel
from kamexfrm.translate.xfrm.policy_to_kernel import TRIGGER_REQID
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
from kamexfrm.xfrm import XFRM_MODE_TUNNEL, Policy, Template


class Written(NamedTuple):
    """Policies in the order of matching, SAs in that of adding."""

    policies: tuple[SecurityPolicy, ...]
    sad: tuple[SadEntry, ...]


def written(objects: Objects, remarks: list[Remark]) -> Written:
    """Return what is to be written so that setkey makes these objects; their order is kept.

    The priorities of the kernel are not: setkey chooses them in the order of the statements.
    """
    sad = tuple(sad_entry_from_kernel(state, 0) for state in objects.states)
    twins = {_shape(p) for p in objects.policies if p.direction == _FWD}
    inbound = {_shape(p) for p in objects.policies if p.direction == _IN}
    policies = []
    # An inbound policy and its twin have one number, so that this is the order for both.
    for policy in sorted(objects.policies, key=lambda policy: policy.priority):
        shape = _shape(policy)
        if policy.direction == _FWD and shape in inbound:
            continue  # setkey makes it of the inbound one
        if policy.direction == _IN and shape not in twins:
            text = "has no fwd policy beside it; setkey makes one, but with -k"
            remarks.append(Remark(None, f"{_text(policy)}: {text}"))
        policies.append(_policy(policy, remarks))
    return Written(tuple(policies), sad)


_IN, _FWD = 0, 2  # XFRM_POLICY_IN, XFRM_POLICY_FWD


def _shape(policy: Policy) -> tuple[object, ...]:
    return policy.selector, policy.action, policy.templates


def _text(policy: Policy) -> str:
    selector = policy.selector
    source = f"{selector.source}/{selector.source_prefix}"
    return f"{source} {selector.destination}/{selector.destination_prefix}"


def _policy(policy: Policy, remarks: list[Remark]) -> SecurityPolicy:
    """Return a policy as written: one that lets tunnels pass is ``none``."""
    if any(_is_trigger(template) for template in policy.templates):
        text = "a tunnel of level use without an SA is not in the kernel: its request is left out"
        remarks.append(Remark(None, f"{_text(policy)}: {text}"))
    kept = tuple(template for template in policy.templates if not _is_trigger(template))
    if kept and all(_is_transparent(template) for template in kept):
        kept = ()
    found = spd_entry_from_kernel(policy._replace(templates=kept)).policy
    requests = tuple(
        # A request without a number takes that of its SA.
        request._replace(reqid=0) if request.level is Level.USE else request
        for request in found.requests
    )
    return found._replace(requests=requests, priority=PRIORITY_DEFAULT)


def _is_trigger(template: Template) -> bool:
    return template.reqid == TRIGGER_REQID


def _is_transparent(template: Template) -> bool:
    return bool(
        template.optional
        and template.mode == XFRM_MODE_TUNNEL
        and template.source.is_unspecified
        and template.destination.is_unspecified
    )


def statements(found: Written, remarks: list[Remark]) -> Iterator[str]:
    """Yield SAs, then policies; ``remarks`` gets what setkey has no words for."""
    for entry in found.sad:
        try:
            yield sa_statement(entry.association)
        except InexpressibleError as error:
            remarks.append(Remark(None, f"left out: {error}"))
    for policy in found.policies:
        try:
            yield policy_statement(policy)
        except InexpressibleError as error:
            remarks.append(Remark(None, f"left out: {error}"))
