"""Which SA KAME takes: for an outbound request by its index, for an arriving packet by its SPI.

KAME key.c key_allocsa_policy(), key_do_allocsa_policy(), key_cmpsaidx() and key_allocsa(), with
net.key.preferred_oldsa at its initial 1.
"""

from collections.abc import Sequence

from kamexfrm.model.association import SadEntry, SaState, SecurityAssociation
from kamexfrm.model.decision import SaIndex
from kamexfrm.model.packet import Protection
from kamexfrm.model.policy import IpsecProtocol, Mode

#: Compression parameter indexes below this are algorithm numbers and need no SA (RFC 3173).
_FIRST_NEGOTIATED_CPI = 256

#: States of an SA that can be used, in the order in which KAME looks through them for output.
_USABLE = (SaState.DYING, SaState.MATURE)


def standing(
    association: SecurityAssociation, state: SaState = SaState.MATURE, created: int = 0
) -> SadEntry:
    """Return an SA as an entry of a SAD that never carried a packet."""
    return SadEntry(association, state, created, 0, 0, 0)


def _serves(association: SecurityAssociation, sought: SaIndex) -> bool:
    return (
        association.spi != 0  # a mark that Linux leaves for an ACQUIRE; KAME keeps those elsewhere
        and association.protocol is sought.protocol
        and association.source == sought.source
        and association.destination == sought.destination
        and association.mode in (Mode.ANY, sought.mode)
        and sought.reqid in (0, association.reqid)
    )


def _head(entry: SadEntry) -> tuple[Mode, int]:
    """Return what tells KAME's SA heads apart, among those that serve one index."""
    return entry.association.mode, entry.association.reqid


def outbound_sa(sad: Sequence[SadEntry], sought: SaIndex) -> SadEntry | None:
    """Return the SA that a request is served with, or None.

    SAs with equal protocol, mode, reqid and addresses share a head; the newest head that fits is
    looked into and no other, even if it holds nothing usable. In it the dying come first, then the
    oldest. The sequence is taken to be in the order of creation where ``created`` says no more.
    """
    # Differs on Linux: the newest usable SA is taken, a larval one hides nothing, and one declared
    # with mode any has one mode at a time.
    serving = [entry for entry in sad if _serves(entry.association, sought)]
    serving.sort(key=lambda entry: entry.created)
    if not serving:
        return None
    heads = list(dict.fromkeys(map(_head, serving)))
    newest = [entry for entry in serving if _head(entry) == heads[-1]]
    for state in _USABLE:
        for entry in newest:
            if entry.state is state:
                return entry
    return None


def is_received(sad: Sequence[SadEntry], protection: Protection) -> bool:
    """Whether a protection was taken off by an SA that exists and may be used."""
    if protection.spi is None:
        return True
    well_known = protection.spi < _FIRST_NEGOTIATED_CPI
    if protection.protocol is IpsecProtocol.IPCOMP and well_known:
        return True
    return received_sa(sad, protection) is not None


def received_sa(sad: Sequence[SadEntry], protection: Protection) -> SadEntry | None:
    """Return the SA of an arriving packet: destination, protocol and SPI; the source is ignored."""
    return next(
        (
            entry
            for entry in sad
            if entry.association.spi == protection.spi
            and entry.association.protocol is protection.protocol
            and entry.association.destination == protection.destination
            and entry.state in _USABLE
        ),
        None,
    )
