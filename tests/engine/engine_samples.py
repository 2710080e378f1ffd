"""An engine over any kernel, requests in few words, and what the kernel holds afterwards."""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import Rejected, SetKnob, SpdAdd, SpdDelete, Write, Written
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Failure, Kernel
from kamexfrm.model.association import Key, SecurityAssociation
from kamexfrm.model.knobs import knob
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    Owner,
    PolicyType,
    SecurityPolicy,
    Selector,
    SpdEntry,
)
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.marker import MARKER_ID, Marker, read_marker
from kamexfrm.translate.xfrm.tag import CATCH_ALL_USER, MARKER_IF_ID, SIDECAR_IF_ID
from kamexfrm.xfrm import (
    Operation,
    Policy,
    PolicyId,
    Template,
    XfrmMsg,
    encode_policy,
    encode_policy_id,
)
from kamexfrm.xfrm import Selector as XfrmSelector

IN, OUT, FWD = Direction.IN, Direction.OUT, Direction.FWD
ESP, AH, IPCOMP = IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP
TRANSPORT, TUNNEL = Mode.TRANSPORT, Mode.TUNNEL
DEFAULT, USE, REQUIRE, UNIQUE = Level

A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
A6, B6 = Address.parse("fd00::1"), Address.parse("fd00::2")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Killed(BaseException):
    """The process ended here."""


class Mortal:
    """A kernel whose user is killed before the given number of requests is reached."""

    def __init__(self, kernel: Kernel, life: int) -> None:
        self._kernel = kernel
        self._life = life

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        if len(operations) >= self._life:
            self._kernel.apply(operations[: self._life])
            raise Killed
        self._life -= len(operations)
        return self._kernel.apply(operations)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)


class DumpCounter(FakeKernel):
    """A fake that counts how often all policies are read."""

    dumps = 0

    def policies(self, *, stream: bool = False) -> Iterator[Policy]:
        self.dumps += 1
        return super().policies(stream=stream)


class Asker:
    """An engine with the requests it rejected last, and what it said of the lock."""

    def __init__(self, kernel: Any, clock: Callable[[], float] | None = None) -> None:
        self.kernel: Kernel = kernel
        self.rejected: list[Rejected] = []
        self.lock_holder = ""
        keywords = {"clock": clock} if clock else {}
        self.engine = Engine(kernel, **keywords)

    def ask(self, *requests: Write) -> list[str]:
        """Submit requests; return the errno's names of those that were rejected, in order."""
        self.rejected.clear()
        for request in requests:
            self._take(self.engine.try_submit(request))
        self._take(self.engine.try_flush())
        return [errno.errorcode[one.error.errno] for one in self.rejected]

    def _take(self, written: Written | None) -> None:
        if written:
            self.rejected += written.rejected
            self.lock_holder = written.lock_holder or self.lock_holder

    def must(self, *requests: Write) -> None:
        assert self.ask(*requests) == []

    def add(self, *policies: SecurityPolicy, **how: Any) -> None:
        self.must(*[SpdAdd(policy, **how) for policy in policies])

    def delete(self, *policies: SecurityPolicy, **how: Any) -> None:
        self.must(*[SpdDelete(policy.selector, policy.direction, **how) for policy in policies])

    def turn(self, name: str, value: int) -> None:
        prefix = "net.inet6.ipsec6." if name.startswith("6.") else "net.inet.ipsec."
        self.must(SetKnob(knob(prefix + name.removeprefix("6.")), value))

    def entries(self) -> list[SpdEntry]:
        """Return the SPD's entries, oldest last."""
        return list(self.engine.spd())

    def entry(self, policy: SecurityPolicy) -> SpdEntry:
        (found,) = (
            e
            for e in self.entries()
            if (e.policy.selector, e.policy.direction) == (policy.selector, policy.direction)
        )
        return found

    def written(self) -> set[SecurityPolicy]:
        """Return our entries as somebody wrote them, without automatic copies."""
        return {e.policy for e in self.entries() if e.owner is Owner.OURS and not e.twin}

    def installed(self, policy: SecurityPolicy) -> Policy:
        """Return the kernel's policy for an entry."""
        return next(p for p in self.kernel.policies() if p.index == self.entry(policy).id)


def selector(number: int = 0, **fields: Any) -> Selector:
    """Return one of 65536 different IPv4 selectors."""
    return Selector(A, 32, Address(2, bytes((10, 9, number >> 8, number & 255))), 32, **fields)


def selector6(number: int = 0) -> Selector:
    return Selector(A6, 128, Address(10, b"\xfd" + bytes(13) + number.to_bytes(2, "big")), 128)


def request(
    level: Level = DEFAULT,
    protocol: IpsecProtocol = ESP,
    mode: Mode = TRANSPORT,
    reqid: int = 0,
    ends: tuple[Address, Address] | None = None,
) -> IpsecRequest:
    source, destination = ends or ((A, B) if mode is TUNNEL else (None, None))
    return IpsecRequest(protocol, mode, level, reqid, source, destination)


def ipsec(
    of: Selector | int = 0,
    direction: Direction = OUT,
    *requests: IpsecRequest,
    **fields: Any,
) -> SecurityPolicy:
    """Return a policy of type ipsec, with one ESP transport request of level default by default."""
    chosen = selector(of) if isinstance(of, int) else of
    return SecurityPolicy(chosen, direction, PolicyType.IPSEC, requests or (request(),), **fields)


def verdict(
    type_: PolicyType, of: Selector | int = 0, direction: Direction = OUT, **fields: Any
) -> SecurityPolicy:
    chosen = selector(of) if isinstance(of, int) else of
    return SecurityPolicy(chosen, direction, type_, **fields)


def everywhere(family: int = 2) -> Selector:
    nowhere = Address.unspecified(family)
    return Selector(nowhere, 0, nowhere, 0)


def association(spi: int = 0x1000, mode: Mode = TUNNEL, **fields: Any) -> SecurityAssociation:
    cipher = by_name(Kind.ENCRYPTION, "aes-cbc")
    digest = by_name(Kind.AUTHENTICATION, "hmac-sha1")
    plain: dict[str, Any] = {
        "source": A,
        "destination": B,
        "protocol": ESP,
        "encryption": Key(cipher, bytes(range(16))),
        "authentication": Key(digest, bytes(range(20))),
    }
    return SecurityAssociation(spi=spi, mode=mode, **{**plain, **fields})


def foreign(number: int = 0, direction: int = 1, **fields: Any) -> Policy:
    """Return a policy as somebody else writes one, with the selector of that number."""
    ours = selector(number)
    chosen = XfrmSelector(
        ours.destination, ours.source, family=2, destination_prefix=32, source_prefix=32
    )
    return Policy(chosen, direction, **{"priority": 7, **fields})


def foreign_template(**fields: Any) -> Template:
    nowhere = Address.unspecified(2)
    return Template(nowhere, nowhere, protocol=50, mode=0, family=2, **fields)


def write(kernel: Kernel, *policies: Policy) -> None:
    operations = [Operation(XfrmMsg.NEWPOLICY, encode_policy(p)) for p in policies]
    assert kernel.apply(operations) == []


def perform(kernel: Kernel, type_: int, payload: bytes = b"") -> None:
    """Do something past the engine, as others do."""
    assert kernel.apply([Operation(type_, payload)]) == []


def lose_marker(kernel: Kernel) -> None:
    perform(kernel, XfrmMsg.DELPOLICY, encode_policy_id(MARKER_ID))


def marker_of(kernel: Kernel) -> Marker:
    found = read_marker(kernel.policy(MARKER_ID))
    assert found is not None
    return found


def blocks(kernel: Kernel) -> list[Policy]:
    """Return the policies by which def_policy discards."""
    return [p for p in kernel.policies() if p.selector.user == CATCH_ALL_USER]


def named(policy: Policy) -> PolicyId:
    """Return the name of a dumped policy."""
    return PolicyId(policy.selector, index=policy.index, direction=policy.direction)


def helpers(kernel: Kernel) -> list[int]:
    """Return the interface ids of what is only there for our sake: marker and sidecars."""
    return sorted(p.if_id for p in kernel.policies() if p.if_id in (MARKER_IF_ID, SIDECAR_IF_ID))


def image(kernel: Kernel) -> set[Policy]:
    """Return all policies without their times."""
    return {p._replace(current=p.current._replace(add_time=0)) for p in kernel.policies()}


def in_order(entries: Iterable[SpdEntry]) -> list[SpdEntry]:
    """Return our entries as the kernel looks at them; two with one number are an error."""
    found = sorted((e for e in entries if e.owner is Owner.OURS), key=lambda e: e.kernel_priority)
    for direction in Direction:
        numbers = [e.kernel_priority for e in found if e.policy.direction is direction]
        assert len(numbers) == len(set(numbers))
    return found


def assert_first_match(entries: Iterable[SpdEntry]) -> None:
    """Hold that the kernel's order is by written priority, then by insertion."""
    found = in_order(entries)
    assert found == sorted(found, key=lambda e: (e.policy.priority, e.order, e.kernel_priority))
