"""A resolver with names of its own, so that no test asks the network."""

import socket
from collections.abc import Callable

import pytest

from kamexfrm.setkey.messages import ScriptError
from kamexfrm.setkey.parser import parse

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
SERVICES = {None: 0, "domain": 53, "isakmp": 500}
NUMERIC_FLAG = socket.AI_NUMERICHOST


def resolve(host, service, family, kind, protocol, flags):
    """Answer as socket.getaddrinfo() of a system with the names above."""
    assert kind == socket.SOCK_DGRAM
    assert protocol == socket.IPPROTO_UDP
    if service not in SERVICES:
        raise socket.gaierror(-8, "Servname not supported for ai_socktype")
    if ":" in host and family == socket.AF_INET:
        raise socket.gaierror(-9, "Address family for hostname not supported")
    if host not in NAMES or (flags & NUMERIC_FLAG and "." not in host and ":" not in host):
        raise socket.gaierror(-2, "Name or service not known")
    found = []
    for text in NAMES[host]:
        known = socket.AF_INET6 if ":" in text else socket.AF_INET
        if family in (0, known):
            found.append((known, kind, protocol, "", (text, SERVICES[service])))
    if not found:
        raise socket.gaierror(-9, "Address family for hostname not supported")
    return found


@pytest.fixture
def resolver() -> Callable:
    return resolve


@pytest.fixture
def read(resolver):
    def one(text):
        [statement] = parse(text, "f", resolve=resolver)
        return statement

    return one


@pytest.fixture
def refused(resolver):
    def why(text) -> ScriptError:
        with pytest.raises(ScriptError) as caught:
            list(parse(text, "f", resolve=resolver))
        return caught.value

    return why
