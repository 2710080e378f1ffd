"""The engine's write requests, and its answers to them.

``cookie`` is the caller's own, such as setkey's statement; it comes back untouched in an answer.
"""

from __future__ import annotations

from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import XFRM_MAX_DEPTH

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kamexfrm.model.association import SaId, SecurityAssociation
    from kamexfrm.model.association_run import AssociationRun
    from kamexfrm.model.knobs import Knob
    from kamexfrm.model.policy import (
        Direction,
        IpsecProtocol,
        SecurityContext,
        SecurityPolicy,
        Selector,
    )
    from kamexfrm.model.policy_run import PolicyRun
    from kamexfrm.net import Address
    from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel
    from kamexfrm.translate.xfrm.sa_lookup import Unserved

#: The most requests that the kernel takes (XFRM_MAX_DEPTH), and the most that act: it drops every
#: packet that meets a policy of more (xfrm_policy.c xfrm_tmpl_resolve(), __xfrm_policy_check()).
MAX_REQUESTS = XFRM_MAX_DEPTH
MAX_ACTING = XFRM_MAX_DEPTH - 1


class SpdAdd(NamedTuple):
    """Add a policy (KAME key_spdadd()); ``replace`` for SPDUPDATE, ``twin`` for a fwd twin."""

    policy: SecurityPolicy
    twin: bool = True
    replace: bool = False
    cookie: object = None


class SpdAddRun(NamedTuple):
    """Add many policies in order, each as an SpdAdd does.

    ``cookie`` returns that of each one, by its place in the run. It is asked for those that are
    rejected or that need care. In a part of a run, ``places`` are those in the whole.
    """

    run: PolicyRun
    twin: bool
    cookie: Callable[[int], object]
    places: Sequence[int] = ()

    def place(self, at: int) -> int:
        """Return the place of a policy in the whole run."""
        return self.places[at] if self.places else at

    def request(self, at: int) -> SpdAdd:
        """Return the request of one policy."""
        return SpdAdd(self.run.policy(at), self.twin, cookie=self.cookie(self.place(at)))

    def requests(self) -> Iterator[SpdAdd]:
        """Yield the requests of all policies."""
        for at, policy in enumerate(self.run.policies()):
            yield SpdAdd(policy, self.twin, cookie=self.cookie(self.place(at)))


class SpdDelete(NamedTuple):
    """Delete the policy with exactly this selector, and its fwd twin if ``twin``.

    ``all_fwd`` is for the fwd policy of an in one that another program wrote, too.
    """

    selector: Selector
    direction: Direction
    twin: bool = True
    cookie: object = None
    label: SecurityContext | None = None
    all_fwd: bool = False


class SpdDeleteId(NamedTuple):
    """Delete a policy by its id, and its fwd twin; ``all_fwd`` is that of SpdDelete."""

    id: int
    cookie: object = None
    all_fwd: bool = False


class SpdFlush(NamedTuple):
    """Delete all policies, foreign ones too; knobs and def_policy stay."""

    cookie: object = None


class SaAdd(NamedTuple):
    """Add an SA, or update one (``replace``).

    ``sequence`` is that of the ACQUIRE that this answers: the larval SA that it left goes.
    ``by_program`` is whether a program asks for it over PF_KEY, to whom it then belongs.
    """

    association: SecurityAssociation
    replace: bool = False
    cookie: object = None
    sequence: int = 0
    by_program: bool = False


class SaAddRun(NamedTuple):
    """Add many SAs in order, each as an SaAdd does; ``cookie`` is as in SpdAddRun."""

    run: AssociationRun
    cookie: Callable[[int], object]

    def place(self, at: int) -> int:
        """Return the place of an SA in the whole run."""
        return at

    def request(self, at: int) -> SaAdd:
        """Return the request of one SA."""
        return SaAdd(self.run.association(at), cookie=self.cookie(at))

    def requests(self) -> Iterator[SaAdd]:
        """Yield the requests of all SAs."""
        return map(self.request, range(self.run.total))


class SaDelete(NamedTuple):
    """Delete one SA."""

    id: SaId
    cookie: object = None


class SaDeleteAll(NamedTuple):
    """Delete all SAs between two addresses, of one protocol or of all (None)."""

    source: Address
    destination: Address
    protocol: IpsecProtocol | None = None
    cookie: object = None


class SaFlush(NamedTuple):
    """Delete all SAs of one protocol or of all (None)."""

    protocol: IpsecProtocol | None = None
    cookie: object = None


class SetKnob(NamedTuple):
    """Write a knob; entries of level default are rewritten at once."""

    knob: Knob
    value: int
    cookie: object = None


class InterfaceAdd(NamedTuple):
    """Write the policies of an XFRM interface, and give it the SAs of its reqid.

    ``replace`` writes over those that are there, with other ends or where some are missing.
    """

    tunnel: InterfaceTunnel
    replace: bool = False
    cookie: object = None


class InterfaceDelete(NamedTuple):
    """Delete the policies of the XFRM interface of a number; its SAs become ordinary ones."""

    number: int
    cookie: object = None


Write = (
    SpdAdd
    | SpdDelete
    | SpdDeleteId
    | SpdFlush
    | SaAdd
    | SaDelete
    | SaDeleteAll
    | SaFlush
    | SetKnob
    | InterfaceAdd
    | InterfaceDelete
)

#: Many writes at once.
WriteRun = SpdAddRun | SaAddRun


class Rejected(NamedTuple):
    """A write that did not happen, and why; nothing of it is left in the kernel."""

    request: Write
    error: KamexfrmError


class Written(NamedTuple):
    """What came of a run of writes.

    ``rejected`` are in the order of the requests. ``resynced`` is whether both databases were read
    to reconcile what depends on them. ``lock_holder`` is the process that kept the namespace's lock
    past its deadline, so that we wrote without it; empty for none. ``unserved`` is what policies
    for many pairs of hosts leave without an SA, as far as it was looked for.
    """

    rejected: tuple[Rejected, ...] = ()
    resynced: bool = False
    lock_holder: str = ""
    unserved: tuple[Unserved, ...] = ()

    def raise_first(self) -> None:
        """Raise the error of the first rejected request, if there is one."""
        if self.rejected:
            raise self.rejected[0].error


class IncompleteWrite(KernelError):
    """What ended a run of writes before its end; ``rejected`` are the requests rejected by then."""

    def __init__(self, error: KernelError, rejected: tuple[Rejected, ...]) -> None:
        super().__init__(error.errno, error.reason)
        self.rejected = rejected
