"""The filter, run by a machine of our own: which system calls it sends to the supervisor."""

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamexfrm.exec.filter import (
    RET_ALLOW,
    RET_ERRNO,
    RET_NOTIFY,
    UNTRAPPED,
    Barrier,
    assemble,
    rules,
)
from kamexfrm.exec.system import MACHINES, Machine

MACHINE = MACHINES["x86_64"]
ENOSYS = RET_ERRNO | errno.ENOSYS
PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT
SOMEWHERE = 0x7F00_0000_0000


def verdict(program: bytes, number: int, arguments: tuple[int, ...], audit: int) -> int:
    """Run a filter as linux/filter.h and seccomp(2) say, on the instructions that it may have."""
    padded = (*arguments, *([0] * (6 - len(arguments))))
    data = struct.pack("=iIQ6Q", number, audit, 0, *(a & 0xFFFFFFFFFFFFFFFF for a in padded))
    code = list(struct.iter_unpack("=HBBI", program))
    word = position = 0
    while True:
        operation, true, false, value = code[position]
        position += 1
        if operation == 0x20:
            (word,) = struct.unpack_from("=I", data, value)
        elif operation == 0x06:
            return int(value)
        else:
            met = {
                0x15: word == value,
                0x35: word >= value,
                0x45: word & value != 0,
            }[operation]
            position += true if met else false


def asked(
    number: int,
    *arguments: int,
    barrier: Barrier = Barrier.PEEK,
    policies: bool = False,
    machine: Machine = MACHINE,
    audit: int | None = None,
) -> int:
    found = rules(machine, barrier, policies=policies)
    program = assemble(machine, found, refuse_foreign=policies)
    return verdict(program, number, arguments, machine.audit if audit is None else audit)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("barrier", Barrier)
@pytest.mark.parametrize("policies", [False, True])
class TestAlways:
    def test_pf_key_sockets_are_sent_to_the_supervisor(
        self, machine: Machine, barrier: Barrier, policies: bool
    ) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        call = (machine.socket, 15, kind, 2)
        assert asked(*call, machine=machine, barrier=barrier, policies=policies) == RET_NOTIFY

    def test_the_upper_half_of_an_int_is_ignored(
        self, machine: Machine, barrier: Barrier, policies: bool
    ) -> None:
        call = (machine.socket, 0xFFFF_FFFF_0000_000F, 3, 2)
        assert asked(*call, machine=machine, barrier=barrier, policies=policies) == RET_NOTIFY

    def test_policies_of_sockets_are_sent_to_the_supervisor(
        self, machine: Machine, barrier: Barrier, policies: bool
    ) -> None:
        for level, option in ((0, 16), (41, 34)):
            call = (machine.setsockopt, 5, level, option, SOMEWHERE, 16)
            assert asked(*call, machine=machine, barrier=barrier, policies=policies) == RET_NOTIFY
        for level, option in ((0, 34), (41, 16), (0, 17), (41, 35), (1, 16)):
            call = (machine.setsockopt, 5, level, option, SOMEWHERE, 16)
            assert asked(*call, machine=machine, barrier=barrier, policies=policies) == RET_ALLOW


class TestBarriers:
    def receiving(self, flags: int, where: int = 0, barrier: Barrier = Barrier.PEEK) -> int:
        return asked(MACHINE.recvfrom, 3, SOMEWHERE, 16, flags, where, 0, barrier=barrier)

    @pytest.mark.parametrize("flags", [socket.MSG_PEEK, socket.MSG_DONTWAIT, PEEK])
    def test_peek_holds_a_receiver_that_does_not_wait(self, flags: int) -> None:
        assert self.receiving(flags) == RET_NOTIFY
        assert asked(MACHINE.recvmsg, 3, SOMEWHERE, flags) == RET_NOTIFY
        assert self.receiving(flags, barrier=Barrier.NONE) == RET_ALLOW
        assert asked(MACHINE.recvmsg, 3, SOMEWHERE, flags, barrier=Barrier.NONE) == RET_ALLOW

    def test_peek_holds_no_receiver_that_waits_or_wants_the_sender(self) -> None:
        assert self.receiving(0) == RET_ALLOW
        assert self.receiving(PEEK, SOMEWHERE) == RET_ALLOW
        assert self.receiving(PEEK, 1 << 32) == RET_ALLOW
        assert asked(MACHINE.recvmsg, 3, SOMEWHERE, 0) == RET_ALLOW

    def test_a_short_poll_of_one_descriptor_is_held(self) -> None:
        for barrier in (Barrier.PEEK, Barrier.STRICT):
            for time, held in ((0, True), (1, True), (9999, True), (10_000, False), (-1, False)):
                expected = RET_NOTIFY if held else RET_ALLOW
                assert asked(MACHINE.poll, SOMEWHERE, 1, time, barrier=barrier) == expected
            assert asked(MACHINE.poll, SOMEWHERE, 2, 1, barrier=barrier) == RET_ALLOW
        assert asked(MACHINE.poll, SOMEWHERE, 1, 1, barrier=Barrier.NONE) == RET_ALLOW

    def test_where_there_is_no_poll_but_ppoll_any_time_is_short(self) -> None:
        arm = MACHINES["aarch64"]
        for where in (8, 1 << 32, SOMEWHERE):
            assert asked(arm.ppoll, SOMEWHERE, 1, where, machine=arm) == RET_NOTIFY
        assert asked(arm.ppoll, SOMEWHERE, 1, 0, machine=arm) == RET_ALLOW
        assert asked(arm.ppoll, SOMEWHERE, 2, 8, machine=arm) == RET_ALLOW

    @pytest.mark.parametrize("barrier", Barrier)
    def test_only_peek_takes_receive_timeouts(self, barrier: Barrier) -> None:
        taken = RET_NOTIFY if barrier is Barrier.PEEK else RET_ALLOW
        for option, expected in ((20, taken), (21, RET_ALLOW), (8, RET_ALLOW)):
            call = (MACHINE.setsockopt, 3, 1, option, SOMEWHERE, 16)
            assert asked(*call, barrier=barrier) == expected

    def test_strict_holds_each_receiver(self) -> None:
        for flags in (0, socket.MSG_PEEK, socket.MSG_WAITALL):
            assert self.receiving(flags, barrier=Barrier.STRICT) == RET_NOTIFY
            call = (MACHINE.recvmsg, 3, SOMEWHERE, flags)
            assert asked(*call, barrier=Barrier.STRICT) == RET_NOTIFY

    def test_strict_holds_each_sender(self) -> None:
        strict = Barrier.STRICT
        for number in (MACHINE.write, MACHINE.writev, MACHINE.sendmsg, MACHINE.sendto):
            assert asked(number, 3, SOMEWHERE, 16, barrier=strict) == RET_NOTIFY
            assert asked(number, 3, SOMEWHERE, 16) == RET_ALLOW
        assert asked(MACHINE.sendto, 3, 1, 16, 0, SOMEWHERE, 16, barrier=strict) == RET_ALLOW

    def test_strict_does_not_hold_the_message_that_brings_the_listener(self) -> None:
        assert asked(MACHINE.sendmsg, 3, 1, UNTRAPPED, barrier=Barrier.STRICT) == RET_ALLOW


class TestPolicies:
    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
    def test_ip_sockets_are_made_by_the_supervisor(self, family: int) -> None:
        assert asked(MACHINE.socket, family, 1, 0, policies=True) == RET_NOTIFY
        assert asked(MACHINE.socket, family, 1, 0) == RET_ALLOW

    @given(st.integers(0, 60))
    def test_no_other_family_that_sends_ip_is_let_through(self, family: int) -> None:
        no_ip = {1, 16, 29, 31, 38, 40}
        found = asked(MACHINE.socket, family, 3, 0, policies=True)
        if family in no_ip:
            assert found == RET_ALLOW
        elif family in (2, 10, 15):
            assert found == RET_NOTIFY
        else:
            assert found == RET_ERRNO | errno.EAFNOSUPPORT

    @pytest.mark.parametrize("number", [425, 426, 427])
    def test_io_uring_is_refused_only_then(self, number: int) -> None:
        assert asked(number, 8, SOMEWHERE, policies=True) == ENOSYS
        assert asked(number, 8, SOMEWHERE) == RET_ALLOW

    def test_ipv6_sockets_are_kept_from_ipv4(self) -> None:
        call = (MACHINE.setsockopt, 3, 41, 26, SOMEWHERE, 4)
        assert asked(*call, policies=True) == RET_NOTIFY
        assert asked(*call) == RET_ALLOW

    @given(st.integers(0, 500))
    def test_other_architectures_are_refused_only_then(self, number: int) -> None:
        i386, x32 = 0x40000003, 0x40000000 | number
        assert asked(number, 15, 3, 2, audit=i386, policies=True) == ENOSYS
        assert asked(x32, 15, 3, 2, policies=True) == ENOSYS
        assert asked(number, 15, 3, 2, audit=i386) == RET_ALLOW
        assert asked(x32, 15, 3, 2) == RET_ALLOW


@given(st.integers(0, 500), st.tuples(*[st.integers(0, 2**64 - 1)] * 6))
def test_nothing_else_is_touched(number: int, arguments: tuple[int, ...]) -> None:
    ours = {MACHINE.socket, MACHINE.setsockopt, MACHINE.recvfrom, MACHINE.recvmsg}
    if number not in ours:
        assert asked(number, *arguments) == RET_ALLOW
