"""Messages a second: our codecs, and pyroute2's for the same netlink message.

No library on PyPI reads PF_KEY; pyroute2 has the framing of netlink, but no XFRM messages, so its
generic class is given the same structs here.
"""

import time
from collections.abc import Callable

from kamexfrm import pfkey, xfrm
from kamexfrm.net import Address


def _rate(work: Callable[[], object]) -> float:
    """Return how often a second something can be done, the best of some rounds."""
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(2000):
            work()
        best = max(best, 2000 / (time.perf_counter() - began))
    return best


def _policy() -> xfrm.Policy:
    here, there = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
    selector = xfrm.Selector(there, here, family=2, destination_prefix=32, source_prefix=32)
    template = xfrm.Template(there, here, protocol=50, mode=1, family=2)
    return xfrm.Policy(selector, xfrm.XFRM_POLICY_OUT, templates=(template,))


def _pyroute2(message: bytes) -> Callable[[], object]:
    from pyroute2.netlink import nlmsg

    class Policy(nlmsg):  # type: ignore[misc]  # pyroute2 is untyped
        prefix = "XFRMA_"
        fields = (
            *((name, "16s") for name in ("destination", "source")),
            *((name, "H") for name in ("dport", "dmask", "sport", "smask", "family")),
            *((name, "B") for name in ("dprefix", "sprefix", "protocol")),
            ("pad", "3x"), ("interface", "i"), ("user", "I"), ("limits", "64s"),
            ("counters", "32s"), ("priority", "I"), ("index", "I"), ("direction", "B"),
            ("action", "B"), ("flags", "B"), ("share", "B"), ("end", "4x"),
        )  # fmt: skip
        nla_map = tuple((f"XFRMA_{number}", "hex") for number in range(34))

    def decode() -> object:
        read = Policy(message)
        read.decode()
        return read.get_attr("XFRMA_5")

    return decode


def measure() -> list[str]:
    """Return lines on messages a second."""
    policy = _policy()
    payload = xfrm.encode_policy(policy)
    message = xfrm.message(xfrm.XfrmMsg.NEWPOLICY, 0, 1, payload)
    dump = bytes.fromhex("020a0000020000000100000001000000")
    decoded = pfkey.decode(dump)
    ours = _rate(lambda: xfrm.decode_policy(payload)), _rate(lambda: xfrm.encode_policy(policy))
    theirs = _rate(_pyroute2(message))
    keys = _rate(lambda: pfkey.decode(dump)), _rate(lambda: pfkey.encode(decoded))
    return [
        "messages a second, the same ones again and again",
        f"`kamexfrm.xfrm`, a policy with a template: decode {ours[0]:,.0f}, encode {ours[1]:,.0f}",
        f"pyroute2's generic class, the same, its template left as bytes: decode {theirs:,.0f}",
        f"`kamexfrm.pfkey`, a DUMP: decode {keys[0]:,.0f}, encode {keys[1]:,.0f}",
    ]
