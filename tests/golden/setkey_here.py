"""Runs setkey in this process: starting one costs a second in the guest, and there are many."""

import _socket
import io
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest

from kamexfrm.setkey.command import main
from tests.golden.golden_samples import Done

#: The hosts file of the machine where the samples were recorded.
HOSTS = {
    "multi1": ("10.5.0.1", "10.5.0.2"),
    "multi2": ("10.6.0.1", "10.6.0.2"),
    "dual1": ("2001:db8:7::1", "10.7.0.1"),
    "dual2": ("2001:db8:7::2", "10.7.0.2"),
}

_getaddrinfo = _socket.getaddrinfo


def resolve(
    host: bytes,
    service: bytes | str | int | None,
    family: int = 0,
    kind: int = 0,
    protocol: int = 0,
    flags: int = 0,
) -> Sequence[tuple[object, ...]]:
    """Answer as getaddrinfo() does on a machine with that hosts file and no DNS."""
    if flags & socket.AI_NUMERICHOST or host.decode() not in HOSTS:
        return _getaddrinfo(host, service, family, kind, protocol, flags | socket.AI_NUMERICHOST)
    return [
        row
        for address in HOSTS[host.decode()]
        if family in (0, socket.AF_INET6 if ":" in address else socket.AF_INET)
        for row in _getaddrinfo(address, service, family, kind, protocol, flags)
    ]


def run(*arguments: str, stdin: str | bytes = b"") -> Done:
    """Run setkey's main function with streams of its own; its output must be UTF-8."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    streams = [io.TextIOWrapper(io.BytesIO(given), encoding="utf-8")]
    buffers = (io.BytesIO(), io.BytesIO())
    streams += [io.TextIOWrapper(buffer, encoding="utf-8") for buffer in buffers]
    names = ("stdin", "stdout", "stderr")
    before = [getattr(sys, name) for name in names]
    for name, stream in zip(names, streams, strict=True):
        setattr(sys, name, stream)
    try:
        status = main(list(arguments))
    finally:
        for name, stream in zip(names, before, strict=True):
            setattr(sys, name, stream)
    texts = []
    for stream, buffer in zip(streams[1:], buffers, strict=True):
        stream.flush()
        texts.append(buffer.getvalue().decode())
    return Done(status, *texts)


def tool(*command: str) -> str:
    """Run another program in the test's network namespace; return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def hosts_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the names of the samples their addresses."""
    monkeypatch.setattr("_socket.getaddrinfo", resolve)
