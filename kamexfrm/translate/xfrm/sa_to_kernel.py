"""SAs to the kernel: what its states get from KAME's model. Pure."""

import errno

from kamexfrm.algorithms import Algorithm, Kind
from kamexfrm.errors import KamexfrmError, invalid
from kamexfrm.model.association import (
    Key,
    Lifetime,
    LinuxParts,
    SaId,
    SecurityAssociation,
    SequenceNumbers,
)
from kamexfrm.model.policy import Direction, IpsecProtocol, Mode
from kamexfrm.net import AF_INET6, Address
from kamexfrm.translate.xfrm.numbers import (
    is_narrow,
    label_to_kernel,
    mode_to_kernel,
)
from kamexfrm.translate.xfrm.policy_name import mark_to_kernel, selector_to_kernel
from kamexfrm.translate.xfrm.sa_flags import sa_flags_to_kernel
from kamexfrm.translate.xfrm.tag import created_tag, read_created_tag, sa_user
from kamexfrm.xfrm import (
    UDP_ENCAP_ESPINUDP,
    XFRM_INF,
    XFRM_MODE_TUNNEL,
    XFRM_OFFLOAD_INBOUND,
    XFRM_OFFLOAD_IPV6,
    XFRM_STATE_AF_UNSPEC,
    XFRM_STATE_ESN,
    AeadAlgorithm,
    AuthAlgorithm,
    Encap,
    LifetimeConfig,
    OffloadDevice,
    ReplayState,
    ReplayStateEsn,
    State,
    StateId,
)
from kamexfrm.xfrm import Algorithm as XfrmAlgorithm
from kamexfrm.xfrm import Selector as XfrmSelector

#: The widest replay window that fits the fixed fields; wider ones need the ESN structure.
LEGACY_REPLAY_WINDOW_MAX = 32

#: The widest window the kernel takes, in packets: 128 words of 32 (XFRMA_REPLAY_ESN_MAX).
REPLAY_WINDOW_MAX = 4096


#: XFRM_SA_DIR_IN and XFRM_SA_DIR_OUT.
_SA_DIRECTIONS = {None: 0, Direction.IN: 1, Direction.OUT: 2}


def _lifetimes(hard: Lifetime, soft: Lifetime) -> LifetimeConfig:
    # To the kernel, 0 bytes means none at all: no limit is XFRM_INF. Seconds keep 0 for none.
    return LifetimeConfig(
        soft.bytes or XFRM_INF,
        hard.bytes or XFRM_INF,
        soft.allocations or XFRM_INF,
        hard.allocations or XFRM_INF,
        soft.addtime,
        hard.addtime,
        soft.usetime,
        hard.usetime,
    )


def kernel_name(algorithm: Algorithm) -> str:
    """Return the kernel's name; raises KamexfrmError (ENOSYS) where the kernel has none."""
    if not algorithm.kernel:
        raise invalid(f"Linux has no {algorithm.name}", errno.ENOSYS)
    return algorithm.kernel


def _authentication(key: Key) -> AuthAlgorithm | None:
    if key.algorithm is None:
        return AuthAlgorithm(key.kernel, key.material, len(key.material) * 8, key.icv_bits)
    bits = key.icv_bits or key.algorithm.icv_bits
    return AuthAlgorithm(kernel_name(key.algorithm), key.material, len(key.material) * 8, bits)


def _plain(key: Key) -> XfrmAlgorithm:
    name = kernel_name(key.algorithm) if key.algorithm else key.kernel
    return XfrmAlgorithm(name, key.material, len(key.material) * 8)


def _encryption(key: Key | None) -> tuple[XfrmAlgorithm | None, AeadAlgorithm | None]:
    if key is None:
        return None, None
    if key.algorithm is not None and key.algorithm.kind is Kind.AEAD:
        icv = key.icv_bits or key.algorithm.icv_bits
        name = kernel_name(key.algorithm)
        return None, AeadAlgorithm(name, key.material, len(key.material) * 8, icv)
    return _plain(key), None


def _replay(association: SecurityAssociation) -> tuple[int, ReplayStateEsn | None]:
    """Return the fixed field's window and, for wide ones and ESN, the extended structure."""
    window = association.replay_window
    if association.protocol is IpsecProtocol.IPCOMP and not association.esn:
        return min(window, LEGACY_REPLAY_WINDOW_MAX), None  # it has no sequence numbers to check
    if window > REPLAY_WINDOW_MAX:
        raise KamexfrmError(f"replay window {window} is over {REPLAY_WINDOW_MAX} packets")
    if window <= LEGACY_REPLAY_WINDOW_MAX and not association.esn:
        return window, None
    words = max(1, (window + 31) // 32)
    # The kernel rejects both at once: "ESN not compatible with legacy replay_window".
    return 0, ReplayStateEsn(
        (0,) * words, replay_window=max(window, 1) if association.esn else window
    )


def sa_to_kernel(
    association: SecurityAssociation, mode: Mode, *, by_program: bool = False
) -> State:
    """Return the kernel's state for an SA; ``mode`` is the one to install where ANY was asked.

    ``by_program`` is whether a program asks for it over PF_KEY.

    Raises KamexfrmError for what the kernel lacks (ENOSYS, EINVAL).
    """
    sa = association
    family = sa.destination.family
    window, replay_esn = _replay(sa)
    encryption, aead = _encryption(sa.encryption)
    nat = sa.nat_traversal
    encap = None
    if nat is not None:
        original = nat.original_address or Address.unspecified(family)
        encap = Encap(UDP_ENCAP_ESPINUDP, nat.source_port, nat.destination_port, original)
    state = State(
        selector=_selector(sa, mode, by_program=by_program),
        destination=sa.destination,
        spi=sa.spi,
        protocol=sa.protocol,
        source=sa.source,
        lifetime=_lifetimes(sa.hard, sa.soft),
        reqid=sa.reqid,
        family=family,
        mode=mode_to_kernel(mode),
        replay_window=window,
        flags=sa_flags_to_kernel(sa.flags, esn=sa.esn, tunnel=mode is Mode.TUNNEL),
        authentication=_authentication(sa.authentication) if sa.authentication else None,
        encryption=encryption,
        compression=_plain(sa.compression) if sa.compression else None,
        aead=aead,
        encap=encap,
        replay_esn=replay_esn,
        security_context=label_to_kernel(sa.label),
    )
    if sa.linux is None:
        return state
    numbers = sa.linux.numbers
    state = _with_linux_parts(state, sa.linux)
    return state if numbers is None else _with_numbers(state, numbers)


def _selector(sa: SecurityAssociation, mode: Mode, *, by_program: bool) -> XfrmSelector:
    """Return the packets that an SA is for: to the kernel, a tunnel of any has no family."""
    user = sa_user(sa.mode is Mode.ANY, by_program=by_program)
    linux = sa.linux
    if linux is not None and linux.selector is not None:
        selector = selector_to_kernel(linux.selector)
        return selector._replace(user=user, interface=linux.interface)
    interface = linux.interface if linux else 0
    return _any_packet(sa.destination.family, interface, user, tunnel=mode is Mode.TUNNEL)


def _any_packet(family: int, interface: int, user: int, *, tunnel: bool) -> XfrmSelector:
    if tunnel and not interface:
        family = 0
    anywhere = Address.unspecified(family) if family else Address(0, bytes(16))
    return XfrmSelector(anywhere, anywhere, family=family, user=user, interface=interface)


def _with_numbers(state: State, numbers: SequenceNumbers) -> State:
    """Return a state that goes on with numbers; raises KamexfrmError for too great ones."""
    sent, received, seen = numbers
    esn = state.replay_esn
    words = len(esn.bitmap) if esn else 1
    longest = 64 if esn and state.flags & XFRM_STATE_ESN else 32
    if max(sent, received) >> longest or seen >> 32 * words:
        raise invalid(f"numbers of {longest} bits and a bitmap of {32 * words}")
    if esn is None:
        return state._replace(replay=ReplayState(sent, received, seen))
    return state._replace(
        replay_esn=esn._replace(
            bitmap=tuple(seen >> 32 * at & _UINT32 for at in range(words)),
            oseq=sent & _UINT32,
            oseq_hi=sent >> 32,
            seq=received & _UINT32,
            seq_hi=received >> 32,
        )
    )


def numbers_of(state: State) -> SequenceNumbers | None:
    """Return where a state of the kernel goes on, None for the beginning."""
    esn, replay = state.replay_esn, state.replay
    if esn is not None:
        seen = sum(word << 32 * at for at, word in enumerate(esn.bitmap))
        found = SequenceNumbers(esn.oseq_hi << 32 | esn.oseq, esn.seq_hi << 32 | esn.seq, seen)
    elif replay is not None:
        found = SequenceNumbers(*replay)
    else:
        return None
    return found if any(found) else None


_UINT32 = 0xFFFFFFFF


def _with_linux_parts(state: State, linux: LinuxParts) -> State:
    offload = None
    if linux.offload:
        flags = XFRM_OFFLOAD_IPV6 if state.family == AF_INET6 else 0
        flags |= XFRM_OFFLOAD_INBOUND if linux.offload.inbound else 0
        offload = OffloadDevice(linux.offload.interface, flags)
    return state._replace(
        mark=mark_to_kernel(linux.mark),
        output_mark=mark_to_kernel(linux.output_mark),
        if_id=linux.if_id,
        direction=_SA_DIRECTIONS[linux.direction],
        offload=offload,
        nat_keepalive_interval=linux.nat_keepalive,
        pcpu=linux.processor,
    )


def sa_id_to_kernel(id: SaId) -> StateId:
    """Return the identity of an SA for the kernel."""
    mark = mark_to_kernel(id.mark)
    return StateId(id.destination, id.spi, id.protocol, id.destination.family, mark=mark)


#: How far the outgoing number of a recreated SA jumps: more packets than are sent between reading
#: and deleting it.
SEQUENCE_MARGIN = 4096


def replay_ahead(replay: ReplayState) -> ReplayState:
    """Return a replay state whose outgoing number has jumped ahead, if any was given out."""
    if not replay.oseq:
        return replay
    return replay._replace(oseq=min(replay.oseq + SEQUENCE_MARGIN, 0xFFFFFFFF))


def replay_esn_ahead(esn: ReplayStateEsn) -> ReplayStateEsn:
    """Return an extended replay state, likewise."""
    number = esn.oseq_hi << 32 | esn.oseq
    if not number:
        return esn
    high, low = divmod(min(number + SEQUENCE_MARGIN, (1 << 64) - 1), 1 << 32)
    return esn._replace(oseq=low, oseq_hi=high)


def recreate(state: State, mode: int, now: int) -> State:
    """Return a state's successor of another mode: same key, same numbers, same end of life.

    It carries the time when the first of them was added. In counter modes a number used twice
    breaks the key, so the outgoing number jumps ahead. ``now`` is in seconds since the epoch.
    """
    limits, spent = state.lifetime, state.current
    age = max(0, now - spent.add_time) if spent.add_time else 0
    used = max(0, now - spent.use_time) if spent.use_time else 0

    def left(limit: int, gone: int) -> int:
        return max(1, limit - gone) if limit and limit != XFRM_INF else limit

    tunnel = mode == XFRM_MODE_TUNNEL
    selector = state.selector
    if not is_narrow(selector):
        selector = _any_packet(state.family, selector.interface, selector.user, tunnel=tunnel)
    flags = state.flags & ~XFRM_STATE_AF_UNSPEC
    return state._replace(
        selector=selector,
        mode=mode,
        care_of_address=created_tag(
            read_created_tag(state.care_of_address, spent.add_time), state.family
        ),
        flags=flags | XFRM_STATE_AF_UNSPEC if tunnel else flags,
        lifetime=LifetimeConfig(
            left(limits.soft_bytes, spent.bytes),
            left(limits.hard_bytes, spent.bytes),
            left(limits.soft_packets, spent.packets),
            left(limits.hard_packets, spent.packets),
            left(limits.soft_add, age),
            left(limits.hard_add, age),
            left(limits.soft_use, used),
            left(limits.hard_use, used),
        ),
        replay=state.replay and replay_ahead(state.replay),
        replay_esn=state.replay_esn and replay_esn_ahead(state.replay_esn),
    )
