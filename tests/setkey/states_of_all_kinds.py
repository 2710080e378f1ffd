"""SAs as a kernel may hand them out, made at random: many alike, and odd ones between."""

from random import Random

from kamexfrm import xfrm
from kamexfrm.net import Address
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.xfrm import (
    XFRM_INF,
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Encap,
    LifetimeConfig,
    LifetimeCurrent,
    ReplayState,
    ReplayStateEsn,
    Selector,
    State,
)
from kamexfrm.xfrm.algorithms import pack_algorithm

NOW = 1_790_000_100
_FAMILIES = (2, 2, 10, 10, 99)
_TIMES = (0, NOW - 50, NOW - 5000, 1 << 62)


#: Attributes that are there twice, too short, or of another length than they say.
_ODD = (
    (xfrm.XFRMA_LASTUSED, (NOW - 3).to_bytes(8, "little")),
    (xfrm.XFRMA_LASTUSED, b"1234"),
    (xfrm.XFRMA_ALG_CRYPT, pack_algorithm(Algorithm("cbc(aes)", bytes(range(16)), 128)) + b"more"),
    (xfrm.XFRMA_ALG_CRYPT, pack_algorithm(Algorithm("cbc(aes)", bytes(range(16)), 128))[:-1]),
    (xfrm.XFRMA_ALG_AEAD, b"short"),
    (xfrm.XFRMA_REPLAY_VAL, bytes(8)),
    (xfrm.XFRMA_REPLAY_ESN_VAL, bytes(20)),
    (xfrm.XFRMA_REPLAY_ESN_VAL, bytes(20) + b"\x40\0\0\0"),
    (60, b"odd"),
)


def _address(random: Random, family: int) -> Address:
    size = 4 if family == 2 else 16
    return Address(family, bytes(random.choice((0, 0, 10, 255)) for _ in range(size)))


def _limits(random: Random) -> LifetimeConfig:
    amounts = [random.choice((XFRM_INF, XFRM_INF, XFRM_INF, 500)) for _ in range(4)]
    return LifetimeConfig(*amounts, *(random.choice((0, 0, 0, 60)) for _ in range(4)))


def _keys(random: Random) -> State:
    family = random.choice(_FAMILIES)
    ends = _address(random, family), _address(random, family)
    bare = State(
        Selector(*ends, family=family), ends[0], 0, random.choice((50, 50, 51, 108, 4)), ends[1]
    )
    size = random.choice((0, 16, 40, 64))
    kind = random.random()
    if kind < 0.2:
        name = random.choice(("rfc4106(gcm(aes))", "unknown%s"))
        return bare._replace(aead=AeadAlgorithm(name, bytes(20), 160, random.choice((64, 128))))
    if kind < 0.3:
        return bare._replace(compression=Algorithm("deflate", b"", 0))
    if kind < 0.35:
        return bare
    name = random.choice(("cbc(aes)", "cbc(des3_ede)", "ecb(cipher_null)", "odd"))
    auth = random.choice(("hmac(sha256)", "hmac(sha1)", "9"))
    return bare._replace(
        encryption=random.choice((None, Algorithm(name, bytes(size), size * 8))),
        authentication=random.choice((None, AuthAlgorithm(auth, bytes(32), 256, 96))),
    )


def _one(random: Random) -> State:
    made = _keys(random)
    family = made.destination.family
    context = xfrm.SecurityContext(1, 1, b"label\0")
    esn = ReplayStateEsn((0, 0), 0, 0, 0, 0, 64)
    return made._replace(
        selector=made.selector._replace(user=random.choice((0, tags.sa_user(True)))),
        lifetime=_limits(random),
        reqid=random.choice((0, 5)),
        family=family,
        mode=random.choice((0, 0, 1, 1, 4, 3)),
        replay_window=random.choice((0, 4, 32)),
        flags=random.choice((0, 0, 8, 128, 1)),
        encap=random.choice((None, None, Encap(2, 4500, 4501, _address(random, family)))),
        replay=random.choice((None, ReplayState(0, 0, 0))),
        replay_esn=random.choice((None, None, esn)),
        care_of_address=random.choice((None, tags.created_tag(NOW - 90, 10)))
        if family == 10
        else None,
        security_context=random.choice((None, None, None, None, context)),
        mark=random.choice((None, xfrm.Mark(1, 1))),
        attributes=random.choice(((), (), (), (random.choice(_ODD),))),
    )


def _like(random: Random, state: State) -> State:
    """Return a state that differs in what differs among the states of a real database."""
    family = state.destination.family
    made = state._replace(
        spi=random.getrandbits(32) if random.random() > 0.05 else 0,
        sequence=random.getrandbits(32),
        source=_address(random, family),
        destination=_address(random, family),
        current=LifetimeCurrent(
            random.choice((0, 499, 500, 1 << 63)),
            random.choice((0, 499, 500)),
            random.choice(_TIMES),
            random.choice(_TIMES),
        ),
        last_used=random.choice(_TIMES),
        reqid=random.choice((state.reqid, 7)),
    )
    if made.replay:
        made = made._replace(replay=ReplayState(random.getrandbits(32), 1, 2))
    if made.replay_esn:
        made = made._replace(replay_esn=ReplayStateEsn((1, 2), 3, random.getrandbits(9), 5, 6, 64))
    if made.encryption:
        key = random.randbytes(len(made.encryption.key))
        made = made._replace(encryption=made.encryption._replace(key=key))
    if made.authentication:
        key = random.randbytes(32)
        made = made._replace(authentication=made.authentication._replace(key=key))
    if made.aead:
        made = made._replace(aead=made.aead._replace(key=random.randbytes(20)))
    return made


def payloads(random: Random, count: int) -> list[bytes]:
    """Return payloads of NEWSA: of few kinds, as they come."""
    kinds = [_one(random) for _ in range(random.choice((1, 2, 4)))]
    return [xfrm.encode_state(_like(random, random.choice(kinds))) for _ in range(count)]
