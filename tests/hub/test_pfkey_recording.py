"""The exchanges recorded from Linux's AF_KEY, had again: with AF_KEY, and with our own sockets."""

import os
import socket
import tomllib
from collections.abc import Iterator
from difflib import ndiff
from pathlib import Path

import pytest

import kamexfrm
from kamexfrm.model.linux.kernel_range import holds_for
from tests.hub.pfkey_recording import (
    Exchange,
    Replay,
    described,
    make_network,
    masked,
    receive_from_the_kernel,
    receive_from_us,
)

pytestmark = [pytest.mark.dataplane, pytest.mark.usefixtures("namespace")]

#: REGISTER lists SM3 only where its module has been loaded.
_SM3 = ", 10:0:256-256"

DIFFERENCES = Path(__file__).with_name("pfkey-differences.toml")


def differences(kind: str) -> dict[str, str]:
    """Read the table: what differs on this kernel, by the name of an exchange.

    ``kind`` is ``difference`` of our sockets, ``af_key`` of the kernel's.
    """
    table = tomllib.loads(DIFFERENCES.read_text())
    found: dict[str, list[str]] = {}
    for entry in table[kind]:
        assert entry["why"] in table["reasons"]
        if holds_for(entry.get("kernels", ""), os.uname().release):
            for name in entry["where"]:
                found.setdefault(name, []).append(entry["diff"].strip("\n"))
    return {name: "\n".join(texts) for name, texts in found.items()}


def difference(exchange: Exchange, send_errno: int, received: tuple[tuple[bytes, ...], ...]) -> str:
    """Return the lines that differ, "-" for the recorded ones; empty where nothing does."""
    name = exchange.name
    theirs, ours = (
        [line.replace(_SM3, "") for line in described(name, number, messages)]
        for number, messages in ((exchange.send_errno, exchange.received), (send_errno, received))
    )
    lines = [line.rstrip() for line in ndiff(theirs, ours) if line[0] in "+-"]
    if lines or not exchange.request:
        return "\n".join(lines)
    before, now = (
        [[masked(name, wire) for wire in messages] for messages in each]
        for each in (exchange.received, received)
    )
    return "" if before == now else "~ the same in another order, or in bytes that are not shown"


def compared(replay: Replay) -> Iterator[tuple[str, str]]:
    for exchange, send_errno, received in replay.exchanges():
        found = difference(exchange, send_errno, received)
        if found:
            yield exchange.name, found


@pytest.mark.usefixtures("af_key")
def test_the_kernels_af_key_repeats_what_was_recorded_except_listed_differences() -> None:
    make_network()
    replay = Replay(lambda: socket.socket(15, socket.SOCK_RAW, 2), receive_from_the_kernel)
    judge(dict(compared(replay)), "af_key")
    replay.close()


def judge(found: dict[str, str], kind: str) -> None:
    """Hold what was found against the table."""
    listed = differences(kind)
    new = {name: text for name, text in found.items() if listed.get(name) != text}
    assert not new, "not in pfkey-differences.toml:\n\n" + "\n".join(
        f"[[{kind}]]\nwhy = \"\"\nwhere = [\"{name}\"]\ndiff = '''\n{text}\n'''\n"
        for name, text in new.items()
    )
    assert listed.keys() <= found.keys(), f"listed and not there: {listed.keys() - found.keys()}"


def test_our_sockets_repeat_what_was_recorded_except_listed_differences() -> None:
    make_network()
    replay = Replay(kamexfrm.PfKeySocket, receive_from_us)
    judge(dict(compared(replay)), "difference")
    replay.close()
