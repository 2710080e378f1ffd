"""The command as its users start it, and the names it knows."""

import sys

from kamexfrm.rig import Completed, Host

COMMAND = (sys.executable, "-m", "kamexfrm.sysctl")

LEVELS = ("esp_trans_deflev", "esp_net_deflev", "ah_trans_deflev", "ah_net_deflev")
INET = tuple(f"net.inet.ipsec.{name}" for name in ("def_policy", *LEVELS))
INET6 = tuple(f"net.inet6.ipsec6.{name}" for name in ("def_policy", *LEVELS))
POLICYS = INET + INET6
DEFLEVS = INET[1:] + INET6[1:]

#: The variables beyond, with the values that they start at.
DFBIT, ECN, ECN6 = "net.inet.ipsec.dfbit", "net.inet.ipsec.ecn", "net.inet6.ipsec6.ecn"
LARVAL, SHA256 = "net.key.larval_lifetime", "net.key.sha256_icv"
SPI_MIN, SPI_MAX = "net.key.spi_minval", "net.key.spi_maxval"
OLD_SA = "net.key.preferred_oldsa"
FURTHER = {
    DFBIT: 2,
    ECN: 1,
    ECN6: 1,
    LARVAL: 30,
    SPI_MIN: 0x100,
    SPI_MAX: 0x0FFFFFFF,
    SHA256: 96,
    OLD_SA: 0,
}
NAMES = (*POLICYS, *FURTHER)


def kame_sysctl(host: Host, *arguments: str, input: str = "") -> Completed:
    """Run the command in a host, as a process of its own."""
    return host.run([*COMMAND, *arguments], input=input)


def values(host: Host) -> dict[str, int]:
    """Return all variables as another process sees them."""
    lines = kame_sysctl(host, "-a").stdout.splitlines()
    return {
        name: int(value) for name, equals, value in (x.partition(" = ") for x in lines) if equals
    }


START = {**dict.fromkeys(POLICYS, 1), **FURTHER}
