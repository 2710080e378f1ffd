"""Kernel events in the words of the model. Pure."""

from kamexfrm.model.association import SaId
from kamexfrm.model.event import (
    AcquireEvent,
    Change,
    Event,
    FlushEvent,
    KnobEvent,
    MappingEvent,
    OtherEvent,
    PolicyEvent,
    SaEvent,
)
from kamexfrm.model.knobs import KNOBS, Knobs
from kamexfrm.model.policy import IPSEC_PROTOCOLS, IpsecProtocol
from kamexfrm.translate.xfrm.marker import MARKER_ID, read_marker
from kamexfrm.translate.xfrm.policy_from_kernel import is_ordinary, spd_entry_from_kernel
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
from kamexfrm.translate.xfrm.sidecars import Sidecars, acquired_ends
from kamexfrm.xfrm import (
    XFRM_POLICY_FWD,
    XFRM_POLICY_TYPE_MAIN,
    XFRM_USERPOLICY_BLOCK,
    Acquire,
    AsyncEvent,
    Default,
    DeletedPolicy,
    DeletedState,
    Expire,
    Mapping,
    Migrate,
    Policy,
    PolicyExpire,
    PolicyFlush,
    State,
    StateFlush,
    XfrmMsg,
)
from kamexfrm.xfrm import Event as XfrmEvent

_UPDATES = (XfrmMsg.UPDSA, XfrmMsg.UPDPOLICY)


class EventReader:
    """Makes model events of kernel events, which it must get all and in order.

    ``policies`` is a dump taken after the subscription: the marker and the sidecars in it are what
    events about knobs and tunnels are held against.
    """

    def __init__(self, policies: "list[Policy]") -> None:
        self._sidecars = Sidecars(policies)
        self._knobs = Knobs()
        self._default: Default | None = None
        for policy in policies:
            if _is_marker(policy):
                self._knobs = read_marker(policy).knobs

    def read(self, type: int, event: XfrmEvent, now: float, pid: int = 0) -> list[Event]:
        """Return what an event of an XFRM_MSG_ type says, nothing for what is our own affair.

        ``now`` is in seconds since the epoch, ``pid`` is from the netlink header. Raises
        KamexfrmError for a marker that cannot be understood.
        """
        self._sidecars.apply_event(event)
        change = Change.UPDATED if type in _UPDATES else Change.ADDED
        match event:
            case State():
                return self._sa(change, event, now, pid)
            case DeletedState(_, state):
                return self._sa(Change.DELETED, state, now, pid)
            case Expire(state, hard):
                return self._sa(Change.EXPIRED if hard else Change.EXPIRING, state, now, 0)
            case Policy():
                return self._policy(change, event, pid)
            case DeletedPolicy(_, policy):
                return self._policy(Change.DELETED, policy, pid)
            case PolicyExpire(policy, hard):
                return self._policy(Change.EXPIRED if hard else Change.EXPIRING, policy, 0)
            case StateFlush(protocol):
                one = IpsecProtocol(protocol) if protocol in IPSEC_PROTOCOLS else None
                return [FlushEvent(False, one, pid)]
            case PolicyFlush(policy_type):
                if policy_type not in (None, XFRM_POLICY_TYPE_MAIN):
                    return []
                return [FlushEvent(True, None, pid), *self._set_knobs(Knobs(), pid)]
            case Acquire():
                return self._acquire(event)
            case Mapping(id, _, old, new, old_port, new_port):
                sa = SaId(id.destination, IpsecProtocol(id.protocol), id.spi)
                return [MappingEvent(sa, old, old_port, new, new_port)]
            case Migrate():
                return [OtherEvent("a policy and its SAs moved to other addresses", pid)]
            case Default():
                return self._default_changed(event, pid)
            case AsyncEvent():
                return []  # counters of an SA, for those that mirror its replay state
            case _:
                return [OtherEvent(f"a message of type {type:#x}", pid)]

    def _sa(self, change: Change, state: State, now: float, pid: int) -> list[Event]:
        if state.protocol not in IPSEC_PROTOCOLS:
            return []
        return [SaEvent(change, sad_entry_from_kernel(state, now), pid)]

    def _policy(self, change: Change, policy: Policy, pid: int) -> list[Event]:
        if _is_marker(policy):
            gone = change is Change.DELETED
            return self._set_knobs(Knobs() if gone else read_marker(policy).knobs, pid)
        if policy.policy_type != XFRM_POLICY_TYPE_MAIN or not is_ordinary(policy):
            return []
        return [PolicyEvent(change, spd_entry_from_kernel(policy, self._sidecars.of), pid)]

    def _acquire(self, acquire: Acquire) -> list[Event]:
        source, destination = acquired_ends(acquire, self._sidecars.of)
        entry = spd_entry_from_kernel(acquire.policy, self._sidecars.of)
        protocol = IpsecProtocol(acquire.protocol)
        return [AcquireEvent(protocol, source, destination, entry, acquire.sequence)]

    def _default_changed(self, default: Default, pid: int) -> list[Event]:
        """Report a default that is another one than last time: ours are sent to drop routes."""
        before, self._default = self._default, default
        if before in (None, default):
            return []
        blocked = [
            word for word, action in default._asdict().items() if action == XFRM_USERPOLICY_BLOCK
        ]
        return [
            OtherEvent(f"packets without a policy are blocked: {', '.join(blocked) or 'no'}", pid)
        ]

    def _set_knobs(self, knobs: Knobs, pid: int) -> list[Event]:
        before, self._knobs = self._knobs, knobs
        return [
            KnobEvent(knob.name, before.value(knob), knobs.value(knob), pid)
            for knob in KNOBS
            if before.value(knob) != knobs.value(knob)
        ]


def _is_marker(policy: Policy) -> bool:
    return policy.if_id == MARKER_ID.if_id and policy.direction == XFRM_POLICY_FWD
