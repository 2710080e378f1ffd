"""What would KAME do with a packet? No kernel is asked."""

from kamexfrm.model import (
    Direction,
    Knobs,
    Packet,
    Path,
    PolicyType,
    SecurityPolicy,
    Selector,
    Spd,
    decide,
    explain_text,
    parse_policy,
)
from kamexfrm.net import IPPROTO_UDP, Address

HERE, THERE = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")


def main() -> None:
    """Explain a UDP packet that meets a policy of level require, without an SA."""
    requests = parse_policy("out ipsec esp/transport//require").requests
    selector = Selector(HERE, 32, THERE, 32)
    policy = SecurityPolicy(selector, Direction.OUT, PolicyType.IPSEC, requests)
    packet = Packet(Path.OUT, HERE, THERE, IPPROTO_UDP, source_port=4000, destination_port=7)
    decision = decide(packet, Spd.of([policy]), sad=(), knobs=Knobs())
    print("\n".join(explain_text(decision)))


if __name__ == "__main__":
    main()
