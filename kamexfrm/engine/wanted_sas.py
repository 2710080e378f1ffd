"""The wanted SAs by their names; of many that were read at once, none is an object of its own."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from struct import iter_unpack
from typing import NamedTuple

from kamexfrm.engine.requests import Rejected, SaAdd, SaAddRun
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.association_run import AssociationRun
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import Mode
from kamexfrm.net import ADDRESS_BYTES
from kamexfrm.translate.xfrm.sa_defaults import with_sysctls
from kamexfrm.translate.xfrm.sa_form import OwnParts, SaForm, SaForms
from kamexfrm.translate.xfrm.sa_to_kernel import sa_to_kernel
from kamexfrm.xfrm import State, StateId

#: Whether a state is as a wanted one is, nothing of which has to be done.
IsUnchanged = Callable[[bytes, SaAdd, State], bool]


def state_id(state: State) -> StateId:
    """Return what the kernel finds a state by."""
    return StateId(state.destination, state.spi, state.protocol, state.family, mark=state.mark)


def wanted_state(association: SecurityAssociation, knobs: Knobs) -> State:
    """Return the state that an SA becomes, as a transport one for mode any."""
    association = with_sysctls(association, knobs)
    mode = Mode.TRANSPORT if association.mode is Mode.ANY else association.mode
    return sa_to_kernel(association, mode)


class WantedSa(NamedTuple):
    """A wanted SA, and the state that it becomes."""

    request: SaAdd
    state: State


class WantedSas:
    """Wanted SAs that are not found yet; ``rejected`` are those that Linux lacks.

    Each has a place among all: of a run, that of its first and its own in the run.
    """

    def __init__(self, requests: Sequence[SaAdd | SaAddRun], knobs: Knobs) -> None:
        self.rejected: list[Rejected] = []
        self._knobs = knobs
        self._forms = SaForms()
        self._singles: dict[StateId, tuple[int, WantedSa]] = {}
        self._runs: list[SaAddRun] = []
        self._starts: list[int] = []
        #: By protocol and family, the places of the SAs of runs by destination and SPI.
        self._places: dict[tuple[int, int], dict[bytes, int]] = {}
        self._verdicts: dict[tuple[SaForm, int], bool] = {}
        sizes = (1 if isinstance(each, SaAdd) else each.run.total for each in requests)
        for start, each in zip(accumulate(sizes, initial=0), requests, strict=False):
            if isinstance(each, SaAdd):
                self._add(start, each)
            elif self._is_possible(each.run):
                self._add_run(start, each)
            else:
                for at, request in enumerate(each.requests(), start):
                    self._add(at, request)

    def _add(self, place: int, request: SaAdd) -> None:
        try:
            state = wanted_state(request.association, self._knobs)
        except KamexfrmError as error:
            self.rejected.append(Rejected(request, error))
        else:
            self._singles[state_id(state)] = place, WantedSa(request, state)

    def _is_possible(self, run: AssociationRun) -> bool:
        try:
            return wanted_state(run.first, self._knobs).mark is None
        except KamexfrmError:
            return False

    def _add_run(self, start: int, request: SaAddRun) -> None:
        run = request.run
        family = run.first.destination.family
        self._runs.append(request)
        self._starts.append(start)
        places = self._places.setdefault((int(run.first.protocol), family), {})
        destinations = iter_unpack(f"{ADDRESS_BYTES[family]}s", run.destinations)
        spis = iter_unpack("4s", run.spis)
        names = zip(destinations, spis, range(start, start + run.total), strict=True)
        places.update((one + other, place) for (one,), (other,), place in names)

    def take_unchanged(self, payload: bytes, is_unchanged: IsUnchanged) -> bool:
        """Take out the one of a run that a state is as, and say whether there is one.

        ``is_unchanged`` is asked once for each form of states; it looks at what these share.
        """
        form = self._forms.find(payload) if self._runs else None
        if form is None:
            return False
        own = form.own(payload)
        places = self._places.get((form.protocol, form.family), {})
        place = places.get(own.destination + own.spi, -1)
        if place < 0:
            return False
        number = bisect_right(self._starts, place) - 1
        at = place - self._starts[number]
        if not _has_parts(self._runs[number].run, at, own):
            return False
        verdict = self._verdicts.get((form, number))
        if verdict is None:
            wanted = self._wanted(self._runs[number].request(at))
            verdict = self._verdicts[form, number] = is_unchanged(payload, *wanted)
        if verdict:
            del places[own.destination + own.spi]
        return verdict

    def pop(self, id: StateId) -> WantedSa | None:
        """Take out the one with a name; None where there is none."""
        single = self._singles.pop(id, None)
        if single is not None or id.mark is not None:
            return single and single[1]
        places = self._places.get((id.protocol, id.family), {})
        place = places.pop(id.destination.packed + id.spi.to_bytes(4, "big"), None)
        return None if place is None else self._wanted(self._request(place))

    def left(self) -> Iterator[SaAdd]:
        """Yield the requests of those that were not taken out, in order."""
        found = {place: wanted.request for place, wanted in self._singles.values()}
        in_runs = (place for places in self._places.values() for place in places.values())
        for place in sorted((*found, *in_runs)):
            yield found.get(place) or self._request(place)

    def _request(self, place: int) -> SaAdd:
        number = bisect_right(self._starts, place) - 1
        return self._runs[number].request(place - self._starts[number])

    def _wanted(self, request: SaAdd) -> WantedSa:
        return WantedSa(request, wanted_state(request.association, self._knobs))


def _has_parts(run: AssociationRun, at: int, own: OwnParts) -> bool:
    """Whether an SA of a run has a source and keys."""
    size, cipher, authenticator = len(own.source), len(own.cipher), len(own.authenticator)
    return (
        run.sources[at * size : (at + 1) * size] == own.source
        and run.ciphers[at * cipher : (at + 1) * cipher] == own.cipher
        and run.authenticators[at * authenticator : (at + 1) * authenticator] == own.authenticator
    )
