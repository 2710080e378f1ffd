"""What a kernel does with SAs."""

import errno
from typing import Any

import pytest

from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.net import Address
from kamexfrm.rig import until
from kamexfrm.testing.conformance import refused
from kamexfrm.testing.conformance.differences import words
from kamexfrm.testing.conformance.samples import (
    A6,
    AH,
    ANY,
    B6,
    COMP,
    CRYPT,
    GCM,
    A,
    delete_state,
    hear,
    heard,
    must,
    new_state,
    refusals,
    selector,
    state,
    state_id,
    update_state,
)
from kamexfrm.translate.pfkey.register import NAMEABLE
from kamexfrm.translate.xfrm.probe import available, first_associations, probe
from kamexfrm.xfrm import (
    EMPTY_SELECTOR,
    XFRM_STATE_AF_UNSPEC,
    XFRM_STATE_ESN,
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_SA,
    Algorithm,
    AuthAlgorithm,
    DeletedState,
    Expire,
    LifetimeConfig,
    Operation,
    ReplayState,
    ReplayStateEsn,
    Selector,
    State,
    StateFlush,
    XfrmMsg,
    decode_event,
    decode_state,
    encode_state,
    encode_state_flush,
    has_keys,
    lasting_state,
    state_name,
)


def flush(protocol: int = 0) -> Operation:
    return Operation(XfrmMsg.FLUSHSA, encode_state_flush(protocol))


def timeless(of: State) -> State:
    return of._replace(current=of.current._replace(add_time=0))


WRITTEN: dict[str, State] = {
    "ESP": state(reqid=7, replay_window=32, lifetime=LifetimeConfig(1, 2, 3, 4, 50, 60, 70, 80)),
    "AH in tunnel mode": state(**AH, mode=1, flags=XFRM_STATE_AF_UNSPEC, selector=EMPTY_SELECTOR),
    "IPComp": state(**COMP),
    "AEAD": state(aead=GCM, authentication=None, encryption=None),
    "ESN": state(
        flags=XFRM_STATE_ESN, replay_esn=ReplayStateEsn((0, 0, 0), oseq=5, replay_window=96)
    ),
    "sel.user": state(selector=Selector(ANY, ANY, family=2, user=0x4B580001)),
    "replay numbers": state(replay=ReplayState(77, 55, 3), replay_window=32),
    "encryption alone": state(authentication=None),
    "IPv6": state(
        selector=selector(A6, B6, source_prefix=64), destination=B6, source=A6, family=10
    ),
}


def get(kernel: Kernel, wanted: State) -> Any:
    try:
        return kernel.state(state_id(wanted)).spi
    except KernelError as error:
        return errno.errorcode[error.errno]


def wanted(**fields: Any) -> State:
    return state(spi=0, authentication=None, encryption=None, **fields)


def allocate(kernel: Kernel, of: State, low: int, high: int) -> Any:
    try:
        return kernel.allocate_spi(of, low, high)
    except KernelError as error:
        return errno.errorcode[error.errno]


PROBES = [probe(row) for row in NAMEABLE]


class StateConformance:
    """What a kernel does with SAs; the fixture ``kernel`` gives an empty one."""

    @pytest.mark.parametrize("kind", WRITTEN)
    def test_a_state_comes_back_as_it_was_written(self, kernel: Kernel, kind: str) -> None:
        written = WRITTEN[kind]
        must(kernel, new_state(written))
        (found,) = kernel.states()
        kept = (
            written
            if written.replay or written.replay_esn
            else written._replace(replay=ReplayState())
        )
        assert timeless(found) == kept
        assert found.current.add_time > 1_500_000_000
        assert timeless(kernel.state(state_id(written))) == kept

    def test_a_selector_without_a_family_gets_the_states(self, kernel: Kernel) -> None:
        must(kernel, new_state(state(selector=EMPTY_SELECTOR)))
        assert [s.selector for s in kernel.states()] == [Selector(ANY, ANY, family=2)]

    def test_a_legacy_window_is_cut_to_32_packets(self, kernel: Kernel) -> None:
        must(kernel, new_state(state(replay_window=200)))
        assert [s.replay_window for s in kernel.states()] == [32]

    def test_a_truncation_that_is_not_said_is_the_algorithms(self, kernel: Kernel) -> None:
        must(
            kernel,
            new_state(state(authentication=AuthAlgorithm("hmac(sha256)", bytes(range(32)), 256))),
        )
        auth = next(iter(kernel.states())).authentication
        assert auth is not None
        assert auth.truncation_bits == 96

    def test_destination_spi_and_protocol_tell_states_apart(self, kernel: Kernel) -> None:
        kinds = [
            state(),
            state(spi=0x1001),
            state(**AH),
            state(destination=Address(2, b"\n\0\0\3")),
        ]
        must(kernel, *map(new_state, kinds))
        assert len(list(kernel.states())) == 4
        same = [state(source=Address(2, b"\n\0\0\x09")), state(reqid=4), state(mode=1)]
        assert refusals(kernel, *map(new_state, same)) == [(n, "EEXIST", "") for n in range(3)]
        assert len(list(kernel.states())) == 4

    def test_a_dump_is_newest_first_and_of_one_protocol_when_asked(self, kernel: Kernel) -> None:
        must(kernel, new_state(state()), new_state(state(**AH)), new_state(state(spi=0x2000)))
        assert [(s.protocol, s.spi) for s in kernel.states()] == [
            (50, 0x2000),
            (51, 0x1000),
            (50, 0x1000),
        ]
        assert [(s.protocol, s.spi) for s in kernel.states(51)] == [(51, 0x1000)]
        assert kernel.sad_info().states == 3

    @pytest.mark.parametrize("why", refused.STATES)
    def test_a_state_that_linux_refuses_is_refused_with_its_words(
        self, kernel: Kernel, why: str
    ) -> None:
        bad, number, reason = refused.STATES[why]
        assert refusals(kernel, new_state(bad)) == [(0, number, words(kernel, reason))]
        assert list(kernel.states()) == []

    def test_what_is_not_there_is_neither_found_nor_deleted_nor_updated(
        self, kernel: Kernel
    ) -> None:
        must(kernel, new_state(state()))
        for other in (state(spi=0x1001), state(**AH), state(destination=A)):
            assert get(kernel, other) == "ESRCH"
            assert refusals(kernel, delete_state(other)) == [(0, "ESRCH", "")]
            assert refusals(kernel, update_state(other)) == [(0, "ESRCH", "")]
        assert get(kernel, state(protocol=9)) == "EINVAL"
        assert refusals(kernel, delete_state(state(protocol=9))) == [(0, "EINVAL", "")]
        assert get(kernel, state()) == 0x1000

    def test_an_update_gives_a_mature_state_new_lifetimes_and_nothing_else(
        self, kernel: Kernel
    ) -> None:
        must(kernel, new_state(state()))
        (before,) = kernel.states()
        life = LifetimeConfig(hard_add=1000, soft_bytes=9)
        other = Algorithm("cbc(aes)", bytes(range(1, 17)), 128)
        user = Selector(ANY, ANY, family=2, user=7)
        must(
            kernel,
            update_state(
                state(
                    mode=1,
                    reqid=9,
                    replay_window=32,
                    encryption=other,
                    selector=user,
                    lifetime=life,
                )
            ),
        )
        (after,) = kernel.states()
        assert after == before._replace(lifetime=life)

    def test_a_deleted_state_is_gone(self, kernel: Kernel) -> None:
        must(kernel, new_state(state()), delete_state(state()))
        assert list(kernel.states()) == []
        assert refusals(kernel, delete_state(state())) == [(0, "ESRCH", "")]

    def test_a_flush_takes_one_protocol_or_all(self, kernel: Kernel) -> None:
        must(kernel, new_state(state()), new_state(state(**AH)), flush(51), flush(51))
        assert [s.protocol for s in kernel.states()] == [50]
        must(kernel, flush(), flush())
        assert list(kernel.states()) == []

    def test_an_allocated_spi_is_in_its_range_and_larval_without_keys(self, kernel: Kernel) -> None:
        larval = kernel.allocate_spi(wanted(reqid=5, mode=1), 0x3000, 0x30FF)
        assert 0x3000 <= larval.spi <= 0x30FF
        assert (larval.reqid, larval.mode, larval.protocol) == (5, 1, 50)
        assert (larval.authentication, larval.encryption, larval.aead) == (None, None, None)
        assert larval.lifetime.hard_add > 0
        assert [timeless(s) for s in kernel.states()] == [timeless(larval)]

    def test_no_spi_is_allocated_twice_or_out_of_reason(self, kernel: Kernel) -> None:
        assert allocate(kernel, wanted(), 0x2000, 0x2000).spi == 0x2000
        assert allocate(kernel, wanted(), 0x2000, 0x2000) == "ENOENT"
        assert allocate(kernel, wanted(), 5, 4) == "EINVAL"
        assert allocate(kernel, wanted(protocol=108), 0x10000, 0x10001) == "EINVAL"
        assert allocate(kernel, wanted(protocol=4), 1, 1) == "EINVAL"
        assert allocate(kernel, wanted(protocol=51), 0x2000, 0x2000).spi == 0x2000

    def test_an_allocation_is_told_to_nobody_and_its_update_with_keys_is(
        self, kernel: Kernel
    ) -> None:
        events = kernel.subscribe([XFRMNLGRP_SA])
        kernel.allocate_spi(wanted(), 0x2000, 0x2000)
        user = Selector(ANY, ANY, family=2, user=9)
        assert refusals(kernel, new_state(state(spi=0x2000))) == [(0, "EEXIST", "")]
        must(kernel, update_state(state(spi=0x2000, selector=user)))
        assert [e.type for e in heard(events, 1)] == [XfrmMsg.UPDSA]
        (found,) = kernel.states()
        assert (found.encryption, found.selector, found.lifetime) == (CRYPT, user, LifetimeConfig())
        events.close()

    def test_writes_and_deletions_are_told_with_the_whole_state(self, kernel: Kernel) -> None:
        events = kernel.subscribe([XFRMNLGRP_SA])
        must(kernel, new_state(state(replay=ReplayState(7, 0, 0))))
        (found,) = kernel.states()
        life = LifetimeConfig(hard_add=1000)
        must(kernel, update_state(state(lifetime=life)), delete_state(state()))
        told = [decode_event(e.type, e.payload) for e in heard(events, 3)]
        assert told[0] == found
        assert isinstance(told[1], State)
        assert told[1].lifetime == life
        assert told[2] == DeletedState(state_id(state()), found._replace(lifetime=life))
        events.close()

    def test_a_flush_of_states_is_told_when_it_took_something(self, kernel: Kernel) -> None:
        must(kernel, new_state(state()), new_state(state(**AH)))
        events = kernel.subscribe([XFRMNLGRP_SA])
        must(kernel, flush(51), flush(51), flush(), flush())
        told = [decode_event(e.type, e.payload) for e in heard(events, 2)]
        assert told == [StateFlush(51), StateFlush(0)]
        events.close()

    def test_a_state_ends_with_its_lifetime_and_that_is_told(self, kernel: Kernel) -> None:
        events = kernel.subscribe([XFRMNLGRP_EXPIRE])
        must(kernel, new_state(state(lifetime=LifetimeConfig(hard_add=1))))
        until(lambda: not list(kernel.states()), 10)
        told = [decode_event(e.type, e.payload) for e in hear(events, bool)]
        assert [(type(e), e.hard, e.state.spi) for e in told if isinstance(e, Expire)] == [
            (Expire, 1, 0x1000)
        ]
        events.close()

    def test_use_lifetimes_wait_for_the_first_use(self, kernel: Kernel) -> None:
        must(kernel, new_state(state(lifetime=LifetimeConfig(hard_use=1))))
        must(kernel, new_state(state(spi=0x2000, lifetime=LifetimeConfig(hard_add=2))))
        until(lambda: [s.spi for s in kernel.states()] == [0x1000], 10)

    def test_a_walk_and_a_raw_dump_of_states_show_what_a_dump_shows(self, kernel: Kernel) -> None:
        must(kernel, new_state(state(spi=0x101)), new_state(state(spi=0x102, **AH)))
        dumped = list(kernel.states())
        assert list(kernel.states(stream=True)) == dumped
        assert [found.spi for found in kernel.states(51, stream=True)] == [0x102]
        assert [decode_state(payload) for payload in kernel.raw_states()] == dumped

    def test_a_raw_state_tells_its_name_what_lasts_and_whether_it_has_keys(
        self, kernel: Kernel
    ) -> None:
        must(kernel, new_state(state(spi=0x101)))
        larval = kernel.allocate_spi(
            state(spi=0, authentication=None, encryption=None), 0x200, 0x200
        )
        by_spi = {decode_state(raw).spi: raw for raw in kernel.raw_states()}
        assert has_keys(by_spi[0x101])
        assert not has_keys(by_spi[larval.spi])
        raw = by_spi[0x101]
        assert state_name(raw)[16:] == bytes((0, 0, 1, 1, 50))
        found = decode_state(raw)
        used = encode_state(found._replace(current=found.current._replace(bytes=9), last_used=5))
        assert lasting_state(used) == lasting_state(encode_state(found))
        changed = encode_state(found._replace(reqid=found.reqid + 1))
        assert lasting_state(changed) != lasting_state(encode_state(found))

    def test_probing_for_algorithms_adds_nothing_and_tells_what_there_is(
        self, kernel: Kernel
    ) -> None:
        failures = kernel.apply(PROBES)
        assert [failure.position for failure in failures] == list(range(len(PROBES)))
        assert list(kernel.states()) == []
        there = available(NAMEABLE, [(f.position, f.error.errno) for f in failures])
        names = {row.name for row in there}
        assert {"hmac-sha1", "hmac-sha256", "aes-cbc", "null", "aes-gcm-16"} <= names
        unknown = NAMEABLE[0]._replace(kernel="nonsense")
        (failure,) = kernel.apply([probe(unknown)])
        assert failure.error.errno == errno.ENOSYS

    def test_asking_for_the_first_sas_of_all_adds_nothing(self, kernel: Kernel) -> None:
        wanted = first_associations()
        failures = kernel.apply(wanted)
        assert [failure.position for failure in failures] == list(range(len(wanted)))
        assert {failure.error.errno for failure in failures} == {errno.EINVAL}
        assert list(kernel.states()) == []
