"""SAs from KAME's model to PF_KEY messages. Pure; ``sa_from_message`` is the other direction.

Requests have setkey's order of extensions, replies that of Linux (af_key.c
pfkey_xfrm_state2msg()).
"""

from dataclasses import replace

from kamexfrm.algorithms import Kind
from kamexfrm.model.association import (
    Key,
    Lifetime,
    SadEntry,
    SaFlag,
    SaId,
    SaState,
    SecurityAssociation,
)
from kamexfrm.model.policy import Direction, IpsecProtocol, PolicyType
from kamexfrm.net import Address
from kamexfrm.pfkey import (
    AddressDst,
    AddressProxy,
    AddressSrc,
    Comb,
    Extension,
    IpsecMode,
    KeyAuth,
    KeyEncrypt,
    LifetimeCurrent,
    LifetimeHard,
    LifetimeSoft,
    NatTDport,
    NatTOa,
    NatTSport,
    NatTType,
    Proposal,
    Sa,
    Sa2,
    SadbEalg,
    SadbMsg,
    SadbSaflags,
    SadbSastate,
    SadbType,
    SpiRange,
)
from kamexfrm.pfkey import Key as Material
from kamexfrm.translate.pfkey.parts import address_to_extension, label_to_extensions, message
from kamexfrm.translate.pfkey.policy import mode_to_message, policy_to_extension
from kamexfrm.xfrm import (
    UDP_ENCAP_ESPINUDP,
)

#: The flags of an SA by PF_KEY's numbers; Linux's further ones have none.
FLAGS = {
    SadbSaflags.SADB_SAFLAGS_NOECN: SaFlag.NOECN,
    SadbSaflags.SADB_SAFLAGS_DECAP_DSCP: SaFlag.DECAP_DSCP,
    SadbSaflags.SADB_SAFLAGS_NOPMTUDISC: SaFlag.NOPMTUDISC,
}

#: What setkey sets in every SA by default; Linux ignores it.
CYCSEQ = int(SadbSaflags.SADB_X_EXT_CYCSEQ)

#: The widest window that the message has room for, in packets.
_REPLAY_MAX = 0xFF

#: The widest window that Linux shows of an SA without ESN.
_REPLAY_SHOWN = 32

_UINT32 = 0xFFFFFFFF

#: AEAD algorithms that have one number on all systems. The rest do not: 15 is ChaCha20-Poly1305
#: to FreeBSD and AES-CCM to Linux.
AEAD_NUMBERS = (SadbEalg.SADB_X_EALG_AES_GCM_ICV16,)


# Requests


def _number_of(key: Key | None) -> int:
    """Return the PF_KEY number of a key's algorithm, 0 where it has none."""
    if key is None or key.algorithm is None:
        return 0
    if key.algorithm.kind is Kind.AEAD and key.algorithm.number not in AEAD_NUMBERS:
        return 0
    return key.algorithm.number


def _sa(association: SecurityAssociation, flags: int) -> Sa:
    return Sa(
        association.spi,
        min(association.replay_window, _REPLAY_MAX),
        auth=_number_of(association.authentication),
        encrypt=_number_of(association.encryption or association.compression),
        flags=flags,
    )


def _flags_of(association: SecurityAssociation) -> int:
    flags = sum(int(wire) for wire, flag in FLAGS.items() if association.flags & flag)
    return flags | (SadbSaflags.SADB_X_SAFLAGS_ESN if association.esn else 0)


def _limits(association: SecurityAssociation) -> list[Extension]:
    extensions: list[Extension] = []
    if association.hard != Lifetime():
        extensions.append(LifetimeHard(*association.hard))
    if association.soft != Lifetime():
        extensions.append(LifetimeSoft(*association.soft))
    return extensions


def _ends(source: Address, destination: Address) -> list[Extension]:
    # 255, any protocol, is what setkey and key_setsadbaddr() write for the ends of an SA.
    return [
        address_to_extension(AddressSrc, source, upper=0xFF),
        address_to_extension(AddressDst, destination, upper=0xFF),
    ]


def _nat(association: SecurityAssociation) -> tuple[list[Extension], list[Extension]]:
    """Return the extensions before and after the addresses of a request."""
    nat = association.nat_traversal
    if nat is None:
        return [], []
    before: list[Extension] = [NatTType(UDP_ENCAP_ESPINUDP)]
    if nat.original_address is not None:
        before.append(address_to_extension(NatTOa, nat.original_address, upper=0xFF))
    return before, [NatTSport(nat.source_port), NatTDport(nat.destination_port)]


def sa_to_message(
    association: SecurityAssociation,
    type: SadbType = SadbType.SADB_ADD,
    *,
    sadb_flags: int = CYCSEQ,
) -> SadbMsg:
    """Return the ADD, UPDATE or GETSPI for an SA, in setkey's order of extensions.

    ``sadb_flags`` are the SADB_X_EXT_* bits that the model lacks. In a GETSPI, SPI 0 leaves the
    choice to the kernel. A replay window over 255 becomes 255: there is no room for more.
    """
    sa = association
    flags = sadb_flags | _flags_of(sa)
    extensions: list[Extension] = []
    if sa.encryption is not None:
        extensions.append(KeyEncrypt(Material(sa.encryption.material)))
    if sa.authentication is not None and sa.authentication.material:
        extensions.append(KeyAuth(Material(sa.authentication.material)))
    extensions += (*_limits(sa), *label_to_extensions(sa.label))
    if type == SadbType.SADB_GETSPI and sa.spi:
        extensions.append(SpiRange(sa.spi, sa.spi))
    before, behind = _nat(sa)
    extensions += (
        _sa(sa, int(flags)),
        Sa2(mode_to_message(sa.mode), sa.reqid),
        *before,
        *_ends(sa.source, sa.destination),
        *behind,
    )
    return message(type, extensions, sa.protocol)


def sa_id_to_message(
    type: SadbType, source: Address, id: SaId, *, sadb_flags: int = CYCSEQ
) -> SadbMsg:
    """Return the GET or DELETE of one SA; the kernel does not compare the source."""
    extensions = (Sa(id.spi, flags=sadb_flags), Sa2(), *_ends(source, id.destination))
    return message(type, extensions, id.protocol)


def sa_ends_to_message(
    source: Address, destination: Address, protocol: IpsecProtocol | None = None
) -> SadbMsg:
    """Return the DELETE without an SPI that means all SAs between two addresses (KAME)."""
    return message(SadbType.SADB_DELETE, _ends(source, destination), protocol)


# Replies


def _shown_mode(entry: SadEntry) -> IpsecMode:
    if entry.mode_number is not None:
        return IpsecMode.IPSEC_MODE_ANY  # it has no number of its own
    return mode_to_message(entry.association.mode)


def _shown_limit(limit: Lifetime) -> tuple[int, int, int, int]:
    return min(limit.allocations, _UINT32), limit.bytes, limit.addtime, limit.usetime


def _shown_sa(entry: SadEntry, state: SaState) -> Sa:
    association = entry.association
    window = association.replay_window
    if not association.esn:
        window = min(window, _REPLAY_SHOWN)
    shown = _sa(association._replace(replay_window=window), _flags_of(association))
    return replace(shown, state=SadbSastate(state))


def _shown_ends(entry: SadEntry) -> list[Extension]:
    association = entry.association
    source = association.source
    ends: list[Extension] = [
        address_to_extension(AddressSrc, source),
        address_to_extension(AddressDst, association.destination),
    ]
    # Linux shows the selector of an SA where its source is not the SA's own. Ours is 0/0 as soon as
    # the SA has algorithms.
    keyed = association.encryption or association.authentication or association.compression
    if keyed and not source.is_unspecified:
        nowhere = Address.unspecified(source.family)
        ends.append(address_to_extension(AddressProxy, nowhere, prefix=0, upper=0xFF))
    return ends


def _shown_keys(association: SecurityAssociation) -> list[Extension]:
    authentication, encryption = association.authentication, association.encryption
    keys: list[Extension] = []
    if authentication is not None and authentication.material:
        keys.append(KeyAuth(Material(authentication.material)))
    if encryption is not None and encryption.material:
        aead = encryption.algorithm is not None and encryption.algorithm.kind is Kind.AEAD
        if not aead or _number_of(encryption):
            keys.append(KeyEncrypt(Material(encryption.material)))
    return keys


def sad_entry_to_message(
    entry: SadEntry, type: SadbType, *, state: SaState | None = None, keys: bool = True
) -> SadbMsg:
    """Return an SA as in the reply to a request of this type, or in its broadcast.

    ``state`` replaces the SA's own: Linux shows one that was deleted as dead. Without ``keys``, the
    keys are left out.
    """
    # Differs from Linux's af_key: the mode is the one that was asked for, any included, AES-GCM has
    # its number and its key, and ESN its flag and its window.
    association = entry.association
    nat, natt = association.nat_traversal, []
    if nat is not None:
        natt = [
            NatTType(UDP_ENCAP_ESPINUDP),
            NatTSport(nat.source_port),
            NatTDport(nat.destination_port),
        ]
    extensions: tuple[Extension, ...] = (
        _shown_sa(entry, entry.state if state is None else state),
        LifetimeHard(*_shown_limit(association.hard)),
        LifetimeSoft(*_shown_limit(association.soft)),
        LifetimeCurrent(min(entry.packets, _UINT32), entry.bytes, entry.created, entry.last_used),
        *_shown_ends(entry),
        *(_shown_keys(association) if keys else ()),
        Sa2(_shown_mode(entry), association.reqid),
        *natt,
        *label_to_extensions(association.label),
    )
    return message(type, extensions, association.protocol)


def sa_expire(entry: SadEntry, *, hard: bool) -> SadbMsg:
    """Return the EXPIRE for an SA: its limit that was reached, and no keys."""
    state = SaState.DEAD if hard else SaState.DYING
    full = sad_entry_to_message(entry, SadbType.SADB_EXPIRE, state=state, keys=False)
    other = LifetimeSoft if hard else LifetimeHard
    kept = tuple(extension for extension in full.extensions if type(extension) is not other)
    return message(SadbType.SADB_EXPIRE, kept, entry.association.protocol)


def sa_acquire(
    protocol: IpsecProtocol,
    source: Address,
    destination: Address,
    policy_id: int,
    combs: tuple[Comb, ...] = (),
    *,
    priority: int = 0,
) -> SadbMsg:
    """Return the ACQUIRE for an SA that an outbound policy needs and that does not exist.

    ``combs`` are the algorithms to choose from; Linux names none for a policy made by PF_KEY. For
    IPComp there is no proposal.
    """
    extensions: list[Extension] = [
        address_to_extension(AddressSrc, source),
        address_to_extension(AddressDst, destination),
        policy_to_extension(PolicyType.IPSEC, Direction.OUT, priority=priority, id=policy_id),
    ]
    if protocol is not IpsecProtocol.IPCOMP:
        extensions.append(Proposal(_REPLAY_SHOWN, combs))
    return message(SadbType.SADB_ACQUIRE, extensions, protocol)
