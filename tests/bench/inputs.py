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


def write_inputs(folder: Path, count: int) -> dict[str, str]:
    """Write the files; return their paths by name. ``tenth`` has a tenth of the entries."""
    texts = {
        "setkey": _setkey(count, "require"),
        "tenth": _setkey(count // 10, "require"),
        "double": _setkey(count * 2, "require"),
        "default": _setkey(count, "default"),
        "ip": _ip(count),
        "ip update": _ip(count, "update"),
        "reload": "spdflush;\n" + _setkey(count, "require"),
        "one": "spdadd 192.0.2.1 192.0.2.2 any -P out ipsec esp/transport//require;\n",
    }
    names = {}
    for name, text in texts.items():
        path = folder / name.replace(" ", "_")
        path.write_text(text)
        names[name] = str(path)
    return names
