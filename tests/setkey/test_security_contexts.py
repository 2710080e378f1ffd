"""Policies with an LSM label: known by it, in a kernel that keeps labels."""

import pytest

from tests.setkey.setkey_process import setkey, xfrm

pytestmark = [pytest.mark.dataplane, pytest.mark.usefixtures("namespace")]

SELECTOR = "10.0.0.1 10.0.0.2 any"
LABEL = '-ctx 1 1 "system_u:object_r:spd_t"'
REQUIRE = "-P in ipsec esp/transport//require;"


def test_a_labelled_policy_lives_beside_the_plain_one_and_is_deleted_by_its_label() -> None:
    script = f"spdadd {SELECTOR} {LABEL} {REQUIRE} spdadd {SELECTOR} {REQUIRE}"
    assert setkey("-e", script) == (0, "", "")
    assert setkey("-DP").out.count("security context: system_u:object_r:spd_t") == 2
    assert setkey("-e", f"spdget {SELECTOR} {LABEL} -P in;").out.count("security context:") == 1
    assert setkey("-e", f"spddelete {SELECTOR} {LABEL} -P in;") == (0, "", "")
    dump = setkey("-DP").out
    assert "security context" not in dump
    assert dump.count("10.0.0.1[any]") == 2


def test_updating_a_labelled_policy_leaves_the_plain_one() -> None:
    setkey("-e", f"spdadd {SELECTOR} {LABEL} {REQUIRE} spdadd {SELECTOR} {REQUIRE}")
    assert setkey("-e", f"spdupdate {SELECTOR} {LABEL} -P in none;") == (0, "", "")
    dump = setkey("-DP").out
    assert dump.count("none") == 2
    assert dump.count("esp/transport//require") == 2


def test_a_labelled_statement_that_is_refused_leaves_nothing() -> None:
    words = f"src 10.0.0.1 dst 10.0.0.2 dir fwd ctx {LABEL.split()[-1]}".replace('"', "")
    xfrm("policy", "add", *words.split())
    refused = setkey("--strict", "-e", f"spdadd {SELECTOR} {LABEL} {REQUIRE}")
    assert refused.status == 1
    assert "a foreign fwd policy with this selector is in the way" in refused.err
    assert setkey("-DP").out.count("[any]") == 2


def test_the_deletion_of_a_labelled_policy_is_shown_with_what_it_was() -> None:
    setkey("-e", f"spdadd {SELECTOR} {LABEL} {REQUIRE}")
    done = setkey("-v", "-e", f"spddelete {SELECTOR} {LABEL} -P in;")
    assert done.err == ""
    assert "errno=2" not in done.out
