"""Random requests that AF_KEY and our own sockets are to answer alike.

They are requests that make sense, about few addresses, SPIs and selectors, so that they meet each
other: SAs of each protocol and algorithm, larval ones, policies of each kind, in each direction.
What is left out is what the two answer differently on purpose (pfkey-differences.toml), and also a
policy's soft lifetime, which KAME does not have; the endpoints of a transport request, which are
kept; a tunnel of the other family, which AF_KEY sends in a message of the wrong length.
"""

import os
import random
from collections.abc import Callable

from kamexfrm import pfkey
from kamexfrm.model.linux.kernel_range import holds_for
from kamexfrm.net import Address
from kamexfrm.pfkey import IpsecDirection, IpsecLevel, IpsecMode, IpsecPolicy, SadbSatype, SadbType
from kamexfrm.pfkey import SadbMsg as Message

_HOSTS = (
    tuple(map(Address.parse, ("10.9.0.1", "10.9.0.2", "10.9.0.3", "192.0.2.77"))),
    tuple(map(Address.parse, ("fd00:9::1", "fd00:9::2", "fd00:9::3"))),
)
_SPIS = (5, 0x100, 0x101, 0x1000, 0x5000, 0x7FFFFFFF, 0xDEADBEEF)
_PORTS = (0, 0, 80, 500, 65535)
_REQIDS = (0, 0, 5, 16384, 2**32 - 1)

#: Bytes of a key, by the algorithm's number.
_AUTHENTICATION = {2: (16,), 3: (20,), 5: (32,), 6: (48,), 7: (64,), 8: (20,), 9: (16,)}
_ENCRYPTION = {
    2: (8,),
    3: (24,),
    6: (5, 16),
    7: (5, 16, 56),
    11: (0,),
    12: (16, 24, 32),
    13: (20, 28, 36),
    22: (16, 24, 32),
    252: (16, 32),
    253: (16, 32),
}
#: Compression: Linux has the first.
_DEFLATE, _LZS = 2, 3
_NULL = 11

_ESP, _AH = SadbSatype.SADB_SATYPE_ESP, SadbSatype.SADB_SATYPE_AH
_IPCOMP = SadbSatype.SADB_X_SATYPE_IPCOMP
_PROTOCOLS = {_ESP: 50, _AH: 51, _IPCOMP: 108}

#: A request names a policy by its place among those made last, from 1; there is no 9th.
PLACES = (1, 2, 3, 9)

#: Of a dump's filter, in bits: older kernels do not take all 128 (old-filter).
_LONGEST_PREFIX = 127 if holds_for("<6.1", os.uname().release) else 128

_Ends = tuple[pfkey.Extension, pfkey.Extension]


class Conversation:
    """Makes requests, one after another, that are about the same things."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._chosen = self._random.choice
        self._selectors = [self._selector() for _ in range(4)]
        kinds: dict[Callable[[], Message], int] = {
            self._add: 6,
            self._get_spi: 2,
            self._named: 4,
            self._dump: 1,
            self._spd_add: 8,
            self._spd_delete: 2,
            self._spd_by_id: 2,
            self._spd_dump: 1,
        }
        self._kinds, self._weights = list(kinds), list(kinds.values())

    def request(self) -> Message:
        """Return one more request."""
        (make,) = self._random.choices(self._kinds, self._weights)
        return make()

    def _happens(self, probability: float) -> bool:
        return self._random.random() < probability

    def _message(
        self,
        type: SadbType,
        satype: SadbSatype,
        *extensions: pfkey.Extension,
    ) -> Message:
        order = list(extensions)
        if self._happens(0.2):
            self._random.shuffle(order)
        seq, pid = self._chosen((1, 2, 77)), self._chosen((1, 4242))
        return Message(type, satype, seq, pid, extensions=tuple(order))

    # SAs

    def _ends(self) -> _Ends:
        source, destination = self._random.sample(self._chosen(_HOSTS), 2)
        upper = self._chosen((0, 0, 50, 255))
        return (
            pfkey.AddressSrc(pfkey.Sockaddr(source), source.bits, upper),
            pfkey.AddressDst(pfkey.Sockaddr(destination), destination.bits, upper),
        )

    def _protocol_and_spi(self) -> tuple[SadbSatype, int]:
        protocol = self._chosen((_ESP, _ESP, _ESP, _AH, _IPCOMP))
        return protocol, self._chosen([s for s in _SPIS if protocol != _IPCOMP or s < 1 << 16])

    def _key(self, sizes: tuple[int, ...]) -> pfkey.Key:
        return pfkey.Key(self._random.randbytes(self._chosen(sizes)))

    def _algorithms(self, protocol: SadbSatype) -> tuple[int, int, list[pfkey.Extension]]:
        """Return the numbers for authentication and encryption, and the keys."""
        if protocol == _IPCOMP:
            return 0, self._chosen((_DEFLATE, _DEFLATE, _LZS)), []
        keys: list[pfkey.Extension] = []
        authentication = encryption = 0
        if protocol == _ESP:
            encryption = self._chosen(list(_ENCRYPTION))
            keys.append(pfkey.KeyEncrypt(self._key(_ENCRYPTION[encryption])))
        if protocol == _AH or encryption == _NULL or self._happens(0.6):
            authentication = self._chosen(list(_AUTHENTICATION))
            keys.append(pfkey.KeyAuth(self._key(_AUTHENTICATION[authentication])))
        return authentication, encryption, keys

    def _limit(self, kind: type[pfkey.Lifetime]) -> pfkey.Lifetime:
        chosen = self._chosen
        return kind(
            chosen((0, 5)),
            chosen((0, 1 << 20, 1 << 40)),
            chosen((0, 3600, 2**32 - 1)),
            chosen((0, 7200)),
        )

    def _add(self) -> Message:
        protocol, spi = self._protocol_and_spi()
        authentication, encryption, keys = self._algorithms(protocol)
        flags = sum(1 << bit for bit in (0, 5, 6, 7, 29, 30, 31) if self._happens(0.1))
        window = self._chosen((0, 4, 32, 64, 255))
        extensions = [
            pfkey.Sa(spi, window, auth=authentication, encrypt=encryption, flags=flags),
            pfkey.Sa2(IpsecMode(self._chosen((1, 2))), self._chosen(_REQIDS)),
            *keys,
        ]
        if self._happens(0.4):
            extensions += map(self._limit, (pfkey.LifetimeHard, pfkey.LifetimeSoft))
        source, destination = self._ends()
        if protocol == _ESP and self._happens(0.1):
            ports = self._chosen((500, 4500)), self._chosen((500, 4500))
            extensions += (
                pfkey.NatTType(2),
                pfkey.NatTSport(ports[0]),
                pfkey.NatTDport(ports[1]),
            )
        type_ = self._chosen((SadbType.SADB_ADD, SadbType.SADB_ADD, SadbType.SADB_UPDATE))
        return self._message(type_, protocol, *extensions, source, destination)

    def _get_spi(self) -> Message:
        protocol, spi = self._protocol_and_spi()
        mode = pfkey.Sa2(IpsecMode(self._chosen((1, 2))), self._chosen((0, 5)))
        wanted = pfkey.SpiRange(spi, spi)
        return self._message(SadbType.SADB_GETSPI, protocol, mode, *self._ends(), wanted)

    def _named(self) -> Message:
        protocol, spi = self._protocol_and_spi()
        type_ = self._chosen((SadbType.SADB_GET, SadbType.SADB_DELETE))
        return self._message(type_, protocol, pfkey.Sa(spi), *self._ends())

    def _dump(self) -> Message:
        satype = self._chosen((SadbSatype.SADB_SATYPE_UNSPEC, _AH, _ESP, _IPCOMP))
        if self._happens(0.7):
            return self._message(SadbType.SADB_DUMP, satype)
        source, destination = self._random.sample(self._chosen(_HOSTS), 2)
        prefixes = self._chosen((0, 24, 32, _LONGEST_PREFIX)), self._chosen((0, 8, 32))
        first, second = (end.packed.ljust(16, b"\0") for end in (source, destination))
        only = pfkey.Filter(first, second, self._chosen((0, source.family)), *prefixes)
        return self._message(SadbType.SADB_DUMP, satype, only)

    # Policies

    def _selector(self) -> _Ends:
        hosts = self._chosen(_HOSTS)
        source, destination = self._random.sample(hosts, 2)
        icmp = 1 if source.bits == 32 else 58
        upper = self._chosen((0, 6, 17, icmp, 50, 47, 132, 135, 255))

        def end(kind: type[pfkey.AddressExtension], host: Address) -> pfkey.AddressExtension:
            prefix = self._chosen((host.bits, host.bits, 0, 8, 24, host.bits - 1))
            return kind(pfkey.Sockaddr(host, self._chosen(_PORTS)), prefix, upper)

        return end(pfkey.AddressSrc, source), end(pfkey.AddressDst, destination)

    def _request(self, direction: IpsecDirection, family: int) -> pfkey.IpsecRequest:
        mode = IpsecMode(self._chosen((0, 1, 1, 2, 2)))
        level = IpsecLevel(self._chosen((1, 2, 2, 3)))
        ends: tuple[pfkey.Sockaddr | None, pfkey.Sockaddr | None] = (None, None)
        if mode == IpsecMode.IPSEC_MODE_TUNNEL:
            hosts = next(all_ for all_ in _HOSTS if all_[0].family == family)
            source, destination = self._random.sample(hosts, 2)
            ends = (pfkey.Sockaddr(source), pfkey.Sockaddr(destination))
            outbound = direction == IpsecDirection.IPSEC_DIR_OUTBOUND
            if outbound and level == IpsecLevel.IPSEC_LEVEL_USE:
                level = IpsecLevel.IPSEC_LEVEL_REQUIRE
        unique = level == IpsecLevel.IPSEC_LEVEL_UNIQUE
        reqid = self._chosen((7, 16000)) if unique else 0
        protocol = _PROTOCOLS[self._chosen((_ESP, _ESP, _AH, _IPCOMP))]
        return pfkey.IpsecRequest(protocol, mode, level, reqid, *ends)

    def _spd_add(self) -> Message:
        source, destination = self._chosen(self._selectors)
        assert isinstance(source, pfkey.AddressSrc)
        assert isinstance(source.sockaddr, pfkey.Sockaddr)
        direction, type_ = IpsecDirection(self._chosen((1, 2, 2, 3))), self._chosen((0, 1, 2, 2, 2))
        requests = tuple(
            self._request(direction, source.sockaddr.address.family)
            for _ in range(self._chosen((1, 1, 2, 3)) if type_ == 2 else 0)
        )
        priority = self._chosen((0, 0, 100, 1 << 31, 2**32 - 1))
        extensions: list[pfkey.Extension] = [
            pfkey.Policy(IpsecPolicy(type_), direction, 0, priority, requests),
            source,
            destination,
        ]
        if self._happens(0.3):
            seconds = self._chosen((0, 3600)), self._chosen((0, 60))
            extensions.append(pfkey.LifetimeHard(0, 0, *seconds))
        message = self._chosen((SadbType.SADB_X_SPDADD, SadbType.SADB_X_SPDUPDATE))
        if self._happens(0.1):
            message = SadbType.SADB_X_SPDSETIDX
        return self._message(message, SadbSatype.SADB_SATYPE_UNSPEC, *extensions)

    def _spd_delete(self) -> Message:
        direction = IpsecDirection(self._chosen((1, 2, 3)))
        policy = pfkey.Policy(IpsecPolicy.IPSEC_POLICY_IPSEC, direction)
        ends = self._chosen(self._selectors)
        return self._message(
            SadbType.SADB_X_SPDDELETE, SadbSatype.SADB_SATYPE_UNSPEC, policy, *ends
        )

    def _spd_by_id(self) -> Message:
        type_ = self._chosen((SadbType.SADB_X_SPDGET, SadbType.SADB_X_SPDDELETE2))
        direction = IpsecDirection(self._chosen((1, 2)))
        place = self._chosen(PLACES)
        policy = pfkey.Policy(IpsecPolicy.IPSEC_POLICY_IPSEC, direction, place)
        return self._message(type_, SadbSatype.SADB_SATYPE_UNSPEC, policy)

    def _spd_dump(self) -> Message:
        return self._message(SadbType.SADB_X_SPDDUMP, SadbSatype.SADB_SATYPE_UNSPEC)
