"""kamexfrm adopt and kamexfrm reset: what they print, and that they ask on a terminal only."""

import json
import subprocess

import pytest
from click.testing import CliRunner, Result

from kamexfrm.cli.command import main
from tests.operator.schemas import valid

pytestmark = pytest.mark.usefixtures("real_kernel")


def run(*words: str) -> Result:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    return done


def test_adopting_says_what_is_taken_over_and_what_is_left() -> None:
    for more in ("priority 1", "priority 2 mark 3"):
        batch = f"xfrm policy add src 10.0.0.1/32 dst 10.0.0.2/32 dir out {more}"
        subprocess.run(["ip", *batch.split()], check=True)
    document = valid(json.loads(run("adopt", "--json").stdout))
    assert [each["text"] for each in document["adopted"]] == [
        "spdadd 10.0.0.1 10.0.0.2 any -P out prio high + 1073741823 none;"
    ]
    assert [each["reason"] for each in document["left"]] == ["it has a mark"]
    again = run("adopt")
    assert again.stdout == "no policy of another program to take over\n"
    assert again.stderr.startswith("left: spid=")


def test_resetting_gives_the_policies_up() -> None:
    policy = "xfrm policy add src 10.0.0.1/32 dst 10.0.0.2/32 dir out"
    subprocess.run(["ip", *policy.split()], check=True)
    run("adopt", "--yes")
    document = valid(json.loads(run("reset", "--json").stdout))
    assert document["entries"] == "kept"
    assert valid(json.loads(run("adopt", "--json").stdout))["adopted"]
    assert valid(json.loads(run("reset", "--all", "--json").stdout))["entries"] == "deleted"
    assert not valid(json.loads(run("adopt", "--json").stdout))["adopted"]
