"""Reqids for `unique` requests that were written without one: the next that is not in use."""

from collections.abc import Callable, Iterable

from kamexfrm.model.policy import IpsecRequest, Level
from kamexfrm.translate.xfrm.marker import FIRST_GENERATED_REQID, Marker
from kamexfrm.translate.xfrm.policy_to_kernel import TRIGGER_REQID


def _after(reqid: int) -> int:
    """Return the next reqid that may be generated; after the last one comes the first."""
    return (
        reqid + 1 if FIRST_GENERATED_REQID <= reqid + 1 < TRIGGER_REQID else FIRST_GENERATED_REQID
    )


class Reqids:
    """Gives out reqids from 16384 up, each once.

    ``used`` are the ones in use, None where they were not read yet; ``read`` reads them from the
    kernel, before the first reqid is given out.
    """

    def __init__(self, marker: Marker, used: set[int] | None, read: Callable[[], set[int]]) -> None:
        self.used = used
        self._read = read
        self._last = marker.reqid

    def with_last(self, marker: Marker) -> Marker:
        """Return a marker with the last generated reqid as it is now."""
        return marker._replace(reqid=self._last)

    def claim(self, reqids: Iterable[int]) -> None:
        """Add reqids that a request was written with: they are not to be generated."""
        if self.used is not None:
            self.used.update(reqids)

    def assign_reqids(self, requests: tuple[IpsecRequest, ...]) -> tuple[IpsecRequest, ...]:
        """Give each `unique` request without a reqid one of its own."""
        self.claim(r.reqid for r in requests)
        if not any(map(_lacks_reqid, requests)):
            return requests
        return tuple(r._replace(reqid=self._next()) if _lacks_reqid(r) else r for r in requests)

    def _next(self) -> int:
        if self.used is None:
            self.used = self._read()
        reqid = _after(self._last)
        while reqid in self.used:
            reqid = _after(reqid)
        self._last = reqid
        return reqid

    def reset(self) -> None:
        """Start again with the first: there are no entries."""
        self._last = Marker().reqid


def _lacks_reqid(request: IpsecRequest) -> bool:
    return request.level is Level.UNIQUE and not request.reqid
