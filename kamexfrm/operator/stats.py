"""The kernel's IPsec counters: as they are, as they rise, and as metrics."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from kamexfrm.errors import UnsupportedError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.counters import counter_of, read_counters

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

#: The calling thread's namespace; /proc/net would be the main thread's.
_STATISTICS = "/proc/thread-self/net/xfrm_stat"


class Stats(NamedTuple):
    """All counters by the kernel's names, and how many policies and SAs there are."""

    counters: dict[str, int]
    policies: dict[str, int]
    sas: int


def read(kernel: Kernel) -> Stats:
    """Return the counters of this network namespace.

    Raises UnsupportedError on a kernel without CONFIG_XFRM_STATISTICS, KernelError.
    """
    try:
        with open(_STATISTICS, encoding="ascii") as file:
            text = file.read()
    except OSError:
        raise UnsupportedError(
            "this kernel counts nothing: it is built without CONFIG_XFRM_STATISTICS"
        ) from None
    spd = kernel.spd_info()
    policies = {"in": spd.in_count, "out": spd.out_count, "fwd": spd.fwd_count}
    return Stats(read_counters(text), policies, kernel.sad_info().states)


def risen(before: Stats, now: Stats) -> Stats:
    """Return by how much the counters rose."""
    rose = {name: value - before.counters.get(name, 0) for name, value in now.counters.items()}
    return now._replace(counters=rose)


def rows(stats: Stats) -> list[dict[str, Any]]:
    """Return the counters with their words, meaning and cure, as members of a document."""
    found = []
    for name, value in stats.counters.items():
        counter = counter_of(name)
        found.append(
            {
                "name": name,
                "value": value,
                "words": counter.words,
                "meaning": counter.meaning,
                "cure": counter.cure,
            }
        )
    return found


def text(stats: Stats, *, verbose: bool, zeros: bool) -> str:
    """Return the counters as lines; ``verbose`` with the meaning and the cure of those that rose.

    Without ``zeros`` those at 0 are left out.
    """
    lines = ["ipsec:"]
    for row in rows(stats):
        if not (row["value"] or zeros):
            continue
        lines.append(f"\t{row['value']} {row['words']}")
        if verbose:
            lines.append(f"\t\t{row['name']}: {row['meaning']}")
            lines.append(f"\t\t-> {row['cure']}")
    if len(lines) == 1:
        lines.append("\tnothing was dropped")
    return "\n".join(lines) + "\n"


class Collector:
    """The counters and sizes of a namespace as Prometheus metrics, read when they are asked for."""

    def __init__(self, kernel: Kernel) -> None:
        from threading import Lock

        self._kernel = kernel
        self._lock = Lock()  # an HTTP server asks in threads

    def collect(self) -> "Iterator[Metric]":
        """Yield the metrics; raises KernelError, UnsupportedError."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            stats = read(self._kernel)
        counters = CounterMetricFamily(
            "kamexfrm_xfrm", "Packets dropped, by the kernel's counter", labels=["counter"]
        )
        for name, value in stats.counters.items():
            counters.add_metric([name], value)
        yield counters
        policies = GaugeMetricFamily("kamexfrm_policies", "Policies", labels=["direction"])
        for direction, count in stats.policies.items():
            policies.add_metric([direction], count)
        yield policies
        yield GaugeMetricFamily("kamexfrm_sas", "Security associations", value=stats.sas)


def registry(kernel: Kernel) -> "CollectorRegistry":
    """Return a registry with the metrics of a namespace; raises UnsupportedError."""
    try:
        from prometheus_client import CollectorRegistry
    except ImportError:
        raise UnsupportedError(
            "the Python package prometheus-client is missing: pip install 'kamexfrm[prometheus]'"
        ) from None
    found = CollectorRegistry()
    found.register(Collector(kernel))
    return found
