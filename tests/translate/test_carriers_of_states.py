"""The field of an SA in which the kernel carries what KAME knows: it hands it back untouched."""

import pytest

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import Key, SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.sa_to_kernel import recreate, sa_to_kernel
from kamexfrm.translate.xfrm.tag import is_mode_any
from kamexfrm.xfrm import (
    Operation,
    ReplayState,
    State,
    StateId,
    XfrmMsg,
    encode_state,
    encode_state_id,
)

pytestmark = pytest.mark.dataplane

A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")


@pytest.fixture
def xfrm(real_kernel: Kernel) -> Kernel:
    return real_kernel


def association(spi: int = 0x1000) -> SecurityAssociation:
    cipher = Key(by_name(Kind.ENCRYPTION, "aes-cbc"), bytes(range(16)))
    digest = Key(by_name(Kind.AUTHENTICATION, "hmac-sha1"), bytes(range(20)))
    return SecurityAssociation(
        A, B, IpsecProtocol.ESP, spi, Mode.ANY, encryption=cipher, authentication=digest
    )


def write(xfrm: Kernel, state: State, how: int = XfrmMsg.NEWSA) -> None:
    assert xfrm.apply([Operation(how, encode_state(state))]) == []


def only(xfrm: Kernel) -> State:
    (state,) = xfrm.states()
    return state


@pytest.mark.parametrize("mode", [Mode.TRANSPORT, Mode.TUNNEL])
def test_the_user_of_an_sa_of_mode_any(xfrm: Kernel, mode: Mode) -> None:
    state = sa_to_kernel(association(), mode)
    assert is_mode_any(state.selector.user)
    write(xfrm, state)
    assert only(xfrm).selector == state.selector
    assert only(xfrm).mode == mode - 1


def test_the_user_comes_with_the_keys_of_a_larval_sa(xfrm: Kernel) -> None:
    state = sa_to_kernel(association(), Mode.TRANSPORT)
    larval = state._replace(spi=0, authentication=None, encryption=None)
    assert xfrm.allocate_spi(larval, 0x1000, 0x1000).spi == 0x1000
    write(xfrm, state, XfrmMsg.UPDSA)
    assert is_mode_any(only(xfrm).selector.user)


def test_the_user_is_kept_by_an_update_of_lifetimes(xfrm: Kernel) -> None:
    state = sa_to_kernel(association(), Mode.TRANSPORT)
    write(xfrm, state)
    longer = state.lifetime._replace(hard_add=1000)
    plain = state.selector._replace(user=0)
    write(xfrm, state._replace(lifetime=longer, selector=plain), XfrmMsg.UPDSA)
    assert (only(xfrm).selector, only(xfrm).lifetime) == (state.selector, longer)


def test_the_sequence_numbers_of_a_recreated_sa(xfrm: Kernel) -> None:
    numbers = ReplayState(oseq=1000, seq=77, bitmap=5)
    write(xfrm, sa_to_kernel(association(), Mode.TRANSPORT)._replace(replay=numbers))
    first = only(xfrm)
    assert first.replay == numbers
    name = StateId(B, 0x1000, 50, 2)
    assert xfrm.apply([Operation(XfrmMsg.DELSA, encode_state_id(name))]) == []
    again = recreate(first, 1, first.current.add_time)
    write(xfrm, again)
    assert (only(xfrm).replay, only(xfrm).mode) == (again.replay, 1)
    assert is_mode_any(only(xfrm).selector.user)


def test_a_tunnel_sa_for_any_inner_family(xfrm: Kernel) -> None:
    state = sa_to_kernel(association(), Mode.TUNNEL)
    write(xfrm, state)
    assert (only(xfrm).flags, only(xfrm).selector.family) == (state.flags, 0)
