"""X_MIGRATE: read as af_key reads it, and back from the kernel's event."""

from dataclasses import replace

import pytest

from kamexfrm import pfkey
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    Selector,
)
from kamexfrm.net import Address
from kamexfrm.pfkey import SadbMsg, SadbSatype, SadbType
from kamexfrm.translate.event import broadcast
from kamexfrm.translate.migrate import migrate_from_message
from kamexfrm.translate.pfkey.policy import policy_to_extension
from kamexfrm.translate.pfkey.spd import selector_to_extensions
from kamexfrm.xfrm import XfrmMsg, decode_migrate, encode_migrate

A, B, C, D = (Address.parse(f"192.0.2.{n}") for n in (1, 2, 3, 4))
INNER = Selector(Address.parse("10.1.0.0"), 16, Address.parse("10.2.0.0"), 16)


def request(source: Address | None, destination: Address | None, **fields: object) -> IpsecRequest:
    wanted = IpsecRequest(IpsecProtocol.ESP, Mode.TUNNEL, Level.REQUIRE, 0, source, destination)
    return wanted._replace(**fields)  # type: ignore[arg-type]


def migrate(*requests: IpsecRequest, direction: Direction = Direction.OUT) -> SadbMsg:
    policy = policy_to_extension(PolicyType.IPSEC, direction, requests)
    return SadbMsg(
        SadbType.SADB_X_MIGRATE,
        SadbSatype.SADB_SATYPE_ESP,
        extensions=(*selector_to_extensions(INNER), policy),
    )


def test_pairs_of_requests_are_moves() -> None:
    message = migrate(
        request(A, B),
        request(C, D),
        request(A, D, level=Level.UNIQUE, reqid=7),
        request(C, B, level=Level.UNIQUE, reqid=7),
        direction=Direction.IN,
    )
    found = migrate_from_message(message)
    assert (found.id.direction, found.id.selector.source_prefix) == (0, 16)
    first, second = found.moves
    assert (first.old_source, first.old_destination) == (A, B)
    assert (first.new_source, first.new_destination) == (C, D)
    assert (first.mode, first.reqid, second.reqid) == (1, 0, 7)
    assert decode_migrate(encode_migrate(found)) == found


def test_the_event_of_a_migration_equals_its_request() -> None:
    message = migrate(request(A, B), request(C, D))
    ends = tuple(
        replace(end, proto=0) if isinstance(end, pfkey.AddressExtension) else end
        for end in message.extensions
    )
    told = broadcast(XfrmMsg.MIGRATE, migrate_from_message(message), now=0)
    assert told == replace(message, extensions=ends)


def test_the_key_managers_addresses_go_along() -> None:
    message = migrate(request(A, B), request(C, D))
    managers = pfkey.KmAddress(pfkey.Sockaddr(C), pfkey.Sockaddr(D))
    found = migrate_from_message(replace(message, extensions=(*message.extensions, managers)))
    assert found.km_address is not None
    assert found.km_address[:2] == (C, D)


@pytest.mark.parametrize(
    "requests",
    [
        (),
        (request(A, B),),
        (request(A, B), request(C, D), request(A, B)),
        (request(A, B), request(C, D)) * 7,
        (request(A, B), request(C, D, protocol=IpsecProtocol.AH)),
        (request(A, B), request(C, D, mode=Mode.TRANSPORT)),
        (request(None, None, mode=Mode.TRANSPORT), request(C, D, mode=Mode.TRANSPORT)),
    ],
    ids=["none", "one", "three", "seven", "protocols", "modes", "nowhere"],
)
def test_what_is_no_pair_of_places_is_refused(requests: tuple[IpsecRequest, ...]) -> None:
    with pytest.raises(KamexfrmError) as refused:
        migrate_from_message(migrate(*requests))
    assert refused.value.errno == 22
