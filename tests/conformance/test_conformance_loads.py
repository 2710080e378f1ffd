"""Random files and variables loaded by our commands: silent as on Linux 6.1, and KAME's fate.

KAMEXFRM_LOADS is the number of cases, KAMEXFRM_SEED the seed.
"""

import itertools
import os
from collections.abc import Iterator

import pytest

from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.packet import Path
from kamexfrm.net import AF_INET, AF_INET6
from tests.conformance.conformance_case import Case, case_text
from tests.conformance.conformance_commands import carry_out, carry_out_in_memory, has_words, loads
from tests.conformance.conformance_differences import compare
from tests.conformance.conformance_network import Network
from tests.conformance.conformance_random import random_case

LOADS = int(os.environ.get("KAMEXFRM_LOADS", "60"))
SEED = os.environ.get("KAMEXFRM_SEED", "kame")

#: How many failing cases are shown.
SHOWN = 3


def _differently(case: Case, kernel: Kernel) -> Iterator[str]:
    """Load a case; yield what a command does otherwise than with the kernel in memory."""
    memory = FakeKernel()
    for load in loads(case):
        seen, wanted = carry_out(load, kernel), carry_out_in_memory(load, memory)
        if seen != wanted:
            yield f"{load}\n# seen   {seen}\n# wanted {wanted}"


def _failure(network: Network, case: Case) -> str:
    """Return in which way a case fails, "" where it does not."""
    result = compare(case, network.run(case, write=lambda kernel: list(_differently(case, kernel))))
    if result.agrees:
        return ""
    texts = (case_text(case), *result.seen.refused, f"# {result.seen}", f"# {result.wanted}")
    return "\n".join((f"case {case.name}:", *texts))


@pytest.mark.dataplane
@pytest.mark.parametrize("family", [AF_INET, AF_INET6], ids=["inet", "inet6"])
@pytest.mark.parametrize("path", Path, ids=lambda path: path.name.lower())
def test_random_loads_print_what_they_print_on_linux_6_1_and_mean_what_kame_means(
    network: Network, path: Path, family: int
) -> None:
    drawn = (
        random_case(f"{SEED}:loads:{family}:{path.name}:{number}", family, path)
        for number in itertools.count()
    )
    cases = list(itertools.islice(filter(has_words, drawn), -(-LOADS // 6)))
    failures = list(filter(None, (_failure(network, case) for case in cases)))
    shown = "\n\n".join(failures[:SHOWN])
    assert not failures, f"{len(failures)} of {len(cases)} cases\n{shown}"
