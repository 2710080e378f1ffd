"""What would KAME do with a packet? No kernel is asked."""

import kamexfrm


def main() -> None:
    """Explain a UDP packet that meets a policy of level require, without an SA."""
    policy = kamexfrm.policy("10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require")
    packet = kamexfrm.packet("out", "10.0.0.1", "10.0.0.2", "udp", 4000, 7)
    print(kamexfrm.decide(packet, [policy]))


if __name__ == "__main__":
    main()
