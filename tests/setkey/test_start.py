"""What a command of a few milliseconds loads: modules that it does without would double them."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.usefixtures("namespace")

START = """
import sys, {module} as command
status = command.{call}
print(*sys.modules)
sys.exit(status)
"""
SLOW = {"typing", "re", "socket", "selectors", "contextlib", "ctypes", "json"}
#: What enum needs, and so do commands that read what the kernel has.
SMALL = {"enum", "functools", "collections"}


@pytest.mark.parametrize(
    ("module", "call", "prints", "unused"),
    [
        ("kamexfrm.setkey.command", 'main(["-D"])', "No SAD entries.", SLOW | SMALL),
        ("kamexfrm.setkey.command", 'main(["-DP"])', "No SPD entries.", SLOW),
        (
            "kamexfrm.sysctl.command",
            'run(["net.inet.ipsec.def_policy"])',
            "net.inet.ipsec.def_policy = 1",
            SLOW | {"kamexfrm.translate.xfrm.sa_from_kernel"},
        ),
        (
            "kamexfrm.sysctl.command",
            'run(["-w", "net.inet.ipsec.ah_net_deflev=2"])',
            "net.inet.ipsec.ah_net_deflev: 1 -> 2",
            {"typing", "re"},
        ),
        (
            "kamexfrm.setkey.command",
            'main(["-e", "spdadd 10.0.0.1 10.0.0.2 any -P out none;"])',
            "",
            {"typing", "selectors", "ctypes", "json"},
        ),
    ],
)
def test_what_a_command_needs_not_is_not_loaded(
    module: str, call: str, prints: str, unused: set[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START.format(module=module, call=call)],
        capture_output=True,
        text=True,
        check=False,
    )
    *lines, loaded = done.stdout.splitlines()
    assert lines == ([prints] if prints else []), done.stderr
    assert not unused & set(loaded.split())
