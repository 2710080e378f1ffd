"""MIGRATE: the endpoints of a policy's templates and states move to other addresses."""

import struct
from typing import NamedTuple

from kamexfrm.errors import WireError
from kamexfrm.net import Address
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.attributes import Span, collect, encode_attribute, read
from kamexfrm.xfrm.identities import (
    PolicyId,
    decode_policy_id,
    encode_policy_id,
)
from kamexfrm.xfrm.structs import (
    USER_KMADDRESS,
    USER_MIGRATE,
    USERPOLICY_ID,
    Buffer,
    check_address,
    misfit,
    read_address,
)


class Move(NamedTuple):
    """Struct xfrm_user_migrate: the states of one template and where they go."""

    old_destination: Address
    old_source: Address
    new_destination: Address
    new_source: Address
    protocol: int
    mode: int
    reqid: int
    old_family: int
    new_family: int


class KmAddress(NamedTuple):
    """Struct xfrm_user_kmaddress: where the key managers talk to each other from now on."""

    local: Address
    remote: Address
    family: int


class Migrate(NamedTuple):
    """A policy's identity and its moves; further attributes are in the identity."""

    id: PolicyId
    moves: tuple[Move, ...]
    km_address: KmAddress | None = None


def encode_migrate(migrate: Migrate) -> bytes:
    """Return the payload of MIGRATE; raises KamexfrmError."""
    identity, moves, km_address = migrate
    parts = [
        encode_policy_id(identity),
        encode_attribute(c.XFRMA_MIGRATE, b"".join([_pack_move(move) for move in moves])),
    ]
    if km_address is not None:
        local, remote, family = km_address
        try:
            packed = USER_KMADDRESS.pack(
                check_address(local, family, "local key manager"),
                check_address(remote, family, "remote key manager"),
                0,
                family,
            )
        except struct.error as error:
            raise misfit("key manager address", error) from None
        parts.append(encode_attribute(c.XFRMA_KMADDRESS, packed))
    return b"".join(parts)


def _pack_move(move: Move) -> bytes:
    old_destination, old_source, new_destination, new_source, *rest = move
    protocol, mode, reqid, old_family, new_family = rest
    try:
        return USER_MIGRATE.pack(
            check_address(old_destination, old_family, "old destination"),
            check_address(old_source, old_family, "old source"),
            check_address(new_destination, new_family, "new destination"),
            check_address(new_source, new_family, "new source"),
            protocol,
            mode,
            0,
            reqid,
            old_family,
            new_family,
        )
    except struct.error as error:
        raise misfit("migration", error) from None


def decode_migrate(payload: Buffer) -> Migrate:
    """Read the payload of MIGRATE; raises WireError."""
    identity = decode_policy_id(payload)
    own = frozenset({c.XFRMA_MIGRATE, c.XFRMA_KMADDRESS})
    spans, _ = collect(payload, USERPOLICY_ID.size, own)
    others = tuple(pair for pair in identity.attributes if pair[0] & c.NLA_TYPE_MASK not in own)
    return Migrate(
        identity._replace(attributes=others),
        _read_moves(payload, spans.get(c.XFRMA_MIGRATE)),
        _read_km_address(payload, spans.get(c.XFRMA_KMADDRESS)),
    )


def _read_moves(payload: Buffer, span: Span | None) -> tuple[Move, ...]:
    if span is None:
        return ()
    size, each = span.end - span.start, USER_MIGRATE.size
    if size % each:
        raise WireError(f"migrations of {size} bytes, each has {each}", span.start)
    moves = []
    for fields in USER_MIGRATE.iter_unpack(payload[span.start : span.end]):
        old_destination, old_source, new_destination, new_source, protocol, mode, *rest = fields
        _, reqid, old_family, new_family = rest
        moves.append(
            Move(
                read_address(old_family, old_destination),
                read_address(old_family, old_source),
                read_address(new_family, new_destination),
                read_address(new_family, new_source),
                protocol,
                mode,
                reqid,
                old_family,
                new_family,
            )
        )
    return tuple(moves)


def _read_km_address(payload: Buffer, span: Span | None) -> KmAddress | None:
    if span is None:
        return None
    local, remote, _, family = read(USER_KMADDRESS, payload, span, "key manager address")
    return KmAddress(read_address(family, local), read_address(family, remote), family)
