"""Reading scripts with a resolver that has names of its own, so that no test asks the network."""

import socket
from typing import TypeVar

import pytest

from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.parser import parse
from kamexfrm.setkey.statements import Statement

S = TypeVar("S", bound=Statement)

NAMES = {
    "multi1": ("10.5.0.1", "10.5.0.2"),
    "multi2": ("10.6.0.1", "10.6.0.2"),
    "dual1": ("10.7.0.1", "2001:db8:7::1"),
    "dual2": ("10.7.0.2", "2001:db8:7::2"),
    "10.1": ("10.0.0.1",),
    "10.2": ("10.0.0.2",),
    "fe80::1%lo": ("fe80::1%lo",),
    "10.0.0.1": ("10.0.0.1",),
}
SERVICES: dict[str | None, int] = {None: 0, "domain": 53, "isakmp": 500}
TCP_SERVICES: dict[str | None, int] = {**SERVICES, "http": 80}
DEVICES = {"lo": 1, "eth0": 2}
NUMERIC_FLAG = socket.AI_NUMERICHOST

#: One answer of socket.getaddrinfo(): family, type, protocol, canonical name, address and port.
Found = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]


def resolve(
    host: str, service: str | None, family: int, kind: int, protocol: int, flags: int
) -> list[Found]:
    """Answer as socket.getaddrinfo() of a system with the names above."""
    is_tcp = (kind, protocol) == (socket.SOCK_STREAM, socket.IPPROTO_TCP)
    assert is_tcp or (kind, protocol) == (socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    if service not in (TCP_SERVICES if is_tcp else SERVICES):
        raise socket.gaierror(-8, "Servname not supported for ai_socktype")
    if host.startswith("fe80::%"):  # the index of a device
        name = host.partition("%")[2]
        index = int(name) if name.isdigit() else DEVICES.get(name)
        if index is None:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET6, kind, protocol, "", (host, 0, 0, index))]
    if ":" in host and family == socket.AF_INET:
        raise socket.gaierror(-9, "Address family for hostname not supported")
    if host not in NAMES or (flags & NUMERIC_FLAG and "." not in host and ":" not in host):
        raise socket.gaierror(-2, "Name or service not known")
    found: list[Found] = []
    for text in NAMES[host]:
        known = socket.AF_INET6 if ":" in text else socket.AF_INET
        if family in (0, known):
            port, scope = TCP_SERVICES[service], DEVICES.get(text.partition("%")[2], 0)
            address = (text, port) if known == socket.AF_INET else (text, port, 0, scope)
            found.append((known, kind, protocol, "", address))
    if not found:
        raise socket.gaierror(-9, "Address family for hostname not supported")
    return found


def read(kind: type[S], text: str | bytes) -> S:
    """Return the one statement that a text consists of, which is of this kind."""
    [statement] = parse(text, "f", resolve=resolve)
    assert isinstance(statement, kind)
    return statement


def script_error(text: str) -> ScriptError:
    """Return the error that reading a text ends with."""
    with pytest.raises(ScriptError) as caught:
        list(parse(text, "f", resolve=resolve))
    return caught.value
