"""Let a socket send protected packets only. Needs CAP_NET_ADMIN."""

import socket
import sys

import kamexfrm


def main(destination: str) -> None:
    """Send a datagram with a policy of the socket's own, then one without."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        kamexfrm.set_policy(sock, "out ipsec esp/transport//require")
        try:
            sock.sendto(b"protected", (destination, 7))
            print("sent, protected")
        except BlockingIOError:
            print("not sent: there is no SA yet")
        kamexfrm.set_policy(sock, "out bypass")
        sock.sendto(b"in clear", (destination, 7))
        print("sent, in clear")
        kamexfrm.set_policy(sock, "out entrust")  # the SPD decides again


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "10.0.0.2")
