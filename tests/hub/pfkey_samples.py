"""Requests for tests of PF_KEY, and their answers in words."""

from kamexfrm import pfkey
from kamexfrm.algorithms import Kind, by_name
from kamexfrm.hub import Client
from kamexfrm.model.association import Key, SecurityAssociation
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
from kamexfrm.net import Address
from kamexfrm.pfkey import SadbMsg, SadbSatype, SadbType
from kamexfrm.translate.pfkey.parts import stamped
from kamexfrm.translate.pfkey.sa_to_message import sa_to_message
from kamexfrm.translate.pfkey.spd import policy_to_message, spidx_to_message

A, B = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")

#: What a program calls itself.
PID = 4711


def message(type_: SadbType, satype: int = 0, seq: int = 1, errno: int = 0) -> bytes:
    """Return a request that is a header."""
    return pfkey.encode(SadbMsg(type_, SadbSatype(satype), seq, PID, errno))


REGISTER = message(SadbType.SADB_REGISTER, 3)
DUMP = message(SadbType.SADB_DUMP)
SPD_DUMP = message(SadbType.SADB_X_SPDDUMP)
FLUSH = message(SadbType.SADB_FLUSH)
SPD_FLUSH = message(SadbType.SADB_X_SPDFLUSH)
PROMISC = message(SadbType.SADB_X_PROMISC, 1)


def policy(
    number: int = 1,
    direction: Direction = Direction.OUT,
    level: Level = Level.REQUIRE,
    mode: Mode = Mode.TRANSPORT,
) -> SecurityPolicy:
    """Return one of many policies."""
    network = Address.parse(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")
    ends = (A, B) if mode is Mode.TUNNEL else (None, None)
    requests = (IpsecRequest(IpsecProtocol.ESP, mode, level, 0, *ends),)
    selector = Selector(network, 32, B, 32)
    return SecurityPolicy(selector, direction, PolicyType.IPSEC, requests)


def add_policy(
    wanted: SecurityPolicy, seq: int = 1, *, type_: SadbType = SadbType.SADB_X_SPDADD
) -> bytes:
    """Return an X_SPDADD, or an X_SPDUPDATE."""
    return pfkey.encode(stamped(policy_to_message(wanted, type_), seq=seq, pid=PID))


def delete_policy(wanted: SecurityPolicy, seq: int = 1) -> bytes:
    """Return an X_SPDDELETE."""
    named = spidx_to_message(wanted.selector, wanted.direction)
    return pfkey.encode(stamped(named, seq=seq, pid=PID))


def association(spi: int = 0x1000, mode: Mode = Mode.TRANSPORT) -> SecurityAssociation:
    """Return an SA that can be added where the kernel has ESP."""
    encryption = by_name(Kind.ENCRYPTION, "aes-cbc")
    authentication = by_name(Kind.AUTHENTICATION, "hmac-sha1")
    return SecurityAssociation(
        A,
        B,
        IpsecProtocol.ESP,
        spi,
        mode,
        encryption=Key(encryption, bytes(range(16))),
        authentication=Key(authentication, bytes(range(20))),
    )


def add_sa(wanted: SecurityAssociation, seq: int = 1, type_: SadbType = SadbType.SADB_ADD) -> bytes:
    """Return an ADD or UPDATE."""
    return pfkey.encode(stamped(sa_to_message(wanted, type_), seq=seq, pid=PID))


def short(wire: bytes) -> str:
    """Return a message's type, errno where there is one, sequence number and process id."""
    found = pfkey.decode(wire)
    failed = f" errno {found.errno}" if found.errno else ""
    who = "" if found.pid == PID else f" pid {found.pid}"
    return f"{found.type.name[5:]}{failed} {found.seq}{who}"


def received(client: Client) -> list[str]:
    """Return all that waits for a client, in short."""
    return [short(wire) for wire in iter(client.receive, None)]
