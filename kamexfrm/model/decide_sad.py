"""Which SA KAME uses: for an outbound request by its index, for an arriving packet by its SPI.

KAME key.c key_allocsa_policy(), key_do_allocsa_policy(), key_cmpsaidx() and key_allocsa().
"""

from collections.abc import Sequence

from kamexfrm.model.association import SadEntry, SaState, SecurityAssociation
from kamexfrm.model.decision import SaIndex
from kamexfrm.model.packet import Protection
from kamexfrm.model.policy import IpsecProtocol, Mode

#: Compression parameter indexes below this are algorithm numbers and need no SA (RFC 3173).
_FIRST_NEGOTIATED_CPI = 256

#: States of an SA that can be used, in the order in which KAME searches them for output when the
#: oldest is wanted; else it searches them in the other order.
_USABLE = (SaState.DYING, SaState.MATURE)


def sad_entry(
    association: SecurityAssociation, state: SaState = SaState.MATURE, created: int = 0
) -> SadEntry:
    """Return an SA as an unused entry of a SAD."""
    return SadEntry(association, state, created, 0, 0, 0)


def _matches(association: SecurityAssociation, sought: SaIndex) -> bool:
    return (
        association.spi != 0  # what Linux adds for an ACQUIRE; KAME keeps those elsewhere
        and association.protocol is sought.protocol
        and association.source == sought.source
        and association.destination == sought.destination
        and association.mode in (Mode.ANY, sought.mode)
        and sought.reqid in (0, association.reqid)
    )


def _head(entry: SadEntry) -> tuple[Mode, int]:
    """Return what distinguishes KAME's SA heads, among those that match one index."""
    return entry.association.mode, entry.association.reqid


def outbound_sa(
    sad: Sequence[SadEntry], sought: SaIndex, prefers_old: bool = False
) -> SadEntry | None:
    """Return the SA that a request uses, or None.

    SAs with equal protocol, mode, reqid and addresses share a head; only the newest head that
    matches is searched, even if it has no usable SA. With ``prefers_old``, which is
    net.key.preferred_oldsa, the dying come first in it, then the oldest; else the mature, then the
    newest. Where ``created`` is equal, the sequence counts as the order of creation.
    """
    # Differs on Linux: a larval SA hides nothing, one declared with mode any has one mode at a
    # time, and a request whose ends the policy does not name uses the newest.
    matching = [entry for entry in sad if _matches(entry.association, sought)]
    matching.sort(key=lambda entry: entry.created)
    if not matching:
        return None
    heads = list(dict.fromkeys(map(_head, matching)))
    found = [entry for entry in matching if _head(entry) == heads[-1]]
    step = 1 if prefers_old else -1
    for state in _USABLE[::step]:
        for entry in found[::step]:
            if entry.state is state:
                return entry
    return None


def is_received(sad: Sequence[SadEntry], protection: Protection) -> bool:
    """Whether a protection was removed by an SA that exists and can be used."""
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
