"""Make a PF_KEY message, and read it: an SA that a program adds. No socket is opened."""

from kamexfrm import pfkey
from kamexfrm.pfkey import SadbAalg, SadbMsg, SadbSastate, SadbSatype, SadbType


def main() -> None:
    """Show the bytes of a SADB_ADD in Linux's dialect, and what they decode to."""
    here, there = pfkey.Sockaddr.of("10.0.0.1"), pfkey.Sockaddr.of("10.0.0.2")
    add = SadbMsg(
        SadbType.SADB_ADD,
        SadbSatype.SADB_SATYPE_AH,
        seq=1,
        extensions=(
            pfkey.Sa(
                spi=0x1000,
                state=SadbSastate.SADB_SASTATE_MATURE,
                auth=SadbAalg.SADB_AALG_SHA1HMAC,
            ),
            pfkey.AddressSrc(here, 32),
            pfkey.AddressDst(there, 32),
            pfkey.KeyAuth(pfkey.Key(bytes(range(20)))),
            pfkey.LifetimeHard(addtime=3600),
        ),
    )
    wire = pfkey.encode(add, pfkey.LINUX)
    print(f"{len(wire)} bytes: {wire[:16].hex(' ')} ...")

    message = pfkey.decode(wire, pfkey.LINUX)
    print(message.type.name, message.satype.name)
    for extension in message.extensions:
        print(" ", extension)


if __name__ == "__main__":
    main()
