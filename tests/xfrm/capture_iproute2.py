"""Record what iproute2 and the kernel say to each other: the codec's oracle, run by hand.

Runs ``ip xfrm`` under strace in a fresh network namespace, listens to the XFRM groups meanwhile,
and writes one JSON object per step: the command, its exit status, the netlink bytes it sent and
received, and the events seen. Needs root, strace and iproute2::

    PYTHONPATH=. unshare -n python3 tests/xfrm/capture_iproute2.py OUTPUT.jsonl
"""

import json
import re
import shlex
import socket
import struct
import subprocess
import sys
import tempfile
import time

from kamexfrm import xfrm
from kamexfrm.net import Address

AES = "0x000102030405060708090a0b0c0d0e0f"
SHA1 = AES + "10111213"
SHA256 = SHA1 + "1415161718191a1b1c1d1e1f"
ESP = "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp"
CBC = f"enc cbc(aes) {AES} auth hmac(sha1) {SHA1}"

STEPS = """
ip link set lo up
ip link add v0 type veth peer name v1
ip addr add 10.0.0.1/24 dev v0
ip addr add fd00::1/64 dev v0 nodad
ip link set v0 up
ip link set v1 up

ip xfrm policy add src 10.0.0.1/32 dst 10.0.0.2/32 proto tcp dport 80 dir out priority 100 tmpl proto esp mode transport reqid 7
ip xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 200 tmpl src 10.0.0.1 dst 10.0.0.2 proto esp mode tunnel
ip xfrm policy add src 10.2.0.0/16 dst 10.1.0.0/16 dir in priority 200 tmpl src 10.0.0.2 dst 10.0.0.1 proto esp mode tunnel level use
ip xfrm policy add src 10.2.0.0/16 dst 10.1.0.0/16 dir fwd action block priority 4294967295
ip xfrm policy add src fd00::1/128 dst fd00::2/128 proto ipv6-icmp type 135 code 0 dir out
ip xfrm policy add src fd00:1::/64 dst fd00:2::/64 dir out tmpl src fd00::1 dst fd00::2 proto esp mode tunnel reqid 99 tmpl src fd00::1 dst fd00::2 proto ah mode transport
ip xfrm policy add src 10.3.0.0/16 dst 10.4.0.0/16 dir out tmpl src fd00::1 dst fd00::2 proto esp spi 0x1234 mode tunnel
ip xfrm policy add src 10.5.0.0/16 dst 10.6.0.0/16 dir out mark 5 mask 0xff if_id 9 tmpl proto comp mode transport level use tmpl proto esp mode transport
ip xfrm policy add src 10.0.0.1 dst 10.0.0.9 proto udp sport 500 dport 4500 dir out priority 3 limit byte-soft 1000 limit byte-hard 2000 limit packet-soft 30 limit packet-hard 40 limit time-soft 100 limit time-hard 200 limit time-use-soft 300 limit time-use-hard 400
ip xfrm policy add dst 10.0.0.0/8 dev v0 dir out flag localok flag icmp index 801 priority 4
ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 proto gre key 77 dir in ptype sub
ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 dir in ctx system_u:object_r:test_t:s0
ip xfrm policy update src 10.0.0.1/32 dst 10.0.0.2/32 proto tcp dport 80 dir out priority 101 tmpl proto ah mode transport
ip xfrm policy add src 10.0.0.1/32 dst 10.0.0.2/32 proto tcp dport 80 dir out priority 100
ip xfrm policy add src 10.9.0.0/16 dst 10.8.0.0/16 dir out tmpl src 10.0.0.1 dst 10.0.0.2 proto esp mode tunnel level use
ip xfrm policy get src 10.1.0.0/16 dst 10.2.0.0/16 dir out
ip xfrm policy get index 801 dir out
ip xfrm policy get src 10.5.0.0/16 dst 10.6.0.0/16 dir out mark 5 mask 0xff if_id 9
ip xfrm policy list
ip xfrm policy list dir in
ip xfrm policy set hthresh4 24 32 hthresh6 64 128
ip -s xfrm policy count
ip xfrm policy delete index 801 dir out
ip xfrm policy delete src 10.1.0.0/16 dst 10.2.0.0/16 dir out
ip xfrm policy delete src 10.5.0.0/16 dst 10.6.0.0/16 dir out mark 5 mask 0xff if_id 9
ip xfrm policy delete src 10.1.0.0/16 dst 10.2.0.0/16 dir out
ip xfrm policy delete src 0.0.0.0/0 dst 0.0.0.0/0 proto gre key 77 dir in ptype sub
ip xfrm policy deleteall dir fwd
ip xfrm policy getdefault
ip xfrm policy setdefault in block out accept
ip xfrm policy getdefault
ip xfrm policy setdefault in accept fwd accept out accept
ip xfrm policy flush ptype sub
ip xfrm policy flush

{ESP} spi 0x1001 mode transport reqid 7 {CBC}
{ESP} spi 0x1002 mode tunnel reqid 8 enc cbc(aes) {AES} auth-trunc hmac(sha256) {SHA256} 128 flag af-unspec replay-window 32
{ESP} spi 0x1003 mode tunnel aead rfc4106(gcm(aes)) {AES}10111213 128 flag esn replay-window 128 replay-seq 5 replay-oseq 6 replay-seq-hi 1 replay-oseq-hi 2
ip xfrm state add src fd00::1 dst fd00::2 proto ah spi 0x1004 mode transport auth hmac(md5) {AES} sel src fd00::1/128 dst fd00::2/128 proto ipv6-icmp type 128 code 0
ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto comp spi 0x1005 mode tunnel comp deflate
{ESP} spi 0x1006 mode transport {CBC} encap espinudp 4500 4501 0.0.0.0 replay-window 8 replay-seq 3 replay-oseq 4
{ESP} spi 0x1007 mode beet {CBC} sel src 192.168.1.1/32 dst 192.168.2.1/32 mark 7 mask 0xff if_id 5 output-mark 3 mask 0xf extra-flag dont-encap-dscp extra-flag oseq-may-wrap
{ESP} spi 0x1008 mode tunnel {CBC} flag noecn flag decap-dscp flag nopmtudisc flag icmp flag align4 seq 0x55 tfcpad 1400
{ESP} spi 0x1009 mode transport {CBC} limit byte-soft 1000 limit byte-hard 2000 limit packet-soft 30 limit packet-hard 40 limit time-soft 100 limit time-hard 200 limit time-use-soft 300 limit time-use-hard 400
{ESP} spi 0x100a mode transport {CBC} output-mark 9 ctx system_u:object_r:test_t:s0
{ESP} spi 0x100b mode transport {CBC} offload dev v0 dir out
{ESP} spi 0x100c mode transport enc ecb(cipher_null) "" auth digest_null ""
{ESP} spi 0x100d mode transport enc cbc(nothing) {AES}
ip xfrm state add src fd00::1 dst fd00::2 proto route2 mode ro coa fd00::9
ip xfrm state update src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x1001 mode transport reqid 7 {CBC} limit packet-hard 4000
ip xfrm state allocspi src 10.0.0.2 dst 10.0.0.1 proto esp mode transport reqid 9 seq 0x77 min 0x2000 max 0x20ff
ip xfrm state allocspi src 10.0.0.2 dst 10.0.0.1 proto comp mode transport
ip xfrm state get src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x1003
ip xfrm state get dst 10.0.0.2 proto esp spi 0x1007 mark 7 mask 0xff
ip xfrm state get src fd00::1 dst fd00::2 proto ah spi 0x1004
ip xfrm state get dst 10.0.0.2 proto esp spi 0x4444
ip xfrm state list
ip xfrm state list src 10.0.0.1 dst 10.0.0.2 proto ah
ip xfrm state list nokeys proto esp
ip -s xfrm state count
getae 10.0.0.1 10.0.0.2 0x1003
getae 10.0.0.1 10.0.0.2 0x1001
ip xfrm state delete src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x1001
ip xfrm state delete src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x1003
ip xfrm state delete dst 10.0.0.2 proto esp spi 0x1007 mark 7 mask 0xff
ip xfrm state delete src fd00::1 dst fd00::2 proto ah spi 0x1004
ip xfrm state delete src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x4444
ip xfrm state deleteall mode beet
ip xfrm state flush proto comp
ip xfrm state flush

ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto udp dport 7 dir out priority 5 tmpl proto esp mode transport reqid 3 level use
ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto udp dport 9 dir out priority 6 tmpl src 10.0.0.1 dst 10.0.0.3 proto esp mode tunnel tmpl proto ah mode transport
ip xfrm policy add src fd00::1 dst fd00::2 proto udp dport 7 dir out priority 7 tmpl proto ah mode transport
ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto udp dport 8 dir out priority 8 tmpl src fd00::1 dst fd00::2 proto esp mode tunnel
send 10.0.0.2 7
send 10.0.0.2 9
send fd00::2 7
send 10.0.0.2 8
{ESP} spi 0x3001 mode transport reqid 3 {CBC} limit time-soft 1 limit time-hard 2
send 10.0.0.2 7
send 10.0.0.2 7
send 10.0.0.2 7
await EXPIRE
await EXPIRE
ip xfrm policy add src 10.0.0.1 dst 10.0.0.8 dir out limit time-soft 1 limit time-hard 2
await POLEXPIRE
await POLEXPIRE
ip xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out tmpl src 10.0.0.1 dst 10.0.0.2 proto esp mode tunnel reqid 12
{ESP} spi 0x3002 mode tunnel reqid 12 {CBC}
migrate 10.1.0.0 10.2.0.0 10.0.0.1 10.0.0.2 10.0.0.1 10.0.0.5
ip xfrm state add src 127.0.0.1 dst 127.0.0.1 proto esp spi 0x3003 mode transport enc ecb(cipher_null) "" auth digest_null "" encap espinudp 4500 4500 0.0.0.0
encapsulated 0x3003 5555 4500
ip xfrm state flush
ip xfrm policy flush
"""  # noqa: E501
WORDS = {"{ESP}": ESP, "{CBC}": CBC, "{AES}": AES, "{SHA256}": SHA256}


def listen() -> socket.socket:
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, xfrm.NETLINK_XFRM)
    listener.bind((0, 0))  # before the groups: it would take the membership of all away
    for group in range(xfrm.XFRMNLGRP_ACQUIRE, xfrm.XFRMNLGRP_MAPPING + 1):
        listener.setsockopt(xfrm.SOL_NETLINK, xfrm.NETLINK_ADD_MEMBERSHIP, group)
    listener.setblocking(False)
    return listener


def drain(listener: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listener.recv(1 << 20).hex())
        except BlockingIOError:
            return found


def await_event(listener: socket.socket, name: str) -> list[str]:
    """Collect events up to one of a type, for 5 seconds at most."""
    wanted = xfrm.XfrmMsg[name]
    found: list[str] = []
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for text in drain(listener):
            found.append(text)
            if struct.unpack_from("=IH", bytes.fromhex(text))[1] == wanted:
                return found
        time.sleep(0.01)
    return found


def traced(command: list[str]) -> tuple[int, list[str], list[str]]:
    """Run a command under strace; returns its status, and what its XFRM socket sent and got."""
    with tempfile.NamedTemporaryFile() as log:
        options = ["-s", "0", "-e", "write=all", "-e", "read=all"]
        options += ["-e", "trace=socket,sendmsg,sendto,recvmsg", "-o", log.name]
        run = subprocess.run(["strace", *options, *command], capture_output=True, check=False)
        lines = log.read().decode("latin-1").splitlines()
    descriptor = None
    sent: list[str] = []
    received: list[str] = []
    target: list[str] | None = None
    for line in lines:
        if opened := re.match(r"socket\(.*, (\w+)\) = (\d+)", line):
            if opened[1] == "NETLINK_XFRM":
                descriptor = opened[2]
            elif opened[2] == descriptor:  # closed and used again
                descriptor = None
        elif call := re.match(r"(sendmsg|sendto|recvmsg)\((\d+),", line):
            target = (received if call[1] == "recvmsg" else sent) if call[2] == descriptor else None
        elif (row := re.match(r" \| ([0-9a-f]+)  (.{49})", line)) and target is not None:
            if not int(row[1], 16):
                target.append("")
            target[-1] += row[2].replace(" ", "")
    return run.returncode, sent, received


def exchange(type_: int, payload: bytes) -> tuple[int, list[str], list[str]]:
    """Send one request, take one answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, xfrm.NETLINK_XFRM) as door:
        request = xfrm.message(type_, xfrm.NLM_F_REQUEST | xfrm.NLM_F_ACK, 1, payload)
        door.setsockopt(xfrm.SOL_NETLINK, xfrm.NETLINK_EXT_ACK, 1)
        door.send(request)
        return 0, [request.hex()], [door.recv(1 << 20).hex()]


def get_event(words: list[str]) -> tuple[int, list[str], list[str]]:
    source, destination = (Address.parse(word) for word in words[:2])
    identity = xfrm.StateId(destination, int(words[2], 0), 50, destination.family)
    request = xfrm.AsyncEvent(identity, source)
    return exchange(xfrm.XfrmMsg.GETAE, xfrm.encode_async_event(request))


def migrate(words: list[str]) -> tuple[int, list[str], list[str]]:
    inner_source, inner_destination, *outer = (Address.parse(word) for word in words)
    selector = xfrm.Selector(
        inner_destination, inner_source, family=2, destination_prefix=16, source_prefix=16
    )
    old_source, old_destination, new_source, new_destination = outer
    move = xfrm.Move(old_destination, old_source, new_destination, new_source, 50, 1, 12, 2, 2)
    key_managers = xfrm.KmAddress(new_source, new_destination, 2)
    request = xfrm.Migrate(xfrm.PolicyId(selector, 0, 1), (move,), key_managers)
    return exchange(xfrm.XfrmMsg.MIGRATE, xfrm.encode_migrate(request))


def send(words: list[str]) -> None:
    family = socket.AF_INET6 if ":" in words[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"x", (words[0], int(words[1])))
        except OSError as error:
            print(words, error)


def send_encapsulated(words: list[str]) -> None:
    """Send ESP without encryption or ICV in UDP, from a port that the SA does not name."""
    spi, source, destination = (int(word, 0) for word in words)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", destination))
        receiver.setsockopt(socket.IPPROTO_UDP, 100, xfrm.UDP_ENCAP_ESPINUDP)
        sender.bind(("127.0.0.1", source))
        inner = struct.pack(">HHHH", 1, 2, 8 + 6, 0) + b"abcdef"
        packet = struct.pack(">II", spi, 1) + inner + bytes([0, 17])
        sender.sendto(packet, ("127.0.0.1", destination))


def main() -> None:
    listener = listen()
    steps = STEPS
    for name, text in WORDS.items():
        steps = steps.replace(name, text)
    with open(sys.argv[1], "w", encoding="ascii") as output:
        for line in steps.strip().splitlines():
            if not line:
                continue
            word, *words = shlex.split(line)
            status = 0
            sent: list[str] = []
            received: list[str] = []
            events: list[str] = []
            if word == "ip":
                status, sent, received = traced([word, *words])
            elif word == "await":
                events = await_event(listener, words[0])
            elif word == "getae":
                status, sent, received = get_event(words)
            elif word == "migrate":
                status, sent, received = migrate(words)
            elif word == "encapsulated":
                send_encapsulated(words)
                events = await_event(listener, "MAPPING")
            else:
                send(words)
            events += drain(listener)
            if not sent and not events:
                continue
            row = {"command": line, "status": status, "sent": sent, "received": received}
            print(json.dumps(row | {"events": events}), file=output)


if __name__ == "__main__":
    main()
