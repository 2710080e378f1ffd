"""kamexfrm stats and kamexfrm watch: what was dropped is counted, what happens is printed."""

import json
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner, Result

from kamexfrm.cli.command import main
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.library.ipsec import Ipsec
from kamexfrm.model.counters import COUNTERS, counter_of
from kamexfrm.rig.condition import until
from tests.operator.schemas import valid
from tests.operator.test_exempt import loopback, passes  # noqa: F401 (a fixture)

KAMEXFRM = [sys.executable, "-m", "kamexfrm.cli"]
SPDADD = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;"


def run(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == status, done.output
    return done


@pytest.mark.usefixtures("loopback")
def test_a_packet_that_def_policy_discards_is_counted(real_kernel: NetlinkKernel) -> None:
    assert run("stats").stdout == "ipsec:\n\tnothing was dropped\n"
    run("lockdown", "on", "nd")
    assert not passes()
    assert "\t1 outbound packets discarded by policy\n" in run("stats").stdout
    verbose = run("stats", "--verbose").stdout
    assert "XfrmOutPolBlock: an outbound policy or def_policy discards it\n" in verbose
    assert "-> see which policy it is: kamexfrm explain SRC DST\n" in verbose
    found = valid(json.loads(run("stats", "--json").stdout))
    assert {row["name"]: row["value"] for row in found["counters"]}["XfrmOutPolBlock"] == 1
    assert found["policies"]["out"] > 8
    metrics = run("stats", "--prometheus").stdout
    assert 'kamexfrm_xfrm_total{counter="XfrmOutPolBlock"} 1.0\n' in metrics
    assert 'kamexfrm_policies{direction="out"}' in metrics


@pytest.mark.usefixtures("loopback")
def test_an_interval_counts_what_rises_in_it() -> None:
    run("lockdown", "on", "nd")
    assert not passes()
    lines = run("stats", "--interval", "0.01", "--count", "2", "--json").stdout.splitlines()
    rose = [sum(row["value"] for row in valid(json.loads(line))["counters"]) for line in lines]
    assert rose == [0, 0]


@pytest.mark.usefixtures("loopback")
def test_metrics_are_served_to_this_host_alone() -> None:
    server = subprocess.Popen(
        [*KAMEXFRM, "stats", "--listen", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        url = server.stderr.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (ours)
            assert b"kamexfrm_sas 0.0\n" in answer.read()
    finally:
        server.terminate()
        server.communicate()


def test_every_counter_of_this_kernel_is_known(real_kernel: NetlinkKernel) -> None:
    names = [row["name"] for row in json.loads(run("stats", "--json").stdout)["counters"]]
    assert set(names) <= {counter.name for counter in COUNTERS}
    assert counter_of("XfrmNew").words == "packets of XfrmNew"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--listen", "http"), "[ADDRESS:]PORT is needed"),
        (("--count", "1"), "--count belongs to --interval"),
        (("--interval", "1", "--prometheus"), "--interval excludes"),
    ],
)
@pytest.mark.usefixtures("real_kernel")
def test_options_that_do_not_go_together_are_named(words: tuple[str, ...], text: str) -> None:
    assert text in run("stats", *words, status=2).output


def watched(real_kernel: NetlinkKernel, *options: str) -> list[str]:
    """Return the two lines that kamexfrm watch prints while a policy is updated."""
    watching = subprocess.Popen(
        [*KAMEXFRM, "watch", "--count", "2", *options], stdout=subprocess.PIPE, text=True
    )

    def change() -> bool:
        Ipsec(real_kernel).update(SPDADD)
        return watching.poll() is not None

    until(change, 20, "two events")
    return watching.communicate()[0].splitlines()


def test_events_are_printed_in_words(real_kernel: NetlinkKernel) -> None:
    first, second = watched(real_kernel)
    assert f" {SPDADD}" in first + second
    assert "process " in second


def test_events_are_documents(real_kernel: NetlinkKernel) -> None:
    _, second = watched(real_kernel, "--json")
    document = valid(json.loads(second))
    assert (document["event"], document["change"]) == ("policy", "updated")
    assert document["text"].endswith(SPDADD)
    assert document["id"] == Ipsec(real_kernel).policies()[0].id
