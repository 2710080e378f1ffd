"""The netlink ports of a process, and what another process may send to them."""

import contextlib
import os
import socket
import struct
from pathlib import Path

from kamexfrm.xfrm import NETLINK_XFRM, XfrmMsg


def ports_of(process: int) -> list[int]:
    """Return the ports of the netlink XFRM sockets that a process has in this namespace."""
    inodes = set()
    for path in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            link = os.readlink(path)
            if link.startswith("socket:["):
                inodes.add(link[len("socket:[") : -1])
    table = Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]
    rows = [line.split() for line in table]
    return [int(row[2]) for row in rows if row[1] == str(NETLINK_XFRM) and row[9] in inodes]


def forge(port: int) -> None:
    """Send datagrams to a port that only the kernel should send: cut, long, and of odd contents."""
    header = struct.Struct("=IHHII")
    size = header.size
    forged = [
        b"\0" * 3,
        header.pack(size - 1, XfrmMsg.NEWPOLICY, 0, 0, 0),
        header.pack(1 << 31, XfrmMsg.NEWPOLICY, 0, 0, 0),
        header.pack(size, XfrmMsg.NEWPOLICY, 0, 0, 0),
        header.pack(size + 8, XfrmMsg.NEWSA, 0, 0, 0) + b"\xff" * 8,
        header.pack(size, XfrmMsg.FLUSHPOLICY, 0, 0, 0),
        header.pack(size, 0xFFFF, 0xFFFF, 0, 0),
    ]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as link:
        for data in forged:
            link.sendto(data, (port, 0))
