"""Register with PF_KEY and print its messages, with asyncio. Needs CAP_NET_ADMIN."""

import asyncio
import sys

import kamexfrm
from kamexfrm.pfkey import SadbMsg, SadbSatype, SadbType, decode, encode


async def watch(number: int) -> None:
    """Print messages until there were so many."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[SadbMsg] = asyncio.Queue()
    with kamexfrm.PfKeySocket() as key:
        key.setblocking(False)
        loop.add_reader(key.fileno(), lambda: arrived.put_nowait(decode(key.recv())))
        key.send(encode(SadbMsg(SadbType.SADB_REGISTER, SadbSatype.SADB_SATYPE_ESP, seq=1)))
        for _ in range(number):
            message = await arrived.get()
            kinds = ", ".join(type(extension).__name__ for extension in message.extensions)
            print(f"{message.type.name}: {kinds}", flush=True)
        loop.remove_reader(key.fileno())


if __name__ == "__main__":
    asyncio.run(watch(int(sys.argv[1]) if sys.argv[1:] else 1_000_000))
