"""What a setkey script consists of: one NamedTuple per command, all in the union ``Statement``.

``place`` is where the command's first word stands. ``end_line`` is the line of its ``;``, which is
the line that setkey names when the command is rejected.
"""

from __future__ import annotations

from kamexfrm.model.policy import IpsecProtocol
from kamexfrm.pfkey.saflags import SADB_X_EXT_CYCSEQ
from kamexfrm.records import NamedTuple

TYPE_CHECKING = False  # what a script may hold is loaded where it is read
if TYPE_CHECKING:
    from kamexfrm.errors import Place
    from kamexfrm.model.association import SaId, SecurityAssociation
    from kamexfrm.model.policy import Direction, SecurityContext, SecurityPolicy, Selector
    from kamexfrm.net import Address

#: What ``flush``, ``dump`` and ``deleteall`` cover where no protocol is written.
ALL_PROTOCOLS = (IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP)

#: The protocol words; ``tcp`` (FreeBSD's TCP-MD5) names one that XFRM lacks.
PROTOCOL_WORDS: dict[str, tuple[IpsecProtocol, ...]] = {
    "": ALL_PROTOCOLS,
    "esp": (IpsecProtocol.ESP,),
    "esp-old": (IpsecProtocol.ESP,),
    "esp-udp": (IpsecProtocol.ESP,),
    "ah": (IpsecProtocol.AH,),
    "ah-old": (IpsecProtocol.AH,),
    "ipcomp": (IpsecProtocol.IPCOMP,),
    "tcp": (),
}


class LanguageWarning(NamedTuple):
    """A warning about a command that is carried out, with setkey's token."""

    text: str
    token: str
    place: Place


class Add(NamedTuple):
    """``add``: one association for each source and destination of equal family, sources first.

    ``word`` is the protocol as written, one of PROTOCOL_WORDS. For ``tcp`` and for no word
    ``associations`` is empty: there is no such SA. ``sadb_flags`` are the SADB_X_EXT_* bits,
    ``natt_mtu`` is in bytes. ``refusal`` is why there can be no such SA, with the word at fault.
    """

    place: Place
    end_line: int
    word: str
    associations: tuple[SecurityAssociation, ...]
    sadb_flags: int = SADB_X_EXT_CYCSEQ
    natt_mtu: int = 0
    warnings: tuple[LanguageWarning, ...] = ()
    refusal: LanguageWarning | None = None


class Update(Add):
    """``update``: as Add, for SAs that exist."""

    __slots__ = ()


class GetSpi(NamedTuple):
    """``getspi``: a larval SA for each pair; SPI 0 leaves the choice to the kernel."""

    place: Place
    end_line: int
    word: str
    associations: tuple[SecurityAssociation, ...]
    warnings: tuple[LanguageWarning, ...] = ()


class Get(NamedTuple):
    """``get``: print the SAs named; the source is not compared.

    ``ids`` holds one for each pair of addresses. It is empty for ``tcp`` and for no protocol.
    """

    place: Place
    end_line: int
    word: str
    source: Address
    ids: tuple[SaId, ...]
    warnings: tuple[LanguageWarning, ...] = ()


class Delete(NamedTuple):
    """``delete``: remove one SA; ``id`` is None for ``tcp`` and for no protocol."""

    place: Place
    end_line: int
    word: str
    source: Address
    id: SaId | None
    warnings: tuple[LanguageWarning, ...] = ()


class DeleteAll(NamedTuple):
    """``deleteall``: remove all SAs between these addresses, of these protocols."""

    place: Place
    end_line: int
    pairs: tuple[tuple[Address, Address], ...]
    protocols: tuple[IpsecProtocol, ...] = ALL_PROTOCOLS


class Flush(NamedTuple):
    """``flush``: remove all SAs of these protocols."""

    place: Place
    end_line: int
    protocols: tuple[IpsecProtocol, ...] = ALL_PROTOCOLS


class Dump(NamedTuple):
    """``dump``: print all SAs of these protocols."""

    place: Place
    end_line: int
    protocols: tuple[IpsecProtocol, ...] = ALL_PROTOCOLS


class Exit(NamedTuple):
    """``exit``, ``quit`` or ``bye``: nothing after it is read."""

    place: Place
    end_line: int


class SpdAdd(NamedTuple):
    """``spdadd``; ``interface`` is the device of FreeBSD's ``-hwif``."""

    place: Place
    end_line: int
    policy: SecurityPolicy
    interface: str = ""
    warnings: tuple[LanguageWarning, ...] = ()


class SpdUpdate(SpdAdd):
    """``spdupdate``: replace an entry of the same selector and direction, or make one."""

    __slots__ = ()


class SpdDelete(NamedTuple):
    """``spddelete``: action and requests, where written, are read and ignored."""

    place: Place
    end_line: int
    selector: Selector
    direction: Direction
    label: SecurityContext | None = None


class SpdGet(NamedTuple):
    """``spdget``: print the entry with this selector and direction."""

    place: Place
    end_line: int
    selector: Selector
    direction: Direction
    label: SecurityContext | None = None


class SpdDeleteId(NamedTuple):
    """``spddelete spid=NUMBER``: remove the entry with the kernel's number, as dumps show it."""

    place: Place
    end_line: int
    id: int


class SpdGetId(NamedTuple):
    """``spdget spid=NUMBER``."""

    place: Place
    end_line: int
    id: int


class SpdDump(NamedTuple):
    """``spddump``."""

    place: Place
    end_line: int


class SpdFlush(NamedTuple):
    """``spdflush``."""

    place: Place
    end_line: int


class Tagged(NamedTuple):
    """``spdadd tagged "TAG"``: PF's packet tags, which Linux lacks; ``update`` for spdupdate."""

    place: Place
    end_line: int
    tag: bytes
    update: bool


Statement = (
    Add
    | Update
    | GetSpi
    | Get
    | Delete
    | DeleteAll
    | Flush
    | Dump
    | Exit
    | SpdAdd
    | SpdUpdate
    | SpdDelete
    | SpdDeleteId
    | SpdGet
    | SpdGetId
    | SpdDump
    | SpdFlush
    | Tagged
)
