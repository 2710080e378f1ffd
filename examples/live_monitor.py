"""Print what happens to this namespace's IPsec as it happens. Needs CAP_NET_ADMIN."""

import asyncio
import sys

import kamexfrm


async def monitor(number: int) -> None:
    """Print so many events."""
    async for event in kamexfrm.events():
        print(event, flush=True)
        number -= 1
        if not number:
            return


if __name__ == "__main__":
    asyncio.run(monitor(int(sys.argv[1]) if sys.argv[1:] else -1))
