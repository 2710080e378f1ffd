"""Random databases, knobs, sockets and packets: what the kernel does is what KAME does.

Each case is written by the engine, its packet sent or put on the wire, and what becomes of it is
seen by the wire, the counters and the receiving socket. Where the kernel cannot do as KAME does,
the difference is a listed one and comes out to the letter. KAMEXFRM_CASES is the number of cases
(8,000), KAMEXFRM_SEED the seed.
"""

import json
import os
from collections import Counter
from collections.abc import Callable

import pytest

from kamexfrm.model.packet import Path
from kamexfrm.net import AF_INET, AF_INET6
from tests.conformance.conformance_case import Case, case_text
from tests.conformance.conformance_differences import Comparison, compare
from tests.conformance.conformance_network import Network, Seen
from tests.conformance.conformance_random import random_case
from tests.conformance.conformance_shrink import shrunk

CASES = int(os.environ.get("KAMEXFRM_CASES", "8000"))
SEED = os.environ.get("KAMEXFRM_SEED", "kame")

#: How many failing cases are made small and shown.
SHOWN = 2


def _try(network: Network, case: Case) -> Comparison:
    return compare(case, network.run(case))


def _words(seen: Seen | object) -> str:
    wire = getattr(seen, "wire", None)
    text = "nothing" if wire is None else " in ".join(map(str, wire)) or "clear"
    fields = ("received", "errno", "acquired", "drops", "drop", "refused")
    rest = (f"{name}={getattr(seen, name)}" for name in fields if getattr(seen, name, None))
    return ", ".join((f"wire: {text}", *map(str, rest)))


def _failure(network: Network, case: Case) -> str:
    small = shrunk(case, lambda candidate: not _try(network, candidate).agrees)
    result = _try(network, small)
    lines = (
        f"case {case.name}, made small:",
        case_text(small),
        f"# seen   {_words(result.seen)}",
        f"# wanted {_words(result.wanted)}",
        f"# differences that apply: {', '.join(result.names) or 'none'}",
    )
    return "\n".join(lines)


@pytest.mark.dataplane
@pytest.mark.parametrize("family", [AF_INET, AF_INET6], ids=["inet", "inet6"])
@pytest.mark.parametrize("path", Path, ids=lambda path: path.name.lower())
def test_random_cases_are_treated_as_kame_treats_them_but_for_listed_differences(
    network: Network, path: Path, family: int, record_property: Callable[[str, object], None]
) -> None:
    counted: Counter[str] = Counter()
    failures = []
    for number in range(-(-CASES // 6)):
        case = random_case(f"{SEED}:{family}:{path.name}:{number}", family, path)
        result = _try(network, case)
        counted["cases"] += 1
        if not result.agrees:
            counted["fail"] += 1
            failures.append(case)
        elif result.names:
            counted["differ"] += 1
            counted.update(result.names)
    record_property("conformance", json.dumps({**counted, "seed": SEED}))
    shown = "\n\n".join(_failure(network, case) for case in failures[:SHOWN])
    assert not failures, f"{len(failures)} of {counted['cases']} cases\n{shown}"
