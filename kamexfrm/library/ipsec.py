"""IPsec of one network namespace: its SAs, policies and knobs."""

import os

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SaAdd, SaDelete, SpdAdd, SpdDelete, SpdDeleteId
from kamexfrm.errors import invalid
from kamexfrm.kernel.interface import Kernel
from kamexfrm.kernel.namespace import open_named
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.library.event_stream import Events
from kamexfrm.library.knobs import KnobAttributes
from kamexfrm.library.statements import named_policy, named_sa, requests_of
from kamexfrm.model.association import SadEntry, SaId, SecurityAssociation
from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.decision import Decision
from kamexfrm.model.packet import Packet, SocketPolicies
from kamexfrm.model.policy import SecurityPolicy, SpdEntry
from kamexfrm.operator.saving import moment, saved, write_whole
from kamexfrm.setkey.statements import SpdGetId

Entry = SecurityAssociation | SecurityPolicy | SadEntry | SpdEntry


class Ipsec:
    """The SAs, policies and knobs of a network namespace, which ``kamexfrm.open()`` gives.

    SAs and policies are given as objects, or as text in setkey's statements. Each call is carried
    out before it returns. Raises LanguageError for a mistake in a text, KernelError for what the
    kernel refuses (EPERM: CAP_NET_ADMIN is needed), and KamexfrmError for what is refused before.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._engine = Engine(kernel)
        self.knobs = KnobAttributes(self._engine)

    def __enter__(self) -> "Ipsec":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is open; the kernel keeps all that was written."""
        self._kernel.close()

    def add(self, entry: Entry | str) -> None:
        """Add an SA or a policy, or all of a text's; EEXIST where it is there already."""
        self._write(entry, replace=False)

    def update(self, entry: Entry | str) -> None:
        """Replace a policy in place, or update an SA; a policy that is not there is added."""
        self._write(entry, replace=True)

    def _write(self, entry: Entry | str, *, replace: bool) -> None:
        match entry:
            case str():
                for request in requests_of(entry):
                    if replace and isinstance(request, SaAdd | SpdAdd):
                        request = request._replace(replace=True)  # noqa: PLW2901
                    self._engine.submit(request)
            case SecurityAssociation() | SadEntry():
                sa = entry if isinstance(entry, SecurityAssociation) else entry.association
                self._engine.submit(SaAdd(sa, replace))
            case SecurityPolicy() | SpdEntry():
                policy = entry if isinstance(entry, SecurityPolicy) else entry.policy
                self._engine.submit(SpdAdd(policy, replace=replace))
            case _:
                raise invalid(f"neither an SA nor a policy: {type(entry).__name__}")
        self._engine.flush()

    def delete(self, entry: Entry | SaId | int | str) -> None:
        """Delete an SA or a policy: what was listed, an SaId, a policy's id, or a text's.

        Raises KernelError (ENOENT, ESRCH) where there is none.
        """
        match entry:
            case str():
                for request in requests_of(entry):
                    self._engine.submit(request)
            case SaId():
                self._engine.submit(SaDelete(entry))
            case SecurityAssociation():
                self._engine.submit(SaDelete(entry.id))
            case SadEntry():
                self._engine.submit(SaDelete(entry.association.id))
            case SecurityPolicy():
                self._engine.submit(SpdDelete(entry.selector, entry.direction, label=entry.label))
            case SpdEntry():
                self._engine.submit(SpdDeleteId(entry.id))
            case int():
                self._engine.submit(SpdDeleteId(entry))
            case _:
                raise invalid(f"neither an SA nor a policy: {type(entry).__name__}")
        self._engine.flush()

    def run(self, text: str) -> None:
        """Carry out a setkey script that writes; it ends at the first statement that is refused."""
        self._write(text, replace=False)

    def sas(self) -> list[SadEntry]:
        """Return all SAs, in the order of setkey -D."""
        return list(self._engine.sad())

    def policies(self, *, sockets: bool = False, twins: bool = False) -> list[SpdEntry]:
        """Return all policies in the order in which they match.

        Those of ``sockets`` and automatic fwd ``twins`` are left out unless they are asked for.
        """
        found = [
            entry
            for entry in self._engine.spd()
            if (sockets or not entry.socket) and (twins or not entry.twin)
        ]
        return sorted(found, key=lambda entry: (not entry.socket, entry.kernel_priority))

    def get_sa(self, sa: SaId | SecurityAssociation | str) -> SadEntry:
        """Return one SA; raises KernelError (ESRCH) where there is none.

        As text it is what stands after setkey's ``get``: ``10.0.0.1 10.0.0.2 esp 0x1000``.
        """
        if isinstance(sa, str):
            return self._engine.sa(named_sa(sa))
        return self._engine.sa(sa if isinstance(sa, SaId) else sa.id)

    def get_policy(self, policy: SecurityPolicy | int | str) -> SpdEntry:
        """Return one policy, by its selector and direction or by its id.

        As text it is what stands after setkey's ``spdget``: ``10.0.0.1 10.0.0.2 any -P out``, or
        ``spid=9``. Raises KernelError (ENOENT).
        """
        if isinstance(policy, int):
            return self._engine.spd_entry_by_id(policy)
        named = named_policy(policy) if isinstance(policy, str) else policy
        if isinstance(named, SpdGetId):
            return self._engine.spd_entry_by_id(named.id)
        return self._engine.spd_entry(named.selector, named.direction, named.label)

    def save(self, path: str, *, keys: bool = True, replay: bool = False) -> list[str]:
        """Write SAs and policies to a file that setkey loads; return what it cannot say.

        As ``kamexfrm save``: the file has mode 0600 and is never there in part. Without ``keys``
        SAs are comments; ``replay`` saves sequence numbers and replay windows too. Raises
        KamexfrmError where the file cannot be written.
        """
        missing: list[str] = []
        lines = saved(self._kernel, moment(), keys=keys, replay=replay, warn=missing.append)
        write_whole(path, lines, 0o600)
        return missing

    def explain(self, packet: Packet, socket: SocketPolicies | None = None) -> Decision:
        """Return what KAME does with a packet under the SAs, policies and knobs of now, and why."""
        spd = Spd.of(self.policies())
        return decide(packet, spd, self.sas()[::-1], self._engine.knobs(), socket)

    def events(self) -> Events:
        """Return what happens from now on, for ``for`` and ``async for``."""
        return Events(self._kernel)


class _Elsewhere(NetlinkKernel):
    """The kernel of another namespace, whose descriptor it keeps open."""

    def __init__(self, netns: str) -> None:
        self._descriptor = open_named(netns)
        super().__init__(self._descriptor)

    def close(self) -> None:
        """Close the socket and the descriptor."""
        super().close()
        os.close(self._descriptor)


def open(netns: str | None = None) -> Ipsec:
    """Return the IPsec of this network namespace, or of another one; a context manager.

    ``netns`` is one of ip-netns(8)'s names, a path such as /proc/PID/ns/net, or the number of a
    process. Raises KernelError (ENOENT where there is no such namespace, EPERM).

    ::

        with kamexfrm.open() as ipsec:
            ipsec.add("spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;")
            for policy in ipsec.policies():
                print(policy)
    """
    return Ipsec(NetlinkKernel() if netns is None else _Elsewhere(netns))
