"""Lines behind an error: the entry that conflicts, similar entries, valid key lengths."""

import errno
import os

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SaAdd, SaDelete, SpdAdd, SpdDelete, Write
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Owner, SpdEntry
from kamexfrm.model.policy_text import format_request
from kamexfrm.setkey.sa_algorithms import key_length_hint
from kamexfrm.translate.xfrm.sa_lookup import Unserved

#: setkey's own texts of errors about policies, where they are not those of strerror().
_SPD_TEXTS = {errno.ENOENT: "No entry"}


def text_of(error: KamexfrmError, *, policy: bool) -> str:
    """Return setkey's text of an error about a policy or an SA."""
    return (_SPD_TEXTS if policy else {}).get(error.errno) or os.strerror(error.errno)


def reason_of(error: KamexfrmError) -> list[str]:
    """Return the kernel's or the engine's reason beyond the errno."""
    reason = error.reason if isinstance(error, KernelError) else error.text
    text = os.strerror(error.errno)
    if reason.startswith(f"{text} (") and reason.endswith(")"):
        reason = reason[len(text) + 2 : -1]  # the text itself is in the line above
    return [reason] if reason and reason != text else []


def explain(engine: Engine, request: Write, error: KamexfrmError) -> list[str]:
    """Return lines about a rejected write; reads from the kernel what is there."""
    lines = reason_of(error)
    try:
        match request:
            case SpdAdd() if error.errno == errno.EEXIST:
                selector, direction = request.policy.selector, request.policy.direction
                there = engine.spd_entry(selector, direction, request.policy.label)
                lines.append(_conflict(there))
            case SpdDelete() if error.errno == errno.ENOENT:
                lines += _similar(engine, request)
            case SaAdd():
                lines += _about_sa(engine, request.association, error)
            case SaDelete() if error.errno == errno.ESRCH:
                id = request.id
                lines.append(
                    f"no {id.protocol.name.lower()} SA to {id.destination} with spi {id.spi:#x}"
                )
    except KernelError:
        pass  # deleted in the meantime
    return lines


def _conflict(entry: SpdEntry) -> str:
    """Return a line about the existing entry that conflicts with a new one."""
    policy = entry.policy
    requests = " ".join(format_request(request) for request in policy.requests)
    foreign = "" if entry.owner is Owner.OURS else " (not made by setkey)"
    action = f"{policy.type.name.lower()} {requests}".rstrip()
    return f"in the way: spid={entry.id} {policy.direction.name.lower()} {action}{foreign}"


def _similar(engine: Engine, request: SpdDelete) -> list[str]:
    """Return lines about entries of the same addresses that differ in the rest of the selector."""
    wanted = request.selector
    found = []
    for entry in engine.spd():
        there = entry.policy.selector
        if (
            entry.policy.direction is request.direction
            and not entry.socket
            and (there.source, there.destination) == (wanted.source, wanted.destination)
        ):
            found.append(
                f"there is {there.source}/{there.source_prefix} "
                f"{there.destination}/{there.destination_prefix} with other "
                "prefixes, ports or protocol"
            )
    return found[:3]


def _about_sa(engine: Engine, sa: SecurityAssociation, error: KamexfrmError) -> list[str]:
    if error.errno == errno.EEXIST:
        there = engine.sa(sa.id).association
        return [
            f"in the way: {there.source} {there.destination} {there.protocol.name.lower()} "
            f"spi={there.spi:#x}; an SA is known by destination, protocol and SPI"
        ]
    if error.errno == errno.EINVAL:
        keys = [key for key in (sa.encryption, sa.authentication) if key and key.algorithm]
        return [
            key_length_hint(key.algorithm, len(key.material) * 8)
            for key in keys
            if key.algorithm and len(key.material) * 8 not in key.algorithm.key_sizes
        ]
    if error.errno == errno.EPROTONOSUPPORT:
        name = sa.protocol.name.lower()
        return [f"this kernel has no {name.upper()} for that family (modules {name}4, {name}6)"]
    return []


def unserved_text(found: Unserved) -> str:
    """Return the warning about a policy that leaves some of its hosts without an SA."""
    s = found.selector
    which = f"{s.source}/{s.source_prefix} {s.destination}/{s.destination_prefix}"
    name = IpsecProtocol(found.protocol).name.lower()
    others = ", ".join(map(str, found.others))
    pairs = "a pair of hosts has" if found.pairs == 1 else f"{found.pairs} pairs of hosts have"
    return (
        f"the policy for {which} uses SAs of {name} with reqid {found.reqid} only, since Linux"
        f" takes one reqid for a request; {pairs} none of that but of {others}: give their SAs one"
        " reqid or none, or write a policy for each pair"
    )
