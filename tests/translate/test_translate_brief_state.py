"""What choosing among SAs reads of dumped states, held against what decoding them gives."""

import pytest

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.model.association import Key, SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.brief_state import brief_states
from kamexfrm.translate.xfrm.numbers import is_narrow
from kamexfrm.translate.xfrm.sa_to_kernel import sa_to_kernel
from kamexfrm.xfrm import Mark, State, XfrmMsg, encode_state, make_run

CBC = Key(by_name(Kind.ENCRYPTION, "aes-cbc"), bytes(16))
SHA = Key(by_name(Kind.AUTHENTICATION, "hmac-sha1"), bytes(20))
V4 = SecurityAssociation(
    Address.parse("10.0.0.1"), Address.parse("10.0.0.2"), IpsecProtocol.ESP, 0x1000, encryption=CBC
)
V6 = V4._replace(source=Address.parse("::1"), destination=Address.parse("::2"), reqid=7)
PLAIN = sa_to_kernel(V4, Mode.TRANSPORT)
LARVAL = PLAIN._replace(encryption=None)
STATES = [
    PLAIN,
    sa_to_kernel(V6, Mode.TUNNEL),
    sa_to_kernel(V6._replace(mode=Mode.TUNNEL, authentication=SHA, esn=True), Mode.TUNNEL),
    PLAIN._replace(if_id=5, mark=Mark(1, 2), mode=4),
    LARVAL,
    LARVAL._replace(spi=0),
    *(
        PLAIN._replace(selector=selector)
        for selector in (
            PLAIN.selector._replace(destination_prefix=5),
            PLAIN.selector._replace(source_prefix=5),
            PLAIN.selector._replace(protocol=5),
            PLAIN.selector._replace(interface=5),
            PLAIN.selector._replace(destination_port_mask=5),
            PLAIN.selector._replace(source_port_mask=5),
        )
    ),
]


@pytest.mark.parametrize("states", [STATES, [PLAIN] * 3], ids=["mixed", "alike"])
def test_what_is_read_of_a_state_is_what_it_says(states: list[State]) -> None:
    payloads = list(map(encode_state, states))
    found = list(brief_states([make_run(XfrmMsg.NEWSA, payloads)]))
    assert [payload for _, payload in found] == payloads
    for (brief, _), state in zip(found, states, strict=True):
        assert brief == (
            *(state.selector.user, state.destination, state.protocol, state.source),
            *(state.reqid, state.mode, state.spi, state.spi != 0 and state.is_keyed),
            state.if_id,
            state.mark is not None or is_narrow(state.selector) or state.selector.interface != 0,
        )
