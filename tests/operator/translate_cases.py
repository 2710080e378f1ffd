"""Random setkey files for translation, whole: what all the words of the language make."""

from random import Random

from tests.operator.explain_cases import random_case
from tests.operator.kame_machine import Machine

_LIMITS = ("", " -lh 3600 -ls 3000", " -bh 100000 -bs 80000", " -lh 100")
_SELECTED = (" sel 10.0.0.0/8 10.1.0.0/16[80] tcp", " sel fd00::/64 fd01::/64 icmp6 128")
_WINDOWS = ("", " -r 4", " -r 64", " -r 32 -esn", " -esn")


def policies(seed: str, count: int) -> str:
    """Return policies of all kinds, each selector and direction once."""
    found: dict[str, str] = {}
    number = 0
    while len(found) < count:
        machine, _ = random_case(f"{seed}:{number}")
        number += 1
        for entry in machine.spd:
            head, _, rest = entry.text().partition(" -P ")
            found.setdefault(f"{head}{rest.split()[0]}", entry.text())
    lines = list(found.values())[:count]
    lines += [
        "spdadd 10.9.0.1 10.9.0.2 icmp 8,3 -P out none;",
        "spdadd fd09::1 fd09::2 icmp6 135 -P in discard;",
        "spdadd 10.9.0.1 10.9.0.2 gre 70000 -P out none;",
        "spdadd 10.9.0.1[7] 10.9.0.0/24[9] 132 -P in ipsec esp/transport//require;",
        "spdadd 10.9.0.0/16 10.8.0.0/16 47 -P in ipsec ah/tunnel/10.0.0.1-10.0.0.2/unique;",
        "spdadd 10.9.0.0/16 10.7.0.0/16 any -P fwd discard;",
        "spdadd 10.9.0.0/16 10.6.0.0/16 any mark 5/0xff if_id 7 -P out none;",
        "spdadd 10.9.0.0/16 10.6.0.0/16 tcp dev lo -P in ipsec esp/transport//use;",
    ]
    return "\n".join(lines) + "\n"


def associations(seed: str, count: int) -> str:
    """Return SAs with all options, keys and algorithms of the guest's kernel."""
    dice = Random(seed)
    lines = []
    for number in range(count):
        six = dice.random() < 0.4
        near, far = ("fd00::1", "fd00::2") if six else ("10.0.0.1", "10.0.0.2")
        protocol = dice.choice(["esp", "esp", "esp", "ah", "ipcomp"])
        mode = dice.choice(["transport", "tunnel", "any"])
        reqid = dice.choice(["", "", f" -u {dice.randrange(1, 70000)}"])
        window = "" if protocol == "ipcomp" else dice.choice(_WINDOWS)
        parts = dice.choice(["", "", "", " mark 7 if_id 9", " output-mark 3/0xf", _SELECTED[six]])
        options = f"-m {mode}{reqid}{window}{dice.choice(_LIMITS)}{parts}"
        algorithms = {
            "esp": [
                f"-E aes-cbc 0x{_key(dice, 16)} -A hmac-sha256-128 0x{_key(dice, 32)}",
                f"-E null -A hmac-sha1 0x{_key(dice, 20)}",
                f"-E aes-gcm-16 0x{_key(dice, 20)}",
                f"-E 3des-cbc 0x{_key(dice, 24)} -A hmac-sha256 0x{_key(dice, 32)}",
                f"-E aes-ctr 0x{_key(dice, 20)} -A hmac-sha512 0x{_key(dice, 64)}",
            ],
            "ah": [f"-A hmac-sha1 0x{_key(dice, 20)}", f"-A hmac-md5 0x{_key(dice, 16)}"],
            "ipcomp": ["-C deflate"],
        }[protocol]
        head = f"add {dice.choice((f'{near} {far}', f'{far} {near}'))} {protocol}"
        if protocol == "esp" and not six and dice.random() < 0.2:
            head = "add 10.0.0.1[4500] 10.0.0.2[4501] esp-udp"
        lines.append(f"{head} {0x1000 + number} {options} {dice.choice(algorithms)};")
    return "\n".join(lines) + "\n"


def _key(dice: Random, size: int) -> str:
    return dice.randbytes(size).hex()


def whole(seed: str) -> Machine:
    """Return policies with the SAs that serve them."""
    return random_case(seed)[0]
