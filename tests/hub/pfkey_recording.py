"""Exchanges recorded from Linux's own AF_KEY (6.1), and what it takes to have them again.

Each line of pfkey-exchanges.jsonl has what was sent (``request``, or the ``command`` of somebody
else), what send() said if it refused (``send_errno``), and what four sockets then received: the
sender, a bystander, one registered for ESP, and one that is promiscuous from promisc-on to
promisc-off. A number stands for a message that is in the line already.

The recording is not complete: what changes a database and is not in it is done by ``BETWEEN``.
Bytes that change from run to run are masked: times, ids of policies, sequence numbers that the
kernel or ``ip`` chose, how many users a policy has, SPIs out of a range, and what af_key leaves
unset in ACQUIRE.
"""

import contextlib
import json
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import kamexfrm
from kamexfrm import pfkey
from kamexfrm.errors import WireError
from kamexfrm.net import Address
from kamexfrm.pfkey import SadbMsg, SadbSatype, SadbType

LINUX = pfkey.LINUX.with_byte_order("little")
LISTENERS = ("sender", "bystander", "registered", "promiscuous")

A4, B4 = Address.parse("10.9.0.1"), Address.parse("10.9.0.2")
A6, B6 = Address.parse("fd00:9::1"), Address.parse("fd00:9::2")

#: Seconds until an event that was recorded has to be there.
DEADLINE = 10

#: Exchanges in which the kernel chose the SPI.
_RANDOM_SPI = {"getspi4-norange", "getspi4-tunnel-reqid", "getspi6-tunnel-reqid"}

#: What af_key leaves unset in messages of its own.
_UNSET = (SadbType.SADB_ACQUIRE, SadbType.SADB_X_NAT_T_NEW_MAPPING)

_DUMPS = (SadbType.SADB_DUMP, SadbType.SADB_X_SPDDUMP)

#: What answers an ACQUIRE, with its sequence number.
_ANSWERS = (SadbType.SADB_GETSPI, SadbType.SADB_ADD, SadbType.SADB_ACQUIRE)


class Exchange(NamedTuple):
    """One line; ``received`` is in the order of LISTENERS."""

    name: str
    request: bytes | None
    command: str | None
    send_errno: int
    received: tuple[tuple[bytes, ...], ...]


class PfKey(Protocol):
    """A PF_KEY socket, the kernel's or ours."""

    def fileno(self) -> int: ...
    def send(self, message: bytes, /) -> int: ...
    def close(self) -> None: ...


def receive_from_the_kernel(made: PfKey) -> bytes | None:
    """Return what waits on a socket of the kernel's, None for nothing."""
    assert isinstance(made, socket.socket)
    try:
        return made.recv(1 << 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None


def receive_from_us(made: PfKey) -> bytes | None:
    """Return what waits on one of ours, None for nothing."""
    assert isinstance(made, kamexfrm.PfKeySocket)
    made.setblocking(False)
    try:
        return made.recv()
    except BlockingIOError:
        return None


def _read() -> Iterator[Exchange]:
    for line in Path(__file__).with_name("pfkey-exchanges.jsonl").read_text().splitlines():
        row = json.loads(line)
        seen: list[bytes] = []
        received = []
        for name in LISTENERS:
            messages = []
            for wire in row.get(name, ()):
                if isinstance(wire, str):
                    seen.append(bytes.fromhex(wire))
                    messages.append(seen[-1])
                else:
                    messages.append(seen[wire])
            received.append(tuple(messages))
        request = bytes.fromhex(row["request"]) if "request" in row else None
        if row["name"] == "hdr-empty":
            request = b""
        yield Exchange(
            row["name"], request, row.get("command"), row.get("send_errno", 0), tuple(received)
        )


EXCHANGES = tuple(_read())
BY_NAME = {exchange.name: exchange for exchange in EXCHANGES}


# What is not in the recording


def _again(name: str, **changes: object) -> SadbMsg:
    """Return a recorded request with some fields changed."""
    wire = BY_NAME[name].request
    assert wire is not None
    return replace(pfkey.decode(wire, LINUX), **changes)  # type: ignore[arg-type]


def _with(message: SadbMsg, *extensions: pfkey.Extension) -> SadbMsg:
    """Return a message with extensions put in the place of others of their kind, or appended."""
    new = {type(extension): extension for extension in extensions}
    kept = [new.pop(type(extension), extension) for extension in message.extensions]
    return replace(message, extensions=(*kept, *new.values()))


def _between(message: SadbMsg, source: Address, destination: Address) -> SadbMsg:
    """Return a message about other addresses, with a prefix that has as many bits left."""
    ends = []
    kinds = (pfkey.AddressSrc, pfkey.AddressDst)
    for kind, address in zip(kinds, (source, destination), strict=True):
        old = message.require(kind)
        assert isinstance(old.sockaddr, pfkey.Sockaddr)
        bits = address.bits - (old.sockaddr.address.bits - old.prefixlen)
        ends.append(replace(old, sockaddr=replace(old.sockaddr, address=address), prefixlen=bits))
    return _with(message, *ends)


def _policy4(name: str) -> SadbMsg:
    """Return the IPv4 counterpart of a recorded request about an IPv6 policy."""
    message = _again(name)
    old = message.require(pfkey.AddressSrc).sockaddr
    assert isinstance(old, pfkey.Sockaddr)
    ends = (A4, B4) if old.address == A6 else (B4, A4)
    policy = message.require(pfkey.Policy)
    tunnel = tuple(
        replace(r, source=pfkey.Sockaddr(A4), destination=pfkey.Sockaddr(B4)) if r.source else r
        for r in policy.requests
    )
    return _with(_between(message, *ends), replace(policy, requests=tunnel))


def _header(type_: SadbType, **fields: int) -> SadbMsg:
    return SadbMsg(type_, pid=1, **fields)  # type: ignore[arg-type]


_FLUSH = _header(SadbType.SADB_FLUSH)
_SPDFLUSH = _header(SadbType.SADB_X_SPDFLUSH)
_LONGER = (pfkey.LifetimeHard(addtime=7200), pfkey.LifetimeSoft(addtime=6000))


def _larval(name: str, spi: int, seq: int) -> SadbMsg:
    return _with(_again(name, seq=seq), pfkey.SpiRange(spi, spi))


def _port(name: str, port: int) -> SadbMsg:
    message = _again(name)
    end = message.require(pfkey.AddressDst)
    assert isinstance(end.sockaddr, pfkey.Sockaddr)
    return _with(message, replace(end, sockaddr=replace(end.sockaddr, port=port)))


def _rekeyed(name: str) -> SadbMsg:
    message = _again(name, type=SadbType.SADB_UPDATE)
    limits = (pfkey.LifetimeHard, pfkey.LifetimeSoft)
    return replace(
        message, extensions=tuple(e for e in message.extensions if type(e) not in limits)
    )


def _named(name: str, spi: int, **limits: int) -> SadbMsg:
    """Return an ADD like a recorded one with another SPI and limits of bytes."""
    message = _again(name)
    changed = [replace(message.require(pfkey.Sa), spi=spi)]
    if not limits:
        return _with(message, *changed)
    return _with(
        message,
        *changed,
        pfkey.LifetimeHard(bytes=limits["hard"]),
        pfkey.LifetimeSoft(bytes=limits["soft"]),
    )


_AH6 = _between(_named("sa4-2-ah", 16642), A6, B6)
_TUNNEL54 = (
    "ip xfrm policy add src 10.9.0.1/32 dst 10.9.0.2/32 proto udp dport 54 dir out priority 10"
    " tmpl src 10.9.0.1 dst 10.9.0.2 proto esp mode tunnel reqid 4"
)
_A005 = (
    "ip xfrm state add src 10.9.0.1 dst 10.9.0.2 proto esp spi 0xa005 mode transport"
    " enc 'cbc(aes)' 0x000102030405060708090a0b0c0d0e0f auth-trunc 'hmac(sha256)'"
    " 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 128"
)


class Packets(NamedTuple):
    """UDP packets of so many bytes to the other side, and how many messages are to come then.

    They count for the exchange itself where they are ``kept``.
    """

    number: int
    size: int
    ipv6: bool = False
    received: int = 0
    kept: bool = False


class LarvalLifetime(NamedTuple):
    """net.core.xfrm_acq_expires is set."""

    seconds: int


class Expected(NamedTuple):
    """The registered one waits for messages that are not in the recording."""

    number: int


Step = SadbMsg | str | Packets | LarvalLifetime | Expected

#: What to do before an exchange, by its name.
BETWEEN: dict[str, tuple[Step, ...]] = {
    "add-esp4-dup": (_again("add-esp4-dup"),),
    "get4-after-update": (_with(_again("sa4-1-esp", type=SadbType.SADB_UPDATE), *_LONGER),),
    "getspi4-esp-exhausted": (_larval("getspi4-again", 0x5000, 12),),
    "delete4-esrch": (
        replace(_again("delete4-esrch"), seq=26),
        _larval("getspi4-again", 0x5002, 21),
    ),
    "sa6-3-ipcomp": (_AH6,),
    "get6-after-update": (_with(_again("sa6-1-esp", type=SadbType.SADB_UPDATE), *_LONGER),),
    "get6-after-newkey": (_rekeyed("sa6-1-esp"),),
    "update6-larval": (_larval("getspi6-esp", 0x5001, 14),),
    "spdadd4-dup": (_FLUSH, _again("spdadd4-dup")),
    "spdadd4-bundle": (_policy4("spdadd6-fwd"), _policy4("spdadd6-tunnel")),
    "spdadd4-use": (_policy4("spdadd6-default-level"),),
    "spdadd4-discard": (_policy4("spdadd6-none"),),
    "spdadd4-transport-level1-out-after": (_policy4("spdadd6-6-requests"),),
    "spddelete4-enoent": (_policy4("spddelete6"),),
    "spdadd6-prio": (_between(_again("spdadd4-discard"), A6, B6),),
    "acquire4-esp-second-packet": (Packets(1, 100, received=1),),
    "acquire4-dump-after-add": (_between(_again("acquire6-add", seq=1), A4, B4),),
    "acq4-policy-ipcomp-esp": (
        _FLUSH,
        _between(
            _with(
                _again("acq6-policy-ah-tunnel"),
                _policy4("acq6-policy-ah-tunnel").require(pfkey.Policy),
            ),
            A4,
            B4,
        ),
        Packets(1, 100, received=1),
        _SPDFLUSH,
        _FLUSH,
    ),
    "acq6-policy-esp": (_SPDFLUSH, _FLUSH),
    "acquire6-dump-after-negative": (_again("acquire4-negative", seq=7),),
    "acq6-policy-ipcomp-esp": (_SPDFLUSH, _FLUSH),
    "expire-sa4": (_SPDFLUSH, _FLUSH),
    "expire-get-dying": (Expected(2),),
    "getspi-larval-short": (LarvalLifetime(1),),
    "expire-hard-bytes": (_named("traf-sa-packets", 0x8101, hard=200, soft=100), Packets(1, 100)),
    "expire-packets": (Packets(4, 10, received=2, kept=True),),
    "nl-sa-add": (_SPDFLUSH, _FLUSH),
    "nl-sa-add-gcm": (_A005,),
    "nl-pol-add-block": (_TUNNEL54,),
}

#: Packets that are part of an exchange.
PACKETS = {
    "acquire4-esp-second-packet": Packets(1, 100),
    "acquire4-again": Packets(1, 100),
    "acquire4-ipcomp-use-esp-require": Packets(1, 100),
    "acquire6-esp": Packets(1, 100, ipv6=True),
    "acquire6-esp-second-packet": Packets(1, 100, ipv6=True),
    "acquire6-again": Packets(1, 100, ipv6=True),
    "acquire6-ah-tunnel-unique": Packets(1, 100, ipv6=True),
    "acquire6-ipcomp-use-esp-require": Packets(1, 100, ipv6=True),
    "expire-hard-bytes": Packets(2, 100),
    "expire-packets": Packets(1, 10),
    "expire-use": Packets(1, 10),
}

#: Exchanges that have another sender than the one called so.
SENDERS = {
    "register-observer-3": "registered",
    "promisc-on": "promiscuous",
    "promisc-on-again": "promiscuous",
    "promisc-off": "promiscuous",
}

_NETWORK = """
ip link set lo up
ip link add d0 type dummy
ip link set d0 up
ip address add 10.9.0.1/24 dev d0
ip -6 address add fd00:9::1/64 dev d0 nodad
ip neighbour add 10.9.0.2 lladdr 02:00:00:00:00:02 dev d0
ip -6 neighbour add fd00:9::2 lladdr 02:00:00:00:00:02 dev d0
"""


def run(command: str) -> None:
    """Run a command that was recorded, which may fail as it did then."""
    subprocess.run(command, shell=True, check=False, capture_output=True)  # noqa: S602


def make_network() -> None:
    """Make in this namespace what packets need."""
    subprocess.run(_NETWORK, shell=True, check=True)  # noqa: S602


class Replay:
    """Has the exchanges again, with sockets of one make, in this namespace."""

    def __init__(self, make: Callable[[], PfKey], receive: Callable[[PfKey], bytes | None]) -> None:
        self._make = make
        self._receive = receive
        self._sockets = {name: make() for name in LISTENERS}
        # What was chosen here in the place of what was chosen when it was recorded.
        self._ids: dict[int, int] = {}
        self._sequences: dict[int, int] = {}
        self._kept: list[bytes] = []

    def close(self) -> None:
        for made in self._sockets.values():
            made.close()

    def exchanges(self) -> Iterator[tuple[Exchange, int, tuple[tuple[bytes, ...], ...]]]:
        """Yield each exchange with the errno of send() and what was received this time."""
        for exchange in EXCHANGES:
            for step in BETWEEN.get(exchange.name, ()):
                self._do(step)
            if exchange.name.startswith("register-") and exchange.name not in SENDERS:
                yield exchange, *self._register(exchange)
                continue
            self._drain()
            number = self._begin(exchange)
            yield exchange, number, self._gather(exchange)

    def _register(self, exchange: Exchange) -> tuple[int, tuple[tuple[bytes, ...], ...]]:
        """Registrations come from a socket that is closed before others are watched."""
        name = "second" if exchange.name == "register-second-socket" else "first"
        if name not in self._sockets:
            self._sockets[name] = self._make()
        if name == "second":
            self._sockets.pop("first").close()
        assert exchange.request is not None
        self._sockets[name].send(exchange.request)
        received = [self._all(self._sockets[name])]
        received += [self._all(self._sockets[listener]) for listener in LISTENERS[1:]]
        if name == "second":
            self._sockets.pop("second").close()
        return 0, tuple(received)

    def _begin(self, exchange: Exchange) -> int:
        packets = PACKETS.get(exchange.name)
        if packets is not None:
            self._send_packets(packets)
        if exchange.command is not None:
            run(exchange.command)
        if exchange.request is None:
            return 0
        sender = self._sockets[SENDERS.get(exchange.name, "sender")]
        try:
            sender.send(self._translated(exchange.name, exchange.request))
        except OSError as error:
            return error.errno or 0
        return 0

    def _translated(self, name: str, request: bytes) -> bytes:
        """Return a request with the ids and sequence numbers of this time."""
        try:
            message = pfkey.decode(request, LINUX)
        except WireError:
            return request
        policy = message.get(pfkey.Policy)
        if policy is not None and policy.id in self._ids:
            message = _with(message, replace(policy, id=self._ids[policy.id]))
        if name.startswith("acquire") and message.type in _ANSWERS:
            message = replace(message, seq=self._sequences.get(message.seq, message.seq))
        return pfkey.encode(message, LINUX)

    def _gather(self, exchange: Exchange) -> tuple[tuple[bytes, ...], ...]:
        received = [list(self._all(self._sockets[name])) for name in LISTENERS]
        sender = SENDERS.get(exchange.name, "sender")
        if sender != "sender":
            at = LISTENERS.index(sender)
            received[0], received[at] = received[at], []
        received[2][:0], self._kept = self._kept, []
        if exchange.request is None:
            self._wait(
                len(exchange.received[2]), received[2], frozenset(map(_kind, exchange.received[2]))
            )
        found = tuple(map(tuple, received))
        self._learn(exchange, found)
        return found

    def _wait(
        self, count: int, received: list[bytes], kinds: frozenset[bytes] | None = None
    ) -> None:
        """Add what the registered one receives until there are so many of some kinds, or any."""
        until = time.monotonic() + DEADLINE
        while sum(kinds is None or _kind(message) in kinds for message in received) < count:
            left = until - time.monotonic()
            if left <= 0:
                return
            select.select([self._sockets["registered"]], [], [], left)
            received += self._all(self._sockets["registered"])

    def _learn(self, exchange: Exchange, found: tuple[tuple[bytes, ...], ...]) -> None:
        for before, now in zip(exchange.received, found, strict=True):
            for old, new in zip(before, now, strict=False):
                old_message, new_message = pfkey.decode(old, LINUX), pfkey.decode(new, LINUX)
                if old_message.type == SadbType.SADB_ACQUIRE and not old_message.pid:
                    self._sequences[old_message.seq] = new_message.seq
                theirs, ours = old_message.get(pfkey.Policy), new_message.get(pfkey.Policy)
                if theirs is not None and ours is not None:
                    self._ids[theirs.id] = ours.id

    def _do(self, step: Step) -> None:
        match step:
            case SadbMsg():
                message = step
                if message.type in _ANSWERS:
                    message = replace(message, seq=self._sequences.get(message.seq, message.seq))
                self._sockets["sender"].send(pfkey.encode(message))
            case str():
                run(step)
            case Packets():
                self._drain()
                self._send_packets(step)
                received: list[bytes] = []
                self._wait(step.received, received)
                if step.kept:
                    self._kept = received
                    return
                for wire in received:
                    # The first ACQUIRE is not in the recording.
                    self._sequences.setdefault(1, pfkey.decode(wire).seq)
            case Expected(count):
                self._wait(count, [])
            case LarvalLifetime(seconds):
                Path("/proc/sys/net/core/xfrm_acq_expires").write_text(f"{seconds}\n")

    def _send_packets(self, packets: Packets) -> None:
        family = socket.AF_INET6 if packets.ipv6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            for _ in range(packets.number):
                with contextlib.suppress(OSError):
                    sender.sendto(bytes(packets.size), (str(B6 if packets.ipv6 else B4), 9))

    def _drain(self) -> None:
        for made in self._sockets.values():
            self._all(made)

    def _all(self, made: PfKey) -> tuple[bytes, ...]:
        return tuple(iter(lambda: self._receive(made), None))


# What is compared


def _kind(message: bytes) -> bytes:
    """Return a message's type and satype."""
    return message[1:2] + message[3:4]


def masked(name: str, wire: bytes) -> SadbMsg | bytes:
    """Return a message without what changes from run to run."""
    try:
        message = pfkey.decode(wire, LINUX)
    except WireError:
        return wire
    extensions: list[pfkey.Extension] = []
    for extension in message.extensions:
        match extension:
            case pfkey.LifetimeCurrent():
                times = {"addtime": min(extension.addtime, 1), "usetime": min(extension.usetime, 1)}
                extensions.append(replace(extension, **times))
            case pfkey.Policy():
                extensions.append(replace(extension, id=extension.id & 7))
            case pfkey.Sa() if name in _RANDOM_SPI:
                extensions.append(replace(extension, spi=0))
            case pfkey.AddressExtension() if message.type in _UNSET:
                extensions.append(replace(extension, reserved=0, padding=b""))
            case _:
                extensions.append(extension)
    foreign = name.startswith("nl-") and message.pid == 0
    seq = 0 if foreign or message.type == SadbType.SADB_ACQUIRE else message.seq
    if name.startswith("acquire") and message.type in _ANSWERS:
        seq = 0
    reserved = 0 if message.type.name.startswith("SADB_X_SPD") else message.reserved
    return replace(message, extensions=tuple(extensions), seq=seq, reserved=reserved)


def described(name: str, send_errno: int, received: tuple[tuple[bytes, ...], ...]) -> list[str]:
    """Return what was received as lines: each message once, with its receivers and how often."""
    receivers: dict[SadbMsg | bytes, dict[str, int]] = {}
    for listener, messages in zip(LISTENERS, received, strict=True):
        for wire in messages:
            counts = receivers.setdefault(masked(name, wire), {})
            counts[listener] = counts.get(listener, 0) + 1
    blocks = [_block(message, counts) for message, counts in receivers.items()]
    if not BY_NAME[name].request:
        blocks.sort()  # what happens at one time comes in any order
    first = [f"send: errno {send_errno}"] if send_errno else []
    return first + [line for block in blocks for line in block]


def _block(message: SadbMsg | bytes, counts: dict[str, int]) -> list[str]:
    if isinstance(message, bytes):
        return [message.hex()]
    who = ", ".join(f"{listener} {count}" for listener, count in counts.items())
    head = f"{message.type.name[5:]} {SadbSatype(message.satype).name[5:]}"
    # What is missing from a dump gives all behind it other numbers.
    counts_up = message.type in _DUMPS and message.extensions and message.seq
    seq = "counting" if counts_up else message.seq
    first = f"{head} errno={message.errno} seq={seq} pid={message.pid} to {who}"
    return [first, *(f"  {_shown(extension)}" for extension in message.extensions)]


def _reqid(request: pfkey.IpsecRequest) -> str:
    """Return a request's reqid; which number is generated depends on what was before."""
    generated = int(request.level) == 3 and request.reqid in (0x4000, 0x4001)
    return "generated" if generated else str(request.reqid)


def _shown(extension: pfkey.Extension) -> str:
    """Return an extension in short."""
    match extension:
        case pfkey.Sa():
            return (
                f"SA spi={extension.spi:#x} replay={extension.replay} state={int(extension.state)}"
                f" auth={extension.auth} encrypt={extension.encrypt} flags={extension.flags:#x}"
            )
        case pfkey.Lifetime():
            kind = type(extension).__name__.removeprefix("Lifetime")
            numbers = extension.allocations, extension.bytes, extension.addtime, extension.usetime
            return f"{kind} {numbers}"
        case pfkey.AddressExtension():
            kind = type(extension).__name__.removeprefix("Address")
            where = extension.sockaddr
            assert isinstance(where, pfkey.Sockaddr)
            return f"{kind} {where.address}/{extension.prefixlen}[{where.port}] {extension.proto}"
        case pfkey.Policy():
            requests = " ".join(
                f"{r.proto}/{int(r.mode)}/{getattr(r.source, 'address', '')}-"
                f"{getattr(r.destination, 'address', '')}/{int(r.level)}:{_reqid(r)}"
                for r in extension.requests
            )
            return (
                f"Policy type={int(extension.type)} dir={int(extension.direction)}"
                f" priority={extension.priority} {requests}"
            )
        case pfkey.KeyExtension():
            return f"{type(extension).__name__} {extension.key.data.hex()}"
        case pfkey.Supported():
            shown = ", ".join(
                f"{a.id}:{a.ivlen}:{a.minbits}-{a.maxbits}" for a in extension.algorithms
            )
            return f"{type(extension).__name__} {shown}"
        case _:
            return repr(extension)
