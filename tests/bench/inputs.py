"""The same policies for setkey and for ip(8), and setkey files of other kinds."""

from collections.abc import Iterable
from pathlib import Path

#: The least distance between kernel priorities, as setkey leaves none either.
_FIRST = 1000


def pairs(count: int) -> Iterable[tuple[str, str]]:
    """Yield source and destination addresses, all different."""
    for i in range(count):
        yield f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", f"11.{i >> 16}.{i >> 8 & 255}.{i & 255}"


def _setkey(count: int, level: str) -> str:
    return "".join(
        f"spdadd {a}/32 {b}/32 any -P out ipsec esp/transport//{level};\n" for a, b in pairs(count)
    )


def _ip(count: int, verb: str = "add") -> str:
    return "".join(
        f"xfrm policy {verb} src {a}/32 dst {b}/32 dir out priority {i + _FIRST} "
        "tmpl proto esp mode transport\n"
        for i, (a, b) in enumerate(pairs(count))
    )


#: What a tunnel is for.
_INNER = "192.0.2.0/25 192.0.2.128/25"


def _tunnel(other_end: str) -> str:
    ends = f"203.0.113.1-{other_end}"
    return f"spdadd {_INNER} any -P out ipsec esp/tunnel/{ends}/require;\n"


def write_inputs(folder: Path, count: int) -> dict[str, str]:
    """Write the files; return their paths by name. ``fifth`` has a fifth of the entries."""
    texts = {
        "setkey": _setkey(count, "require"),
        "fiftieth": _setkey(count // 50, "require"),
        "fifth": _setkey(count // 5, "require"),
        "fourfold": _setkey(count * 4, "require"),
        "double": _setkey(count * 2, "require"),
        "default": _setkey(count, "default"),
        "ip": _ip(count),
        "ip update": _ip(count, "update"),
        "reload": "spdflush;\n" + _setkey(count, "require"),
        "tunnel": _tunnel("198.51.100.1"),
        "among": _setkey(count, "require") + _tunnel("198.51.100.1"),
        "swap": f"spddelete {_INNER} any -P out;\n" + _tunnel("198.51.100.2"),
        "one": "spdadd 192.0.2.1 192.0.2.2 any -P out ipsec esp/transport//require;\n",
    }
    names = {}
    for name, text in texts.items():
        path = folder / name.replace(" ", "_")
        path.write_text(text)
        names[name] = str(path)
    return names
