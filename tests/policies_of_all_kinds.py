"""Policies as a kernel may hand them out, made at random: many alike, and odd ones between."""

import struct
from random import Random

from kamexfrm import xfrm
from kamexfrm.net import Address
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.catch_all import catch_all
from kamexfrm.translate.xfrm.marker import Marker, marker_policy
from kamexfrm.xfrm import LifetimeConfig, LifetimeCurrent, Policy, Run, Selector, Template, XfrmMsg

_FAMILIES = (2, 2, 2, 10, 10, 0, 99)
_DIGITS = b"987654321" * 5  # what the fast JSON takes for a place of its own
_TIMES = (0, 1_790_000_000, 1_790_000_001, 1 << 62)
_USERS = (0, 0, 0, 0, 0, 7, tags.CATCH_ALL_USER)
_SHARES = (0x80, 0x80, 0x80, 0x82, 0x81, 0x83, 0x80 | 0x0C, 0x90, 0x10, 0)


def _address(random: Random, family: int) -> Address:
    size = 4 if family == 2 else 16
    return Address(family, bytes(random.choice((0, 0, 10, 255)) for _ in range(size)))


def _selector(random: Random) -> Selector:
    family = random.choice(_FAMILIES)
    dport, dmask, sport, smask = (random.choice((0, 0, 80, 0xFFFF)) for _ in range(4))
    full = 32 if family == 2 else 128
    return Selector(
        _address(random, family), _address(random, family), dport, dmask, sport, smask, family,
        random.choice((full, 24, 0)), random.choice((full, 24, 200)),
        random.choice((0, 6, 1, 58, 47, 135, 200)), 0, random.choice(_USERS),
    )  # fmt: skip


def _template(random: Random) -> Template:
    family = random.choice((2, 10))
    ends = _address(random, family), _address(random, family)
    return Template(
        *ends, random.choice((50, 51, 108, 0)), random.choice((0, 1, 4)),
        reqid=random.choice((0, 5, 70000)), family=family, share=random.choice(_SHARES),
        optional=random.choice((0, 1)), calgos=random.choice((0, 9, 0xFFFFFFFF)),
    )  # fmt: skip


def _lifetime(random: Random) -> LifetimeConfig:
    tag = tags.PolicyTag(
        random.choice((1 << 31, 7)), random.getrandbits(48), random.choice((0, 0, 1, 4)),
        random.choice(_TIMES[:3]), random.choice((0, 0, 0, 60)), random.choice((0, 0, 0, 90)),
    )  # fmt: skip
    words = list(tags.policy_words(tag))
    spoilt = random.choice((None, None, None, 0, 1, 2))
    if spoilt is not None:  # no tag, a later version's, or a broken one
        words[spoilt] = random.choice((0, words[spoilt] + (1 << 32), words[spoilt] | 0xFFFF))
    return LifetimeConfig(*words, *(random.choice((0, 0, 33)) for _ in range(4)))


def _one(random: Random) -> Policy:
    special = random.random()
    if special < 0.03:
        return marker_policy(Marker())
    if special < 0.06:
        found = catch_all(random.choice((2, 10)), random.randrange(3))
        return found._replace(priority=random.choice((found.priority, 5)))
    context = xfrm.SecurityContext(1, 1, random.choice((b"label\0", b"\xff9\0", b"", _DIGITS)))
    return Policy(
        _selector(random),
        random.choice((0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 9)),
        random.choice((0, 0, 0, 1)),
        random.choice((0, 1 << 31, 77)),
        random.getrandbits(32),
        lifetime=_lifetime(random),
        current=LifetimeCurrent(0, 0, random.choice(_TIMES), random.choice(_TIMES)),
        templates=tuple(_template(random) for _ in range(random.choice((0, 1, 1, 1, 2)))),
        if_id=random.choice((0, 0, 0, 0, 3, tags.SIDECAR_IF_ID)),
        mark=random.choice((None, None, xfrm.Mark(1, 1))),
        policy_type=random.choice((0, 0, 0, 0, 1)),
        security_context=random.choice((None, None, None, context)),
    )


def _like(random: Random, policy: Policy) -> Policy:
    """Return a policy that differs in what differs among the policies of a real database."""
    if policy.selector.user == tags.CATCH_ALL_USER and random.random() < 0.5:
        return policy
    selector, family = policy.selector, policy.selector.family
    _, order, created, *rest = policy.lifetime
    created |= random.choice((0, 0, 0, 0, 1))
    flags = order & 0xFFFF ^ random.choice((0, 0, 0, 0, 0, 0, 1, 4, 32))
    order = random.getrandbits(48) << 16 | flags
    return policy._replace(
        index=random.getrandbits(32),
        priority=random.choice((policy.priority, policy.priority, random.getrandbits(32))),
        lifetime=LifetimeConfig(policy.lifetime[0], order, created, *rest),
        selector=selector._replace(
            destination=_address(random, family),
            source=_address(random, family),
            source_port=random.choice((selector.source_port, 81)),
        ),
        current=policy.current._replace(use_time=random.choice(_TIMES)),
    )


def payloads(random: Random, count: int) -> list[bytes]:
    """Return payloads of NEWPOLICY: of few kinds, as they come."""
    kinds = [_one(random) for _ in range(random.choice((1, 2, 4)))]
    return [xfrm.encode_policy(_like(random, random.choice(kinds))) for _ in range(count)]


def spoilt(random: Random, payload: bytes) -> bytes:
    """Return a payload with its end cut off, or a length of an attribute or any octet changed."""
    if random.random() < 0.5:
        return payload[: random.randrange(len(payload) + 1)]
    if len(payload) > 168 and random.random() < 0.5:
        size = 224 if len(payload) > 224 + 12 and random.random() < 0.5 else 168
        return (
            payload[:size] + struct.pack("=H", random.choice((0, 3, 5, 9000))) + payload[size + 2 :]
        )
    at = random.randrange(len(payload))
    return payload[:at] + bytes((random.randrange(256),)) + payload[at + 1 :]


def runs(random: Random, found: list[bytes], kind: XfrmMsg = XfrmMsg.NEWPOLICY) -> list[Run]:
    """Return payloads as the datagrams of a dump, each of some messages."""
    made = []
    while found:
        size = random.randrange(1, 9)
        made.append(xfrm.make_run(kind, found[:size]))
        found = found[size:]
    return made
