"""Security associations as PF_KEY has them (RFC 2367 section 2.3), with KAME's mode and reqid.

A key's representation never shows its bytes.
"""

from enum import IntEnum, IntFlag

from kamexfrm.algorithms import Algorithm
from kamexfrm.lazy import printed_by
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    Mark,
    Mode,
    SecurityContext,
    Selector,
)
from kamexfrm.net import Address
from kamexfrm.records import NamedTuple


class SaState(IntEnum):
    """The state of an SA in its life cycle (RFC 2367 SADB_SASTATE_*)."""

    LARVAL = 0
    MATURE = 1
    DYING = 2
    DEAD = 3


class Key(NamedTuple):
    """An algorithm with its key; ``material`` is empty for algorithms that take none.

    ``algorithm`` is None for one that the kernel knows and PF_KEY does not; ``kernel`` is then the
    kernel's name for it. ``icv_bits`` is the truncation in force for authentication and AEAD; 0
    leaves it to the algorithm, and of hmac-sha256 to net.key.sha256_icv.

    >>> from kamexfrm.algorithms import Kind, by_number
    >>> Key(by_number(Kind.ENCRYPTION, 12), bytes(range(16)))
    <Key aes-cbc, 128 bits>
    """

    algorithm: Algorithm | None
    material: bytes
    icv_bits: int = 0
    kernel: str = ""

    def __repr__(self) -> str:
        name = self.algorithm.name if self.algorithm else self.kernel
        return f"<Key {name}, {len(self.material) * 8} bits>"


def key_name(key: Key) -> str:
    """Return an algorithm's name, with its ICV length where that is not the name's usual one.

    An algorithm without a PF_KEY name has the kernel's.
    """
    algorithm = key.algorithm
    if algorithm is None:
        return key.kernel or "none"
    if algorithm.kernel == "hmac(sha256)":
        return "hmac-sha256-128" if key.icv_bits == 128 else "hmac-sha256"
    if key.icv_bits and algorithm.kernel in ("rfc4106(gcm(aes))", "rfc4309(ccm(aes))"):
        return f"{algorithm.name.rpartition('-')[0]}-{key.icv_bits // 8}"
    return algorithm.name


class Lifetime(NamedTuple):
    """A limit (RFC 2367 section 2.3.2): packets, bytes, seconds since creation and first use.

    0 means no limit.
    """

    allocations: int = 0
    bytes: int = 0
    addtime: int = 0
    usetime: int = 0


class NatTraversal(NamedTuple):
    """UDP encapsulation (RFC 3948): UDP ports and the peer's original address, if known."""

    source_port: int
    destination_port: int
    original_address: Address | None = None


#: Printed as setkey writes them, without keys.
_sa_text = printed_by("kamexfrm.model.statement_text", "shown_sa")
_id_text = printed_by("kamexfrm.model.statement_text", "shown_sa_id")


class SaId(NamedTuple):
    """The identity of an SA: destination, protocol, SPI and mark. The source is not compared."""

    destination: Address
    protocol: IpsecProtocol
    spi: int
    mark: Mark | None = None

    def __str__(self) -> str:
        return _id_text(self)


class SaFlag(IntFlag):
    """Options of an SA that have no field of their own (Linux SADB_SAFLAGS_*).

    The numbers are Linux's XFRM_STATE_*, so that bits without a name here keep their meaning.
    """

    NOECN = 0x1  # outer headers get no ECN bits
    DECAP_DSCP = 0x2  # inner headers get the outer DSCP
    NOPMTUDISC = 0x4  # outer headers get no DF bit


#: An SA of the usual kind.
NO_FLAGS = SaFlag(0)


class Offload(NamedTuple):
    """The device, by its index, that computes an SA; ``inbound`` for packets that come in."""

    interface: int
    inbound: bool = False


class SequenceNumbers(NamedTuple):
    """Where an SA goes on: the last number sent, the highest received, and a bitmap below it.

    The bitmap is the kernel's, as one number whose lowest 32 bits are its first word.
    """

    sent: int = 0
    received: int = 0
    seen: int = 0


class LinuxParts(NamedTuple):
    """What an SA has on Linux alone.

    It is for packets of ``selector``, for None of any, that leave by the device with the index
    ``interface``, with ``mark``, of the XFRM interface ``if_id``. ``output_mark`` is set in the
    packets that it makes. ``direction`` is IN or OUT, None for both. ``nat_keepalive`` is the
    interval of keepalives of NAT traversal in seconds, 0 for none; ``processor`` is the only one
    that sends by it. ``numbers`` are those that it begins with, None for the first; they are of SAs
    that are made, and not of those that are read.
    """

    selector: Selector | None = None
    interface: int = 0
    mark: Mark | None = None
    output_mark: Mark | None = None
    if_id: int = 0
    direction: Direction | None = None
    offload: Offload | None = None
    nat_keepalive: int = 0
    processor: int | None = None
    numbers: SequenceNumbers | None = None


class SecurityAssociation(NamedTuple):
    """An SA as it is written.

    ``replay_window`` is in packets, 0 for off. ``encryption`` holds an AEAD algorithm too.
    """

    source: Address
    destination: Address
    protocol: IpsecProtocol
    spi: int
    mode: Mode = Mode.ANY
    reqid: int = 0
    replay_window: int = 0
    encryption: Key | None = None
    authentication: Key | None = None
    compression: Key | None = None
    hard: Lifetime = Lifetime()
    soft: Lifetime = Lifetime()
    nat_traversal: NatTraversal | None = None
    label: SecurityContext | None = None
    esn: bool = False
    flags: SaFlag = NO_FLAGS
    linux: LinuxParts | None = None

    @property
    def id(self) -> SaId:
        """The SA's identity in the kernel."""
        mark = self.linux.mark if self.linux else None
        return SaId(self.destination, self.protocol, self.spi, mark)

    def __str__(self) -> str:
        return _sa_text(self)


class SadEntry(NamedTuple):
    """An SA as the kernel holds it: times in seconds since the epoch, 0 for never.

    ``mode_number`` is the kernel's own number where it is a mode that KAME lacks, and
    None otherwise. ``kernel_mode`` is the mode in force where the SA was declared with mode ANY.
    """

    association: SecurityAssociation
    state: SaState
    created: int
    last_used: int
    bytes: int
    packets: int
    kernel_mode: Mode = Mode.TRANSPORT
    mode_number: int | None = None
    sequence: int = 0

    def __str__(self) -> str:
        return _sa_text(self.association)
