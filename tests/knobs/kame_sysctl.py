"""The command as its users start it, and the names it knows."""

import sys

from kamexfrm.rig import Completed, Host

COMMAND = (sys.executable, "-m", "kamexfrm.knobs")

LEVELS = ("esp_trans_deflev", "esp_net_deflev", "ah_trans_deflev", "ah_net_deflev")
INET = tuple(f"net.inet.ipsec.{name}" for name in ("def_policy", *LEVELS))
INET6 = tuple(f"net.inet6.ipsec6.{name}" for name in ("def_policy", *LEVELS))
NAMES = INET + INET6
DEFLEVS = INET[1:] + INET6[1:]


def kame_sysctl(host: Host, *arguments: str, input: str = "") -> Completed:
    """Run the command in a host, as a process of its own."""
    return host.run([*COMMAND, *arguments], input=input)


def values(host: Host) -> dict[str, int]:
    """Return all variables as another process sees them."""
    lines = kame_sysctl(host, "-a").stdout.splitlines()
    return {name: int(value) for name, value in (line.split(" = ") for line in lines)}


START = dict.fromkeys(NAMES, 1)
