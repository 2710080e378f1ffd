"""kamexfrm-porting(7): its examples work, and what it calls tried is in the tests."""

import re
import sys
from pathlib import Path

from kamexfrm.rig import Host
from kamexfrm.rig.scenario.reading import gallery
from tests.man.manual_source import page, section

PAGE = page("kamexfrm-porting.7")
TESTS = Path(__file__).parent.parent / "dataplane"


def test_the_example_in_python_lists_algorithms(namespace: Host) -> None:
    (code,) = re.findall(
        r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", section(PAGE, "EXAMPLES"), re.MULTILINE | re.DOTALL
    )
    done = namespace.run([sys.executable, "-c", code], check=True)
    assert "SupportedAuth" in done.stdout
    assert "SupportedEncrypt" in done.stdout


def test_the_scenario_it_names_is_in_the_gallery() -> None:
    (kind,) = re.findall(r"kamexfrm rig new (\w+)", PAGE)
    assert kind in gallery.kinds()


def test_the_daemons_that_it_says_were_tried_are_tried() -> None:
    programs = section(PAGE, "PROGRAMS")
    for daemon, module in (("iked", "ike"), ("charon", "strongswan"), ("racoon", "racoon")):
        assert f".It Sy {daemon} " in programs
        assert daemon in (TESTS / f"test_dataplane_{module}.py").read_text().lower()
