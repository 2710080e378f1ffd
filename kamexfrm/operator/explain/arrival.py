"""How a packet arrived: ``esp:0x100 ah`` and what else databases say of it.

An item is ``PROTOCOL[:SPI][/MODE[/SOURCE-DESTINATION]]``, the outermost first. What is not written
is that of the SA with this SPI, or of the inbound policy that asks for the protocol.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import SadEntry
from kamexfrm.model.packet import Packet, Protection
from kamexfrm.model.policy import IpsecProtocol, IpsecRequest, Mode, SecurityPolicy
from kamexfrm.model.policy_text import MODES, PROTOCOLS
from kamexfrm.net import Address

_ITEM = re.compile(
    r"(?P<protocol>esp|ah|ipcomp)(?::(?P<spi>0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}))?"
    r"(?:/(?P<mode>transport|tunnel)(?:/(?P<source>[^/-]+)-(?P<destination>[^/-]+))?)?"
)
_SPI_MAX = 0xFFFFFFFF


class Header(NamedTuple):
    """An IPsec header as it is written for ``--via``: None for what is left out."""

    protocol: IpsecProtocol
    spi: int | None = None
    mode: Mode | None = None
    source: Address | None = None
    destination: Address | None = None


def is_item(word: str) -> bool:
    """Whether a word of the command line is an item, or several with commas between."""
    return all(_ITEM.fullmatch(item) for item in word.split(","))


def read_header(text: str) -> Header:
    """Read an item; raises KamexfrmError."""
    found = _ITEM.fullmatch(text)
    if found is None:
        raise KamexfrmError(
            f"--via {text}: write esp, ah or ipcomp, then :SPI, /transport or"
            " /tunnel/SOURCE-DESTINATION where it matters, such as esp:0x100/transport"
        )
    spi = (
        None
        if found["spi"] is None
        else int(found["spi"], 0 if "x" in found["spi"].lower() else 10)
    )
    if spi is not None and spi > _SPI_MAX:
        raise KamexfrmError(f"--via {text}: an SPI has 32 bits")
    try:
        source, destination = (
            Address.parse(found[side]) if found[side] else None
            for side in ("source", "destination")
        )
    except ValueError as error:
        raise KamexfrmError(f"--via {text}: {error}") from None
    mode = MODES[found["mode"]] if found["mode"] else None
    if source and destination and (mode is not Mode.TUNNEL or source.family != destination.family):
        raise KamexfrmError(f"--via {text}: a tunnel has two ends of one address family")
    return Header(PROTOCOLS[found["protocol"]], spi, mode, source, destination)


class _Guess(NamedTuple):
    mode: Mode
    source: Address | None
    destination: Address | None


def protections(
    headers: Sequence[Header],
    packet: Packet,
    sad: Iterable[SadEntry],
    governing: SecurityPolicy | None,
) -> tuple[Protection, ...]:
    """Return the protections of headers, outermost first; raises KamexfrmError.

    ``governing`` is the inbound entry that the packet inside matches. An SA for a header without
    SPI is assumed to exist. Raises KamexfrmError where a tunnel's ends cannot be known.
    """
    wanted = {(header.protocol, header.spi) for header in headers if header.spi is not None}
    there = [e for e in sad if (e.association.protocol, e.association.spi) in wanted]
    requests = list(reversed(governing.requests)) if governing else []
    guesses = [_guess(header, there, requests) for header in headers]
    found: list[Protection] = []
    ends = (packet.source, packet.destination)
    for header, guess in zip(reversed(headers), reversed(guesses), strict=True):
        if guess.mode is Mode.TUNNEL:
            if guess.source is None or guess.destination is None:
                word = header.protocol.name.lower()
                raise KamexfrmError(
                    f"--via {word}: between which ends is this tunnel? Write"
                    f" {word}/tunnel/SOURCE-DESTINATION, or the SPI of an SA: {word}:SPI"
                )
            ends = (guess.source, guess.destination)
        found.append(Protection(header.protocol, guess.mode, *ends, header.spi))
    return tuple(reversed(found))


def _guess(header: Header, sad: Sequence[SadEntry], requests: list[IpsecRequest]) -> _Guess:
    """Return mode and ends; takes the request that is meant from the list."""
    written = (header.source, header.destination)
    request = next((r for r in requests if _fits(header, r)), None)
    if request is not None:
        del requests[: requests.index(request) + 1]
    entry = next(
        (
            e
            for e in sad
            if (e.association.protocol, e.association.spi) == (header.protocol, header.spi)
        ),
        None,
    )
    mode = header.mode
    if mode is None and entry is not None and entry.association.mode is not Mode.ANY:
        mode = entry.association.mode
    if mode is None:
        mode = request.mode if request is not None else Mode.TRANSPORT
    if written[0] is None and entry is not None:
        written = (entry.association.source, entry.association.destination)
    elif written[0] is None and request is not None:
        written = (request.source, request.destination)
    return _Guess(mode, *written)


def _fits(header: Header, request: IpsecRequest) -> bool:
    return request.protocol is header.protocol and header.mode in (None, request.mode)
