"""Laws of the translation between PF_KEY and the model, for all values."""

from hypothesis import given
from hypothesis import strategies as st

from kamexfrm import pfkey
from kamexfrm.algorithms import TABLE, Kind, written_icv
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import (
    Key,
    Lifetime,
    NatTraversal,
    SadEntry,
    SaFlag,
    SaState,
    SecurityAssociation,
)
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import AF_INET, AF_INET6, Address
from kamexfrm.pfkey import SadbType
from kamexfrm.translate.pfkey import sa_from_message as reading
from kamexfrm.translate.pfkey import sa_to_message as sad
from kamexfrm.translate.pfkey import spd

uint32 = st.integers(0, 0xFFFFFFFF)
uint64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)
families = st.sampled_from([AF_INET, AF_INET6])


def addresses(family: int) -> st.SearchStrategy[Address]:
    size = 4 if family == AF_INET else 16
    return st.binary(min_size=size, max_size=size).map(lambda packed: Address(family, packed))


def keys(kind: Kind, *left_out: str) -> st.SearchStrategy[Key]:
    rows = [row for row in TABLE if row.kind is kind and row.name not in left_out]
    return st.sampled_from(rows).flatmap(
        lambda row: (
            st.sampled_from(row.key_sizes)
            .flatmap(lambda bits: st.binary(min_size=bits // 8, max_size=bits // 8))
            .map(lambda material: Key(row, material, written_icv(row)))
        )
    )


lifetimes = st.builds(Lifetime, uint32, uint64, uint64, uint64)


#: AEAD algorithms that PF_KEY does not carry: all but AES-GCM with its usual ICV.
_UNNAMED = tuple(row.name for row in TABLE if row.kind is Kind.AEAD and row.name != "aes-gcm-16")


@st.composite
def associations(draw: st.DrawFn) -> SecurityAssociation:
    family = draw(families)
    protocol = draw(st.sampled_from(IpsecProtocol))
    encryption = authentication = compression = nat = None
    if protocol is IpsecProtocol.ESP:
        encryption = draw(st.one_of(keys(Kind.ENCRYPTION), keys(Kind.AEAD, *_UNNAMED)))
        assert encryption.algorithm is not None
        if encryption.algorithm.kind is not Kind.AEAD:
            authentication = draw(st.none() | keys(Kind.AUTHENTICATION, "tcp-md5", "aes-cmac"))
        if draw(st.booleans()):
            ports = st.integers(0, 0xFFFF)
            original = draw(st.none() | addresses(family))
            nat = NatTraversal(draw(ports), draw(ports), original)
    elif protocol is IpsecProtocol.AH:
        authentication = draw(keys(Kind.AUTHENTICATION, "null", "tcp-md5", "aes-cmac"))
    else:
        compression = draw(keys(Kind.COMPRESSION))
    return SecurityAssociation(
        draw(addresses(family)),
        draw(addresses(family)),
        protocol,
        draw(st.integers(0, 0xFFFF) if compression else uint32),
        draw(st.sampled_from((Mode.ANY, Mode.TRANSPORT, Mode.TUNNEL))),
        draw(uint32),
        draw(st.integers(0, 255)),
        encryption,
        authentication,
        compression,
        draw(lifetimes),
        draw(lifetimes),
        nat,
        None,
        draw(st.booleans()),
        SaFlag(draw(st.integers(0, 7))),
    )


@st.composite
def ipsec_requests(draw: st.DrawFn) -> IpsecRequest:
    mode = draw(st.sampled_from([Mode.TRANSPORT, Mode.TUNNEL]))
    level = draw(st.sampled_from(Level))
    source = destination = None
    if mode is Mode.TUNNEL or draw(st.booleans()):
        family = draw(families)
        real = addresses(family).filter(lambda address: not address.is_unspecified)
        source, destination = draw(real), draw(real)
    reqid = draw(uint32) if level is Level.UNIQUE else 0
    return IpsecRequest(
        draw(st.sampled_from(IpsecProtocol)), mode, level, reqid, source, destination
    )


@st.composite
def policies(draw: st.DrawFn) -> SecurityPolicy:
    family = draw(families)
    prefix = st.integers(0, 32 if family == AF_INET else 128)
    ports = st.none() | st.integers(1, 0xFFFF)
    selector = Selector(
        draw(addresses(family)),
        draw(prefix),
        draw(addresses(family)),
        draw(prefix),
        draw(st.integers(1, 255)),
        draw(ports),
        draw(ports),
    )
    action = draw(st.sampled_from([PolicyType.DISCARD, PolicyType.NONE, PolicyType.IPSEC]))
    listed: tuple[IpsecRequest, ...] = ()
    if action is PolicyType.IPSEC:
        listed = tuple(draw(st.lists(ipsec_requests(), max_size=6)))
    return SecurityPolicy(
        selector,
        draw(st.sampled_from(Direction)),
        action,
        listed,
        draw(uint32),
        draw(uint64),
        draw(uint64),
    )


def through_the_wire(message: pfkey.SadbMsg) -> pfkey.SadbMsg:
    return pfkey.decode(pfkey.encode(message))


@given(associations())
def test_what_is_added_is_what_was_meant(association: SecurityAssociation) -> None:
    assert reading.sa_from_message(through_the_wire(sad.sa_to_message(association))) == association


@given(policies())
def test_a_policy_added_is_the_policy_meant(policy: SecurityPolicy) -> None:
    assert spd.policy_from_message(through_the_wire(spd.policy_to_message(policy))) == policy


@given(associations(), st.sampled_from(SaState), uint32, uint64)
def test_a_reply_read_and_written_again_is_the_same_reply(
    association: SecurityAssociation, state: SaState, packets: int, count: int
) -> None:
    entry = SadEntry(association, state, 1000, 2000, count, packets)
    shown = through_the_wire(sad.sad_entry_to_message(entry, SadbType.SADB_DUMP))
    again = sad.sad_entry_to_message(reading.sad_entry_from_message(shown), SadbType.SADB_DUMP)
    assert again == shown


@given(associations(), st.data())
def test_an_add_without_some_of_its_parts_is_an_sa_or_an_error_with_an_errno(
    association: SecurityAssociation, data: st.DataObject
) -> None:
    message = sad.sa_to_message(association)
    kept = tuple(e for e in message.extensions if data.draw(st.booleans()))
    broken = pfkey.SadbMsg(message.type, message.satype, extensions=kept)
    try:
        found, number = reading.sa_from_message(broken), 0
    except KamexfrmError as error:
        found, number = None, error.errno
    assert found.id == association.id if found else number
