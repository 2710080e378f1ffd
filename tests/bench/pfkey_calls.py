"""What a program's use of PF_KEY costs, on AF_KEY or under ``kamexfrm exec``; a program.

Prints the seconds of each thing as JSON. It needs a network namespace of its own in which
``SOURCE`` is an address and ``NETWORK`` a route.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial

from kamexfrm.net import Address
from kamexfrm.pfkey import (
    AddressDst,
    AddressSrc,
    Extension,
    IpsecDirection,
    IpsecLevel,
    IpsecMode,
    IpsecPolicy,
    IpsecRequest,
    Key,
    KeyAuth,
    KeyEncrypt,
    Policy,
    Sa,
    Sa2,
    SadbAalg,
    SadbEalg,
    SadbMsg,
    SadbSastate,
    SadbSatype,
    SadbType,
    Sockaddr,
    SpiRange,
    decode,
    encode,
)

SOURCE, NETWORK = "10.9.0.1", "10.9.0.0/16"
AF_KEY, PF_KEY_V2 = 15, 2
ROUNDS, CALLS, EXCHANGES = 5, 200, 60
ESP, NONE = SadbSatype.SADB_SATYPE_ESP, SadbSatype.SADB_SATYPE_UNSPEC
ANY_PROTOCOL = 255

_here = Sockaddr(Address.parse(SOURCE))


def _message(
    type_: SadbType, *extensions: Extension, satype: SadbSatype = ESP, seq: int = 0
) -> bytes:
    return encode(SadbMsg(type_, satype, seq=seq, pid=os.getpid(), extensions=extensions))


def _there(at: int) -> Sockaddr:
    return Sockaddr(Address.parse(f"10.9.{at >> 8}.{at & 255}"))


def _policy(destination: Sockaddr, bits: int, type_: IpsecPolicy) -> bytes:
    request = IpsecRequest(
        socket.IPPROTO_ESP,
        IpsecMode.IPSEC_MODE_TRANSPORT,
        IpsecLevel.IPSEC_LEVEL_REQUIRE,
    )
    requests = (request,) if type_ is IpsecPolicy.IPSEC_POLICY_IPSEC else ()
    return _message(
        SadbType.SADB_X_SPDADD,
        AddressSrc(_here, 32, ANY_PROTOCOL),
        AddressDst(destination, bits, ANY_PROTOCOL),
        Policy(type_, IpsecDirection.IPSEC_DIR_OUTBOUND, requests=requests),
        satype=NONE,
    )


def _best(rounds: Iterable[Iterable[Callable[[], object]]]) -> float:
    """Return the seconds of one piece of work, of the best of some rounds."""
    fastest = float("inf")
    for works in rounds:
        todo = list(works)
        began = time.perf_counter()
        for work in todo:
            work()
        fastest = min(fastest, (time.perf_counter() - began) / len(todo))
    return fastest


def _repeated(work: Callable[[], object]) -> float:
    return _best([work] * CALLS for _ in range(ROUNDS))


class Client:
    """A PF_KEY socket, read as it comes."""

    def __init__(self) -> None:
        self._socket = socket.socket(AF_KEY, socket.SOCK_RAW, PF_KEY_V2)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setblocking(False)
        self._used = 0

    def ask(self, message: bytes) -> bytes:
        """Send a request and return the message that comes first."""
        self._socket.send(message)
        return self._socket.recv(8192)

    def ask_for(self, type_: SadbType, message: bytes) -> bytes:
        """Send a request and return the answer to it, past other messages."""
        self._socket.send(message)
        return self._wait_for(type_)

    def _wait_for(self, type_: SadbType) -> bytes:
        while True:
            found = self._socket.recv(8192)
            if found[1] == type_:
                return found

    def acquire(self) -> tuple[int, Sockaddr]:
        """Send a packet to a host without an SA; return the ACQUIRE's number and the host."""
        self._used += 1
        there = _there(0x4000 + self._used)
        with contextlib.suppress(OSError):
            self._udp.sendto(b"x", (str(there.address), 9))
        found = self._wait_for(SadbType.SADB_ACQUIRE)
        return int.from_bytes(found[8:12], sys.byteorder), there

    def phase2(self) -> None:
        """Do what a key manager does after an ACQUIRE, but for talking to its peer."""
        seq, there = self.acquire()
        back = AddressSrc(there, 32, ANY_PROTOCOL), AddressDst(_here, 32, ANY_PROTOCOL)
        forth = AddressSrc(_here, 32, ANY_PROTOCOL), AddressDst(there, 32, ANY_PROTOCOL)
        wanted = _message(
            SadbType.SADB_GETSPI,
            Sa2(IpsecMode.IPSEC_MODE_TRANSPORT),
            *back,
            SpiRange(0x100, 0xFFFFFFF),
            seq=seq,
        )
        reply = decode(self.ask_for(SadbType.SADB_GETSPI, wanted))
        spi = reply.require(Sa).spi
        for type_, ends in ((SadbType.SADB_UPDATE, back), (SadbType.SADB_ADD, forth)):
            self.ask_for(type_, _message(type_, *_association(spi), *ends, seq=seq))


def _association(spi: int) -> tuple[Extension, ...]:
    return (
        Sa(
            spi,
            replay=4,
            state=SadbSastate.SADB_SASTATE_MATURE,
            auth=SadbAalg.SADB_AALG_SHA1HMAC,
            encrypt=SadbEalg.SADB_X_EALG_AESCBC,
        ),
        Sa2(IpsecMode.IPSEC_MODE_TRANSPORT),
        KeyEncrypt(Key(bytes(range(16)))),
        KeyAuth(Key(bytes(range(20)))),
    )


def measure() -> dict[str, float]:
    """Return the seconds of each thing."""
    found = {}
    found["socket and close"] = _repeated(
        lambda: socket.socket(AF_KEY, socket.SOCK_RAW, PF_KEY_V2).close()
    )
    client = Client()
    dump = _message(SadbType.SADB_DUMP)
    found["request and reply"] = _repeated(lambda: client.ask(dump))
    found["X_SPDADD and reply"] = _best(
        [
            partial(client.ask, _policy(_there(at), 32, IpsecPolicy.IPSEC_POLICY_NONE))
            for at in range(first, first + CALLS)
        ]
        for first in range(1, ROUNDS * CALLS, CALLS)
    )
    client.ask(_message(SadbType.SADB_X_SPDFLUSH, satype=NONE))
    client = Client()
    client.ask(_message(SadbType.SADB_REGISTER))
    client.ask(_policy(Sockaddr(Address.parse("10.9.64.0")), 18, IpsecPolicy.IPSEC_POLICY_IPSEC))
    found["packet to ACQUIRE"] = _best([client.acquire] * EXCHANGES for _ in range(ROUNDS))
    found["phase 2"] = _best([client.phase2] * EXCHANGES for _ in range(ROUNDS))
    return found


if __name__ == "__main__":
    print(json.dumps(measure()))
