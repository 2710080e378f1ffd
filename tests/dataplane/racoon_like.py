"""A key manager of few words that speaks PF_KEY as racoon does; a program.

The sequence of its requests, their extensions, and how it reads and matches what comes, are those
of racoon of ipsec-tools: an image of the SPD by policy id, phase 2 under the sequence number of its
ACQUIRE, a new one when an SA expires softly, policies made by the responder, the SPD read
again at SIGHUP, the SAs that the peer gave up found by a dump on a second socket. What is not
racoon's: IKE is one packet each way with an SPI in it, and all keys are counted bytes.
"""

import argparse
import contextlib
import errno
import itertools
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass

import kamexfrm
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
    LifetimeHard,
    LifetimeSoft,
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
    decode,
    encode,
    encode_extension,
)

AF_KEY, PF_KEY_V2 = 15, 2
IP_IPSEC_POLICY = 16  # linux/in.h
ANY_PROTOCOL = 255
SOFT_RATE = 80  # per cent
DEFAULT_PRIORITY = 0x80000000  # what libipsec writes for "def"

#: racoon fills the memory of a policy with this, and leaves it where it has nothing to say.
UNWRITTEN = 0xCD

#: How often racoon tries again before it assumes that there is no message.
LOOKS = 3

#: Of an id's low bits, those that are a socket's own policy.
SOCKETS_OWN = 3

_INBOUND, _OUTBOUND = IpsecDirection.IPSEC_DIR_INBOUND, IpsecDirection.IPSEC_DIR_OUTBOUND

_numbers = itertools.count(0x5EED)


def say(*words: object) -> None:
    print(*words, flush=True)


class KernelSocket:
    """PF_KEY by the socket interface, without ever waiting.

    It is read as racoon reads it: MSG_PEEK of the header, MSG_PEEK of all, then all.
    """

    peek = socket.MSG_PEEK | socket.MSG_DONTWAIT

    def __init__(self) -> None:
        self._socket = self.open()

    def open(self) -> socket.socket:
        found = socket.socket(AF_KEY, socket.SOCK_RAW, PF_KEY_V2)
        found.setblocking(False)
        return found

    def another(self) -> "KernelSocket":
        return KernelSocket()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: bytes) -> None:
        self._socket.send(message)

    def receive(self) -> bytes:
        length = int.from_bytes(self._head()[4:6], sys.byteorder) * 8
        seen = self._socket.recv(length, socket.MSG_PEEK)
        message = self._socket.recv(length)
        assert seen == message
        assert len(message) == length
        return message

    def _head(self) -> bytes:
        for _ in range(LOOKS - 1):
            with contextlib.suppress(BlockingIOError):
                return self._socket.recv(16, self.peek)
        return self._socket.recv(16, self.peek)

    def bypass(self, ike: socket.socket) -> None:
        for way in (_INBOUND, _OUTBOUND):
            policy = Policy(IpsecPolicy.IPSEC_POLICY_BYPASS, way)
            ike.setsockopt(socket.IPPROTO_IP, IP_IPSEC_POLICY, encode_extension(policy))


class PathSocket(KernelSocket):
    """The same by ``kamexfrmd --pfkey PATH``, where an answer comes when it comes."""

    peek = socket.MSG_PEEK

    def __init__(self, path: str) -> None:
        self._path = path
        super().__init__()

    def open(self) -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        found.connect(self._path)
        return found

    def another(self) -> "PathSocket":
        return PathSocket(self._path)

    def bypass(self, ike: socket.socket) -> None:
        bypass(ike)


class OurSocket:
    """PF_KEY within the process: ``kamexfrm.PfKeySocket``."""

    def __init__(self) -> None:
        self._socket = kamexfrm.PfKeySocket()
        self.fileno = self._socket.fileno
        self.send = self._socket.send
        self.receive = self._socket.recv
        self.close = self._socket.close

    def another(self) -> "OurSocket":
        return OurSocket()

    def bypass(self, ike: socket.socket) -> None:
        bypass(ike)


def bypass(ike: socket.socket) -> None:
    for way in ("in", "out"):
        kamexfrm.set_policy(ike, f"{way} bypass")


@dataclass
class Phase2:
    """One exchange; ``peer_spi`` is known from the start to the responder."""

    seq: int
    mode: IpsecMode
    responds: bool
    spi: int = 0
    peer_spi: int = 0
    established: bool = False


class Racoon:
    """One end, with one peer."""

    def __init__(
        self, own: str, peer: str, lifetime: int, key: KernelSocket | OurSocket, *, generates: bool
    ) -> None:
        self._own, self._peer = (Sockaddr(Address.parse(text)) for text in (own, peer))
        self._lifetime, self._generates = lifetime, generates
        self._key = key
        self._image: dict[int, SadbMsg] = {}
        self._phases: list[Phase2] = []
        for satype in ("SADB_SATYPE_AH", "SADB_SATYPE_ESP", "SADB_X_SATYPE_IPCOMP"):
            self._ask(SadbType.SADB_REGISTER, SadbSatype[satype])
            self._receive()  # the answer is there: it does not wait
        self._ask(SadbType.SADB_X_SPDDUMP)
        self._ike = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        key.bypass(self._ike)
        self._ike.bind((own, 500))
        self._peers_ike = (peer, 500)

    def run(self) -> None:
        """Run until SIGTERM, then delete all SAs without waiting for an answer."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
            signal.siginterrupt(number, False)  # SA_RESTART, as racoon has it
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        say("ready")
        received = 0
        while received != signal.SIGTERM:
            for ready in select.select([self._key, self._ike, reading], [], [])[0]:
                if ready is self._key:
                    self._receive()
                elif ready is self._ike:
                    self._hear(self._ike.recv(100).decode().split())
                else:
                    (received,) = os.read(reading, 1)
                    if received == signal.SIGHUP:
                        self._reload()
        self._ask(SadbType.SADB_FLUSH)

    # PF_KEY

    def _ask(
        self,
        type_: SadbType,
        satype: SadbSatype = SadbSatype.SADB_SATYPE_UNSPEC,
        *extensions: Extension,
        seq: int = 0,
    ) -> None:
        message = SadbMsg(type_, satype, seq=seq, pid=os.getpid(), extensions=extensions)
        self._key.send(encode(message))

    def _receive(self) -> SadbMsg:
        message = decode(self._key.receive())
        name = message.type.name.removeprefix("SADB_")
        if message.errno:
            if (name, message.errno) != ("X_SPDDUMP", errno.ENOENT):  # there are no policies yet
                say(name, "failed:", os.strerror(message.errno))
        elif name in ("ACQUIRE", "EXPIRE") or name.startswith("X_SPD"):
            self._take(name, message)
        else:
            mine = message.pid == os.getpid()
            if mine is (name != "DELETE"):  # of the others' messages only a DELETE matters
                self._take(name, message)
        return message

    def _take(self, name: str, message: SadbMsg) -> None:
        match name:
            case "X_SPDDUMP" | "X_SPDADD" | "X_SPDUPDATE":
                if (id := message.require(Policy).id) & 7 < SOCKETS_OWN:
                    self._image[id] = message
            case "X_SPDDELETE" | "X_SPDDELETE2":
                self._image.pop(message.require(Policy).id, None)
            case "X_SPDFLUSH":
                self._image.clear()
            case "ACQUIRE":
                self._acquire(message)
            case "GETSPI":
                self._got_spi(message)
            case "UPDATE":
                self._updated(message)
            case "EXPIRE":
                self._expired(message)
            case "DELETE":
                self._deleted(message)

    def _reload(self) -> None:
        """Read the SPD again, all at once: what has not arrived by the first EAGAIN is lost."""
        self._image.clear()
        self._ask(SadbType.SADB_X_SPDDUMP)
        while True:
            message = self._receive()
            if message.type == SadbType.SADB_X_SPDDUMP and not message.seq:
                break
        policies = (message.require(Policy) for message in self._image.values())
        say("reloaded", *sorted(policy.direction.name for policy in policies))

    def _acquire(self, message: SadbMsg) -> None:
        id = message.require(Policy).id
        there = self._image.get(id)
        if there is None or there.require(Policy).direction != _OUTBOUND:
            say("no policy found: id", id)
        elif all(phase.established for phase in self._phases):
            self._begin(message.seq, there.require(Policy).requests[0].mode)

    def _begin(
        self, seq: int, mode: IpsecMode, *, responds: bool = False, peer_spi: int = 0
    ) -> None:
        self._phases.append(Phase2(seq, mode, responds, peer_spi=peer_spi))
        self._ask(
            SadbType.SADB_GETSPI,
            SadbSatype.SADB_SATYPE_ESP,
            Sa2(mode, self._reqid(_INBOUND)),
            AddressSrc(self._peer, 32, ANY_PROTOCOL),
            AddressDst(self._own, 32, ANY_PROTOCOL),
            seq=seq,
        )

    def _reqid(self, direction: IpsecDirection) -> int:
        """Return what the SPD wants SAs of one way to be called."""
        policies = (message.require(Policy) for message in self._image.values())
        return next((p.requests[0].reqid for p in policies if p.direction == direction), 0)

    def _phase(self, seq: int) -> Phase2 | None:
        return next((phase for phase in self._phases if phase.seq == seq), None)

    def _got_spi(self, message: SadbMsg) -> None:
        phase = self._phase(message.seq)
        if phase is None or phase.spi:
            return
        phase.spi = message.require(Sa).spi
        if phase.responds:
            self._send_peer("told", phase)
            self._install(phase)
        else:
            self._send_peer("ask", phase)

    def _install(self, phase: Phase2) -> None:
        self._sa(SadbType.SADB_UPDATE, phase, phase.spi, self._peer, self._own)
        self._sa(SadbType.SADB_ADD, phase, phase.peer_spi, self._own, self._peer)
        if phase.responds and self._generates:
            own, reverse = (self._own, self._peer), (self._peer, self._own)
            self._policy(phase, _INBOUND, reverse)
            if phase.mode == IpsecMode.IPSEC_MODE_TUNNEL:
                self._policy(phase, IpsecDirection.IPSEC_DIR_FWD, reverse)
            self._policy(phase, _OUTBOUND, own)

    def _sa(
        self, type_: SadbType, phase: Phase2, spi: int, source: Sockaddr, destination: Sockaddr
    ) -> None:
        incoming = destination == self._own
        self._ask(
            type_,
            SadbSatype.SADB_SATYPE_ESP,
            Sa(
                spi,
                replay=4,
                state=SadbSastate.SADB_SASTATE_MATURE,
                auth=SadbAalg.SADB_AALG_SHA1HMAC,
                encrypt=SadbEalg.SADB_X_EALG_AESCBC,
            ),
            Sa2(phase.mode, self._reqid(_INBOUND if incoming else _OUTBOUND)),
            AddressSrc(source, 32, ANY_PROTOCOL),
            AddressDst(destination, 32, ANY_PROTOCOL),
            KeyEncrypt(Key(bytes(range(16)))),
            KeyAuth(Key(bytes(range(20)))),
            LifetimeHard(addtime=self._lifetime),
            LifetimeSoft(addtime=self._lifetime * SOFT_RATE // 100),
            seq=phase.seq,
        )

    def _policy(
        self, phase: Phase2, direction: IpsecDirection, ends: tuple[Sockaddr, Sockaddr]
    ) -> None:
        tunnel = phase.mode == IpsecMode.IPSEC_MODE_TUNNEL
        request = IpsecRequest(
            socket.IPPROTO_ESP,
            phase.mode,
            IpsecLevel.IPSEC_LEVEL_REQUIRE,
            source=ends[0] if tunnel else None,
            destination=ends[1] if tunnel else None,
            reserved1=UNWRITTEN * 0x0101,
            reserved2=UNWRITTEN * 0x01010101,
        )
        self._ask(
            SadbType.SADB_X_SPDUPDATE,
            SadbSatype.SADB_SATYPE_UNSPEC,
            AddressSrc(ends[0], 32, ANY_PROTOCOL),
            AddressDst(ends[1], 32, ANY_PROTOCOL),
            LifetimeHard(addtime=self._lifetime * 2),
            Policy(
                IpsecPolicy.IPSEC_POLICY_IPSEC,
                direction,
                priority=DEFAULT_PRIORITY,
                requests=(request,),
                reserved=UNWRITTEN,
            ),
        )

    def _updated(self, message: SadbMsg) -> None:
        phase = self._phase(message.seq)
        if phase and phase.spi == message.require(Sa).spi:
            phase.established = True
            say("established", f"{phase.spi:#x}")

    def _of(self, message: SadbMsg) -> Phase2 | None:
        spi = message.require(Sa).spi
        return next((p for p in self._phases if spi in (p.spi, p.peer_spi)), None)

    def _expired(self, message: SadbMsg) -> None:
        if message.get(LifetimeHard) and message.get(LifetimeSoft):
            say("inappropriate sadb expire message")
            return
        phase = self._of(message)
        if phase and phase.established:
            self._phases.remove(phase)
            say("expired", f"{message.require(Sa).spi:#x}")
            if not phase.responds:
                self._begin(next(_numbers), phase.mode)

    def _deleted(self, message: SadbMsg) -> None:
        phase = self._of(message)
        if phase:
            self._phases.remove(phase)
            say("deleted by another", f"{message.require(Sa).spi:#x}")
            if phase.spi:
                self._send("delete", phase.seq, phase)

    def _purge(self, spi: int) -> None:
        """Delete the SA that the peer takes nothing by any more (purge_ipsec_spi())."""
        pid = os.getpid()
        other = self._key.another()
        other.send(encode(SadbMsg(SadbType.SADB_DUMP, SadbSatype.SADB_SATYPE_ESP, pid=pid)))
        found = []
        while True:
            message = decode(other.receive())
            if (message.type, message.pid) == (SadbType.SADB_DUMP, pid):
                found.append(message)
                if message.errno or not message.seq:
                    break
        other.close()
        for message in found:
            sa, destination = message.get(Sa), message.get(AddressDst)
            if sa and destination and (sa.spi, destination.sockaddr) == (spi, self._peer):
                named = (Sa(spi), message.require(AddressSrc), destination)
                self._ask(SadbType.SADB_DELETE, SadbSatype.SADB_SATYPE_ESP, *named)
                self._phases = [phase for phase in self._phases if phase.peer_spi != spi]
                say("purged", f"{spi:#x}")

    # IKE, so to speak

    def _send_peer(self, word: str, phase: Phase2) -> None:
        self._send(word, phase.seq if word == "ask" else phase.seq - RESPONDER, phase)

    def _send(self, word: str, seq: int, phase: Phase2) -> None:
        words = f"{word} {seq} {phase.mode.value} {phase.spi}"
        self._ike.sendto(words.encode(), self._peers_ike)

    def _hear(self, words: list[str]) -> None:
        word, (seq, mode, spi) = words[0], map(int, words[1:])
        if word == "ask":
            self._begin(seq + RESPONDER, IpsecMode(mode), responds=True, peer_spi=spi)
        elif word == "delete":
            self._purge(spi)
        elif phase := self._phase(seq):
            phase.peer_spi = spi
            self._install(phase)


#: The responder has sequence numbers of its own.
RESPONDER = 0x10000000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("own")
    parser.add_argument("peer")
    parser.add_argument("lifetime", type=int, help="of SAs, in seconds")
    parser.add_argument("--generate", action="store_true", help="make policies as responder")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--in-process", action="store_true", help="no socket(2) for PF_KEY")
    where.add_argument("--path", help="of kamexfrmd's socket")
    given = parser.parse_args()
    key: KernelSocket | OurSocket
    if given.in_process:
        key = OurSocket()
    else:
        key = PathSocket(given.path) if given.path else KernelSocket()
    Racoon(given.own, given.peer, given.lifetime, key, generates=given.generate).run()


if __name__ == "__main__":
    main()
