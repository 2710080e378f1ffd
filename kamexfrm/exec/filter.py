"""The seccomp filter: which system calls of the program go to the supervisor. Pure.

A filter is a list of rules, tried in order; a call that meets none is let through. For a call that
no rule names the kernel does not even run the filter (Linux 5.11, its cache of allowed calls), so
all other calls cost nothing. Sources: linux/seccomp.h, linux/filter.h.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple, assert_never

from kamexfrm.exec.system import Machine

AF_KEY = 15
#: linux/in.h, linux/in6.h.
IP_IPSEC_POLICY, IPV6_IPSEC_POLICY = 16, 34

#: Options of SOL_SOCKET that show what a socket is, which a PF_KEY socket of ours hides.
SHOWN_OPTIONS = (socket.SO_TYPE, socket.SO_PROTOCOL, socket.SO_DOMAIN)

RET_ERRNO = 0x00050000
RET_NOTIFY = 0x7FC00000
RET_ALLOW = 0x7FFF0000

#: Flags of a receiver that does not wait.
_NON_BLOCKING = socket.MSG_PEEK | socket.MSG_DONTWAIT

#: Seconds that a program waits at least for a reply that is due, whatever time it gives: on AF_KEY
#: the reply is there. Setkey's timeout is one second, iked's a millisecond; a reply that loads
#: modules, or comes from a machine under load, takes longer.
MIN_TIMEOUT = 10

#: Milliseconds: a poll(2) that waits less is held until the reply is there.
_SHORT_POLL = MIN_TIMEOUT * 1000

#: With this flag, which means nothing between two of our own processes, the message that brings
#: the listener to the supervisor passes a filter that is not served yet.
UNTRAPPED = socket.MSG_EOR

_IO_URING = (425, 426, 427)  # io_uring_setup, io_uring_enter, io_uring_register

#: Families whose sockets a program with policies may have besides IPv4's and IPv6's: none of them
#: sends IP. Others (packet, smc, rds, rxrpc...) can send without a policy of ours.
#: AF_UNIX, AF_NETLINK, AF_CAN, AF_BLUETOOTH, AF_ALG, AF_VSOCK: a Python may lack the names.
_HARMLESS = (1, 16, 29, 31, 38, 40)

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, if false, value
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_RETURN = 0x06  # BPF_RET | BPF_K

# Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16


class Barrier(Enum):
    """How the answer is made to be there when the program reads right after send(2).

    With AF_KEY, send(2) returns once the answer is queued. ``PEEK`` holds a receiver
    that will not wait until what was sent before is answered, and lengthens a short SO_RCVTIMEO.
    ``STRICT`` holds each sender, and each receiver until all that there is room for is in its
    socket. With ``NONE`` there is no guarantee.
    """

    NONE = "none"
    PEEK = "peek"
    STRICT = "strict"


class Test(Enum):
    """A jump of the BPF machine (BPF_JMP | BPF_K), and the outcome that meets the test."""

    EQUAL = (0x15, True)
    BELOW = (0x35, False)
    DIFFERENT = (0x15, False)
    AT_LEAST = (0x35, True)
    ANY_BIT = (0x45, True)
    NO_BIT = (0x45, False)


class Condition(NamedTuple):
    """A test of the word at an offset of struct seccomp_data."""

    offset: int
    test: Test
    value: int


class Rule(NamedTuple):
    """The action for a system call that meets all conditions."""

    number: int
    action: int
    conditions: tuple[Condition, ...] = ()


def argument(index: int, test: Test, value: int) -> Condition:
    """Return a condition on the low half of an argument: all there is of a C int."""
    return Condition(_ARGUMENTS + 8 * index, test, value)


def _is(index: int, value: int) -> Condition:
    return argument(index, Test.EQUAL, value)


def _null(index: int) -> tuple[Condition, Condition]:
    low = _is(index, 0)
    return low, low._replace(offset=low.offset + 4)


def rules(machine: Machine, barrier: Barrier, *, policies: bool) -> list[Rule]:
    """Return the rules; ``policies`` for a program whose IP sockets each get one."""
    ipv6 = socket.IPPROTO_IPV6
    found = [
        Rule(machine.socket, RET_NOTIFY, (_is(0, AF_KEY),)),
        Rule(machine.setsockopt, RET_NOTIFY, (_is(1, 0), _is(2, IP_IPSEC_POLICY))),
        Rule(machine.setsockopt, RET_NOTIFY, (_is(1, ipv6), _is(2, IPV6_IPSEC_POLICY))),
        Rule(machine.getsockopt, RET_NOTIFY, (_is(1, 0), _is(2, IP_IPSEC_POLICY))),
        Rule(machine.getsockopt, RET_NOTIFY, (_is(1, ipv6), _is(2, IPV6_IPSEC_POLICY))),
        *(
            Rule(machine.getsockopt, RET_NOTIFY, (_is(1, socket.SOL_SOCKET), _is(2, option)))
            for option in SHOWN_OPTIONS
        ),
    ]
    match barrier:
        case Barrier.PEEK:
            found += _receivers(machine, Test.ANY_BIT, _NON_BLOCKING)
            timeout = _is(1, socket.SOL_SOCKET), _is(2, socket.SO_RCVTIMEO)
            found.append(Rule(machine.setsockopt, RET_NOTIFY, timeout))
        case Barrier.STRICT:
            found += _receivers(machine, Test.AT_LEAST, 0)
            found += [
                Rule(machine.sendto, RET_NOTIFY, _null(4)),
                Rule(machine.sendmsg, RET_NOTIFY, (argument(2, Test.NO_BIT, UNTRAPPED),)),
                Rule(machine.write, RET_NOTIFY),
                Rule(machine.writev, RET_NOTIFY),
            ]
        case Barrier.NONE:
            pass
        case _:
            assert_never(barrier)
    return found + (_for_policies(machine) if policies else [])


def needs_supervisor(machine: Machine, number: int, level: int) -> bool:
    """Return whether a call that a rule sends to the supervisor must fail without it.

    ``level`` is the second argument. PF_KEY sockets and policies need the supervisor, and with
    policies so do IP sockets. What is trapped only because its descriptor could be a PF_KEY
    socket can be carried out by the kernel.
    """
    return number == machine.socket or (number == machine.setsockopt and level != socket.SOL_SOCKET)


def _receivers(machine: Machine, test: Test, flags: int) -> Iterator[Rule]:
    """Yield the rules for receivers with such flags, and for short polls of one descriptor.

    iked does the latter: it polls for a millisecond.
    """
    yield Rule(machine.recvfrom, RET_NOTIFY, (*_null(4), argument(3, test, flags)))
    yield Rule(machine.recvmsg, RET_NOTIFY, (argument(2, test, flags),))
    one = _is(1, 1)
    if machine.poll:
        yield Rule(machine.poll, RET_NOTIFY, (one, argument(2, Test.BELOW, _SHORT_POLL)))
    else:  # the time is given by a pointer
        for half in _null(2):  # either half makes it one
            yield Rule(machine.ppoll, RET_NOTIFY, (one, half._replace(test=Test.DIFFERENT)))


def _for_policies(machine: Machine) -> list[Rule]:
    """Return the rules by which no IP socket is made without, or taken out of, its policy."""
    number = machine.socket
    v6_only = (_is(1, socket.IPPROTO_IPV6), _is(2, socket.IPV6_V6ONLY))
    return [
        Rule(number, RET_NOTIFY, (_is(0, socket.AF_INET),)),
        Rule(number, RET_NOTIFY, (_is(0, socket.AF_INET6),)),
        *(Rule(number, RET_ALLOW, (_is(0, family),)) for family in _HARMLESS),
        Rule(number, RET_ERRNO | errno.EAFNOSUPPORT),
        Rule(machine.setsockopt, RET_NOTIFY, v6_only),
        *(Rule(number, RET_ERRNO | errno.ENOSYS) for number in _IO_URING),
    ]


def assemble(machine: Machine, rules: list[Rule], *, refuse_foreign: bool) -> bytes:
    """Return the program of a filter: an array of struct sock_filter.

    Calls of another architecture, or of x32, are let through, or refused with ENOSYS.
    """
    foreign = RET_ERRNO | errno.ENOSYS if refuse_foreign else RET_ALLOW
    program = [_block((Condition(_ARCHITECTURE, Test.DIFFERENT, machine.audit),), foreign)]
    if machine.other_table:
        other = Condition(_NUMBER, Test.AT_LEAST, machine.other_table)
        program.append(_block((other,), foreign))
    for rule in rules:
        this = Condition(_NUMBER, Test.EQUAL, rule.number)
        program.append(_block((this, *rule.conditions), rule.action))
    return b"".join([*program, _returning(RET_ALLOW)])


def _block(conditions: tuple[Condition, ...], action: int) -> bytes:
    """Return instructions that end with ``action`` if all conditions are met, else go on below."""
    code = _returning(action)
    for offset, test, value in reversed(conditions):
        jump, wanted = test.value
        below = len(code) // _INSTRUCTION.size
        jumps = (0, below) if wanted else (below, 0)
        code = _INSTRUCTION.pack(jump, *jumps, value) + code
        code = _INSTRUCTION.pack(_LOAD, 0, 0, offset) + code
    return code


def _returning(action: int) -> bytes:
    return _INSTRUCTION.pack(_RETURN, 0, 0, action)
