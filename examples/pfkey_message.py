"""Make a PF_KEY message, and read it: an SA that a program adds. No socket is opened."""

from kamexfrm import pfkey
from kamexfrm.pfkey import SadbAalg, SadbMsg, SadbSatype, SadbType, Sockaddr


def main() -> None:
    """Show the bytes of a SADB_ADD in Linux's dialect, and what they decode to."""
    sa = pfkey.Sa(spi=0x1000, auth=SadbAalg.SADB_AALG_SHA1HMAC)
    ends = (
        pfkey.AddressSrc(Sockaddr.of("10.0.0.1"), 32),
        pfkey.AddressDst(Sockaddr.of("10.0.0.2"), 32),
    )
    parts = (sa, *ends, pfkey.KeyAuth(pfkey.Key(bytes(range(20)))))
    wire = pfkey.encode(SadbMsg(SadbType.SADB_ADD, SadbSatype.SADB_SATYPE_AH, extensions=parts))
    print(f"{len(wire)} bytes: {wire[:16].hex(' ')} ...")
    print(pfkey.decode(wire))


if __name__ == "__main__":
    main()
