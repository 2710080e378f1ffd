"""Add an SA and a policy, and read them back. Needs CAP_NET_ADMIN, and ESP in the kernel."""

import os

import kamexfrm


def main() -> None:
    """Protect what goes from one address to another, then say what is there."""
    with kamexfrm.open() as ipsec:
        key = kamexfrm.key("aes-gcm-16", os.urandom(20))
        ipsec.add(kamexfrm.sa("10.0.0.1", "10.0.0.2", "esp", 0x1000, encryption=key))
        ipsec.add("spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;")
        for sa in ipsec.sas():
            print(sa)
        for policy in ipsec.policies():
            print(policy)


if __name__ == "__main__":
    main()
