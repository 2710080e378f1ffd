"""A SAD in memory that accepts, refuses and answers as Linux does (net/xfrm/xfrm_user.c).

Refusals and texts were observed on 6.1. Differs from the kernel: no helper state appears beneath an
IPComp tunnel, and no packet ever counts.
"""

import errno
from collections.abc import Iterator

from kamexfrm.algorithms import Kind, by_kernel_name
from kamexfrm.errors import KernelError
from kamexfrm.kernel import larval
from kamexfrm.kernel.fake_spd import check_prefixes, invalid
from kamexfrm.net import (
    ADDRESS_BITS,
    AF_INET,
    AF_INET6,
    IPPROTO_AH,
    IPPROTO_COMP,
    IPPROTO_ESP,
    Address,
)
from kamexfrm.xfrm import (
    TCP_ENCAP_ESPINTCP,
    UDP_ENCAP_ESPINUDP,
    UDP_ENCAP_ESPINUDP_NON_IKE,
    XFRM_MODE_BEET,
    XFRM_MODE_IPTFS,
    XFRM_MODE_TRANSPORT,
    XFRM_MODE_TUNNEL,
    XFRM_STATE_AF_UNSPEC,
    XFRM_STATE_ESN,
    AsyncEvent,
    LifetimeConfig,
    LifetimeCurrent,
    ReplayState,
    SadInfo,
    Selector,
    State,
    StateId,
    Statistics,
)

#: Protocols whose states are found by SPI.
_BY_SPI = (IPPROTO_ESP, IPPROTO_AH, IPPROTO_COMP)

#: Stands for these in a flush (Linux include/net/xfrm.h xfrm_id_proto_match()).
_IPSEC_PROTO_ANY = 255

_ENCAPS = (UDP_ENCAP_ESPINUDP_NON_IKE, UDP_ENCAP_ESPINUDP, TCP_ENCAP_ESPINTCP)

#: The legacy replay window ends here, in packets.
_WINDOW_MAX = 32

#: Destination, SPI, protocol, family.
Key = tuple[Address, int, int, int]


def _check_algorithms(state: State) -> None:
    """Refuse algorithms that do not go with the protocol (verify_newsa_info())."""
    auth, crypt, comp, aead = (
        state.authentication,
        state.encryption,
        state.compression,
        state.aead,
    )
    if state.protocol == IPPROTO_AH:
        if not auth:
            invalid("Missing required attribute for AH: AUTH_TRUNC or AUTH")
        if aead or crypt or comp or state.tfc_pad:
            invalid("Invalid attributes for AH: AEAD, CRYPT, COMP, TFCPAD")
    elif state.protocol == IPPROTO_ESP:
        if comp:
            invalid("Invalid attribute for ESP: COMP")
        if not (auth or crypt or aead):
            invalid(
                "Missing required attribute for ESP: at least one of AUTH, AUTH_TRUNC, CRYPT, AEAD"
            )
        if aead and (auth or crypt):
            invalid(
                "Invalid attribute combination for ESP: AEAD can't be used with AUTH, "
                "AUTH_TRUNC, CRYPT"
            )
    elif state.protocol == IPPROTO_COMP:
        if not comp:
            invalid("Missing required attribute for COMP: COMP")
        if aead or auth or crypt or state.tfc_pad:
            invalid("Invalid attributes for COMP: AEAD, AUTH, AUTH_TRUNC, CRYPT, TFCPAD")
        if state.spi >= 0x10000:
            invalid("SPI is too large for COMP (must be < 0x10000)")
    else:
        invalid("Unsupported protocol")


def _check_replay(state: State) -> None:
    esn = state.replay_esn
    if state.flags & XFRM_STATE_ESN and not esn:
        invalid("Missing required attribute for ESN")
    if not esn:
        return
    if state.protocol not in (IPPROTO_ESP, IPPROTO_AH):
        invalid("ESN only supported for ESP and AH")
    if state.replay_window:
        invalid("ESN not compatible with legacy replay_window")
    if esn.replay_window > len(esn.bitmap) * 32:
        invalid("ESN replay window is too large for the chosen bitmap size")
    if state.flags & XFRM_STATE_ESN and not esn.replay_window:
        invalid("ESN replay window must be > 0")


def _find_algorithms(state: State) -> State:
    """Return a state with its ICV length filled in; raises KernelError (ENOSYS, EINVAL)."""
    for kind, attribute, given in (
        (Kind.AEAD, "AEAD", state.aead),
        (Kind.AUTHENTICATION, "AUTH_TRUNC", state.authentication),
        (Kind.ENCRYPTION, "CRYPT", state.encryption),
        (Kind.COMPRESSION, "COMP", state.compression),
    ):
        if given is None:
            continue
        row = by_kernel_name(kind, given.name)
        if row is None:
            raise KernelError(errno.ENOSYS, f"Requested {attribute} algorithm not found")
        if given.bits not in row.key_sizes:
            raise KernelError(errno.EINVAL)
    auth = state.authentication
    if auth is None:
        return state
    row = by_kernel_name(Kind.AUTHENTICATION, auth.name)
    bits = auth.truncation_bits or (row.icv_bits if row else 0)
    return state._replace(authentication=auth._replace(truncation_bits=bits))


def check_state(state: State) -> State:
    """Return a state as the kernel keeps it; raises KernelError (verify_newsa_info())."""
    if state.family not in (AF_INET, AF_INET6):
        invalid("Invalid address family")
    if state.selector.family not in (0, AF_INET, AF_INET6):
        invalid("Invalid address family in selector")
    check_prefixes(state.selector)
    _check_algorithms(state)
    _check_replay(state)
    if state.mode > XFRM_MODE_IPTFS:
        invalid("Unsupported mode")
    state = _find_algorithms(state)
    if state.mode not in (XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, XFRM_MODE_BEET):
        raise KernelError(errno.EPROTONOSUPPORT, "Requested mode not found")
    if state.protocol == IPPROTO_ESP and not (state.aead or state.encryption):
        invalid("ESP: AEAD or CRYPT must be provided")
    if state.encap:
        if state.protocol != IPPROTO_ESP:
            name = "AH" if state.protocol == IPPROTO_AH else "IPComp"
            invalid(f"{name} is not compatible with encapsulation")
        if state.encap.type not in _ENCAPS:
            invalid("Unsupported encapsulation type for ESP")
    selector = state.selector
    if not selector.family and not state.flags & XFRM_STATE_AF_UNSPEC:
        selector = _of_family(selector, state.family)
    if state.mode == XFRM_MODE_TRANSPORT and selector.family not in (0, state.family):
        raise KernelError(
            errno.EPROTONOSUPPORT, "Only tunnel modes can accommodate a change of family"
        )
    return state._replace(
        selector=selector,
        replay=None if state.replay_esn else state.replay or ReplayState(),
        replay_window=min(state.replay_window, _WINDOW_MAX),
        statistics=Statistics(),
        last_used=0,
    )


def _of_family(selector: Selector, family: int) -> Selector:
    size = ADDRESS_BITS[family] // 8
    return selector._replace(
        family=family,
        destination=Address(family, selector.destination.packed[:size]),
        source=Address(family, selector.source.packed[:size]),
    )


class FakeSad:
    """The states, oldest first: a dump reads them backwards.

    ``larval_lifetime`` is how long a new state waits for its keys, in seconds.
    """

    def __init__(self) -> None:
        self.larval_lifetime = larval.START
        self._states: dict[Key, State] = {}

    @staticmethod
    def _key(state: State) -> Key:
        return (state.destination, state.spi, state.protocol, state.family)

    def dump(self, protocol: int) -> Iterator[State]:
        """Return the states of a protocol or all (0), the newest first."""
        states = list(reversed(self._states.values()))
        return (s for s in states if not protocol or s.protocol == protocol)

    def add(self, state: State, now: int) -> State:
        """Add a state and return what is kept; raises KernelError."""
        state = check_state(state)._replace(current=LifetimeCurrent(add_time=now))
        if self._key(state) in self._states:
            raise KernelError(errno.EEXIST)
        self._states[self._key(state)] = state
        return state

    def update(self, state: State, now: int) -> State:
        """Give a larval state its keys, or a mature one its lifetimes and an interface's id.

        Returns the state of the event: as it was asked for. Raises KernelError (ESRCH).
        """
        asked = check_state(state)._replace(current=LifetimeCurrent(add_time=now))
        key = self._key(asked)
        old = self._states.get(key)
        if old is None:
            raise KernelError(errno.ESRCH)
        if old.is_keyed:
            self._states[key] = old._replace(
                lifetime=asked.lifetime, if_id=asked.if_id or old.if_id
            )
        else:
            del self._states[key]
            self._states[key] = asked
        return asked

    def change_counters(self, event: AsyncEvent) -> None:
        """Set the numbers and the use of a mature state (NEWAE); raises KernelError (ESRCH)."""
        there = self.find(event.id)
        if not there.is_keyed:
            raise KernelError(errno.EINVAL)
        self.change(
            there._replace(
                current=event.lifetime or there.current,
                replay=event.replay or there.replay,
                replay_esn=event.replay_esn or there.replay_esn,
            )
        )

    def find(self, id: StateId) -> State:
        """Return a state; raises KernelError (ESRCH; EINVAL for what is not found by SPI)."""
        if id.protocol not in _BY_SPI:
            raise KernelError(errno.EINVAL)
        state = self._states.get((id.destination, id.spi, id.protocol, id.family))
        if state is None:
            raise KernelError(errno.ESRCH)
        return state

    def delete(self, id: StateId) -> State:
        """Delete a state and return what it was; raises KernelError."""
        state = self.find(id)
        del self._states[self._key(state)]
        return state

    def flush(self, protocol: int) -> bool:
        """Delete states of a protocol, of IPsec (255) or all (0); return whether there were any."""
        wanted = _BY_SPI if protocol == _IPSEC_PROTO_ANY else (protocol,)
        doomed = [s for s in self._states.values() if not protocol or s.protocol in wanted]
        for state in doomed:
            del self._states[self._key(state)]
        return bool(doomed)

    def allocate(self, wanted: State, minimum: int, maximum: int, now: int) -> State:
        """Make a larval state with a free SPI; raises KernelError (EINVAL, ENOENT)."""
        if wanted.protocol not in _BY_SPI or minimum > maximum:
            raise KernelError(errno.EINVAL)
        if wanted.protocol == IPPROTO_COMP and maximum > 0xFFFF:
            raise KernelError(errno.EINVAL)
        free = (
            spi
            for spi in range(max(minimum, 1), maximum + 1)
            if (wanted.destination, spi, wanted.protocol, wanted.family) not in self._states
        )
        spi = next(free, None)
        if spi is None:
            raise KernelError(errno.ENOENT)
        bits = ADDRESS_BITS[wanted.family]
        made = State(
            selector=Selector(
                Address(0, wanted.destination.packed.ljust(16, b"\0")),
                Address(0, wanted.source.packed.ljust(16, b"\0")),
                destination_prefix=bits,
                source_prefix=bits,
            ),
            destination=wanted.destination,
            spi=spi,
            protocol=wanted.protocol,
            source=wanted.source,
            lifetime=LifetimeConfig(hard_add=self.larval_lifetime),
            current=LifetimeCurrent(add_time=now),
            reqid=wanted.reqid,
            family=wanted.family,
            mode=wanted.mode,
            replay=ReplayState(),
            if_id=wanted.if_id,
        )
        self._states[self._key(made)] = made
        return made

    def expire(self, now: int) -> list[State]:
        """Delete and return those whose time is over (xfrm_timer_handler())."""
        over = [state for state in self._states.values() if _is_over(state, now)]
        for state in over:
            del self._states[self._key(state)]
        return over

    def change(self, state: State) -> None:
        """Put a state in the place of the one with its name, as traffic would change it."""
        self._states[self._key(state)] = state

    def info(self) -> SadInfo:
        """Return how many there are."""
        return SadInfo(len(self._states))


def _is_over(state: State, now: int) -> bool:
    limits, current = state.lifetime, state.current
    return bool(
        (limits.hard_add and current.add_time + limits.hard_add <= now)
        or (limits.hard_use and current.use_time and current.use_time + limits.hard_use <= now)
    )
