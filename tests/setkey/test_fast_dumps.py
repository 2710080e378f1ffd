"""The fast way of a dump and the careful one: the same text, byte for byte."""

import io
from collections.abc import Sequence
from random import Random

import pytest

from kamexfrm import xfrm
from kamexfrm.errors import WireError
from kamexfrm.model.policy import IPSEC_PROTOCOLS
from kamexfrm.setkey import dump
from kamexfrm.setkey.arguments import Options
from kamexfrm.translate.xfrm.policy_from_kernel import spd_entries_from_kernel
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
from kamexfrm.xfrm import Policy, Run
from tests import policies_of_all_kinds as policies
from tests.setkey import states_of_all_kinds as states

OPTIONS = (Options(), Options(ports=True), Options(hide_sockets=True), Options(json=True))


@pytest.fixture(autouse=True)
def _no_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: 4711)


def _sidecar(random: Random) -> Policy | None:
    """Return what stands in for the sidecars of all policies."""
    payload = policies.payloads(random, 1)[0]
    return random.choice((None, xfrm.decode_policy(payload)))


def _printed(way: str, found: Sequence[Run], sidecar: Policy | None, options: Options) -> str:
    """Return what a dump prints to both streams, or how it fails."""
    out, err = io.StringIO(), io.StringIO()
    try:
        if way == "fast":
            shown = dump.dump_spd_runs(found, lambda _: sidecar, out, options, err=err)
        else:
            decoded = (xfrm.decode_policy(p) for run in found for p in run.payloads())
            entries = spd_entries_from_kernel(decoded, lambda _: sidecar)
            shown = dump.dump_spd(entries, out, options, err=err)
    except WireError as error:
        return f"WireError {error}"
    return f"{out.getvalue()}\n{err.getvalue()}\n{shown}"


@pytest.mark.parametrize("seed", range(20))
def test_policies_are_printed_alike_whatever_they_are(seed: int) -> None:
    random = Random(seed)
    for _ in range(12):
        sidecar = _sidecar(random)
        found = policies.runs(random, policies.payloads(random, random.randrange(40)))
        for options in OPTIONS:
            careful = _printed("careful", found, sidecar, options)
            assert _printed("fast", found, sidecar, options) == careful


def test_spoilt_policies_are_printed_alike_or_refused_alike() -> None:
    random = Random(1)
    failed = 0
    for _ in range(400):
        whole = policies.payloads(random, 6)
        whole[random.randrange(6)] = policies.spoilt(random, whole[0])
        found = policies.runs(random, whole)
        options = random.choice(OPTIONS)
        careful = _printed("careful", found, None, options)
        failed += careful.startswith("WireError")
        assert _printed("fast", found, None, options) == careful
    assert 50 < failed < 350


SA_OPTIONS = (
    Options(),
    Options(ports=True),
    Options(keys=False),
    Options(wrap=False),
    Options(json=True),
    Options(repeat=True),
)


def _printed_sas(way: str, found: Sequence[Run], options: Options) -> str:
    out = io.StringIO()
    try:
        if way == "fast":
            shown = dump.dump_sad_runs(found, out, options)
        else:
            decoded = (xfrm.decode_state(p) for run in found for p in run.payloads())
            entries = (
                sad_entry_from_kernel(s, states.NOW)
                for s in decoded
                if s.protocol in IPSEC_PROTOCOLS
            )
            if options.repeat:
                shown = dump.dump_sad_short(entries, out)
            else:
                shown = dump.dump_sad(entries, out, options)
    except WireError as error:
        return f"WireError {error}"
    return f"{out.getvalue()}\n{shown}"


@pytest.mark.parametrize("seed", range(20))
def test_sas_are_printed_alike_whatever_they_are(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: float(states.NOW))
    random = Random(seed)
    for _ in range(12):
        whole = states.payloads(random, random.randrange(30))
        if whole and random.random() < 0.2:
            whole[0] = policies.spoilt(random, whole[0])
        found = policies.runs(random, whole, xfrm.XfrmMsg.NEWSA)
        for options in SA_OPTIONS:
            careful = _printed_sas("careful", found, options)
            assert _printed_sas("fast", found, options) == careful
