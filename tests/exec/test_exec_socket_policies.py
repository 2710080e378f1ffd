"""IP_IPSEC_POLICY and IPV6_IPSEC_POLICY of a program, as the kernel then has them."""

import errno
import re
import socket

import pytest

from kamexfrm import pfkey
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import knob
from kamexfrm.model.language import parse_policy
from kamexfrm.pfkey import encode_extension
from kamexfrm.rig import Host, TwoHosts
from kamexfrm.translate.pfkey.policy import policy_to_extension
from tests.exec.exec_programs import supervised

INET, INET6 = (0, 16, socket.AF_INET), (41, 34, socket.AF_INET6)
BYPASS = "02001200040002000000000000000000"

ESP_REQUIRE = "04001200020002000000000000000000" + "10003200010200000000000000000000"
ESP_UNIQUE = "04001200020001000000000000000000" + "10003200010300000c00000000000000"
LYING_REQUEST = "04001200020002000000000000000000" + "ff7f3200010200000000000000000000"

#: What Linux's own af_key was seen to answer, but for the names of the first two columns.
RECORDED = [
    ("in-bypass", INET, "02001200040001000000000000000000", 0),
    ("out-discard", INET, "02001200000002000000000000000000", 0),
    ("out-none", INET, "02001200010002000000000000000000", 0),
    ("out-entrust", INET, "02001200030002000000000000000000", 0),
    ("out-esp-require", INET, ESP_REQUIRE, 0),
    (
        "in-esp-unique",
        INET,
        ESP_UNIQUE,
        0,
    ),
    ("ipsec-without-request", INET, "02001200020002000000000000000000", 0),
    ("dir0", INET, "02001200040000000000000000000000", errno.EINVAL),
    ("fwd", INET, "02001200040003000000000000000000", errno.EINVAL),
    ("dir9", INET, "02001200040009000000000000000000", errno.EINVAL),
    ("short", INET, "020012000400020000000000", errno.EINVAL),
    ("len-mismatch", INET, "020012000400020000000000000000000000000000000000", errno.EINVAL),
    ("part-of-a-word-behind", INET, BYPASS + "ff" * 7, 0),
    ("type9", INET, "02001200090002000000000000000000", errno.EINVAL),
    ("prio", INET, "02001200040002000000000063000000", 0),
    ("exttype", INET, "02007700040002000000000000000000", 0),
    ("v6-in-bypass", INET6, "02001200040001000000000000000000", 0),
    ("v6-out-bypass", INET6, BYPASS, 0),
    ("v6-out-esp-require", INET6, ESP_REQUIRE, 0),
    ("v6sock-v4opt", (0, 16, socket.AF_INET6), BYPASS, errno.EOPNOTSUPP),
    ("v4sock-v6opt", (41, 34, socket.AF_INET), BYPASS, errno.ENOPROTOOPT),
    ("empty", INET, "", errno.EMSGSIZE),
    ("longer-than-a-page", INET, BYPASS * 300, errno.EMSGSIZE),
    ("random", INET, "ffff1200ffff02ffffffffffffffffff", errno.EINVAL),
    (
        "lying-request",
        INET,
        LYING_REQUEST,
        errno.EINVAL,
    ),
]

#: Sets options on a socket, and shows what the kernel then has of sockets' policies.
SHOW = """
import subprocess
def show():
    shown = subprocess.run(["ip", "xfrm", "policy"], capture_output=True, text=True).stdout
    print(shown)
def give(sock, *values):
    level, option = (0, 16) if sock.family == socket.AF_INET else (41, 34)
    for value in values:
        sock.setsockopt(level, option, bytes.fromhex(value))
"""


def shown_by(host: Host, text: str, *options: str) -> str:
    done = host.run(supervised(SHOW + text, *options))
    assert (done.status, done.stderr) == (0, "")
    return done.stdout


def value_of(text: str) -> str:
    """Return what libipsec's ipsec_set_policy() makes of a text."""
    policy = parse_policy(text)
    assert policy.type is not None
    extension = policy_to_extension(policy.type, policy.direction, policy.requests)
    return encode_extension(extension, pfkey.LINUX).hex()


@pytest.mark.parametrize(
    ("option", "value", "number"), [row[1:] for row in RECORDED], ids=[row[0] for row in RECORDED]
)
def test_errors_are_those_of_af_key(
    namespace: Host, option: tuple[int, int, int], value: str, number: int
) -> None:
    level, name, family = option
    text = f"""
        sock = socket.socket({int(family)}, socket.SOCK_DGRAM)
        print(refusal_of(sock.setsockopt, {level}, {name}, bytes.fromhex({value!r})))
    """
    assert namespace.run(supervised(text), check=True).stdout == f"{number}\n"


def test_what_is_no_ip_socket_has_the_kernels_own_error(namespace: Host) -> None:
    text = """
        value = bytes.fromhex("02001200040002000000000000000000")
        libc = ctypes.CDLL(None, use_errno=True)
        local, _ = socket.socketpair()
        print(refusal_of(local.setsockopt, 0, 16, value) == errno.EOPNOTSUPP)
        for number in (99, -1, os.open("/dev/null", os.O_RDWR)):
            print(libc.setsockopt(number, 0, 16, value, 16), errno.errorcode[ctypes.get_errno()])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            print(libc.setsockopt(udp.fileno(), 0, 16, ctypes.c_void_p(16), 16), end=" ")
            print(errno.errorcode[ctypes.get_errno()])
    """
    assert namespace.run(supervised(text), check=True).stdout.splitlines() == [
        "True",
        "-1 EBADF",
        "-1 EBADF",
        "-1 ENOTSOCK",
        "-1 EFAULT",
    ]


class TestWhatTheKernelHas:
    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            ("out bypass", ["socket out"]),
            ("out discard", ["socket out action block"]),
            ("out none", ["socket out"]),
            ("out ipsec esp/transport//require", ["socket out", "esp reqid 0 transport"]),
            ("in ipsec ah/transport//use", ["socket in", "ah reqid 0 transport use"]),
            ("out ipsec ipcomp/transport//use", ["socket out", "comp reqid 0 transport use"]),
            ("out ipsec esp/transport//unique:12", ["socket out", "esp reqid 12 transport"]),
            ("out ipsec esp/transport//unique", ["socket out", "esp reqid 16384 transport"]),
            (
                "out ipsec esp/transport//require ah/transport//require",
                ["socket out", "esp reqid 0 transport", "ah reqid 0 transport"],
            ),
            (
                "out ipsec esp/tunnel/192.0.2.1-192.0.2.2/require",
                ["socket out", "esp reqid 0 tunnel 192.0.2.1-192.0.2.2"],
            ),
            (
                "in ipsec esp/tunnel/fd00::1-fd00::2/unique:7",
                ["socket in", "esp reqid 0 tunnel fd00::1-fd00::2"],
            ),
        ],
    )
    def test_types_levels_and_modes(
        self, namespace: Host, family: int, text: str, lines: list[str]
    ) -> None:
        program = f"""
sock = socket.socket({int(family)}, socket.SOCK_DGRAM)
give(sock, {value_of(text)!r})
show()
"""
        assert read(shown_by(namespace, program)) == lines

    @pytest.mark.both_kernels
    def test_a_socket_has_one_of_each_direction(self, namespace: Host) -> None:
        values = [value_of("in bypass"), value_of("out bypass"), value_of("out discard")]
        program = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
give(sock, *{values!r})
show()
"""
        found = read(shown_by(namespace, program))
        assert [line for line in found if "socket" in line] == [
            "socket out action block",
            "socket in",
        ]


def read(shown: str) -> list[str]:
    """Return the policies of sockets and their templates, as short as can be.

    Without those that let tunnelled packets pass a policy without requests.
    """
    found = []
    pattern = re.compile(
        r"socket (?P<socket>.*) priority|tmpl src (?P<source>\S+) dst (?P<destination>\S+)"
        r"\s+proto (?P<protocol>\S+) reqid (?P<reqid>\d+)\S* mode (?P<mode>\w+)"
        r"(?P<use>\s+level use)?"
    )
    for match in pattern.finditer(shown):
        if match["socket"]:
            found.append(f"socket {match['socket']}")
            continue
        ends = f" {match['source']}-{match['destination']}" if match["mode"] == "tunnel" else ""
        if ends in (" 0.0.0.0-0.0.0.0", " ::-::"):
            continue
        use = " use" if match["use"] else ""
        found.append(f"{match['protocol']} reqid {match['reqid']} {match['mode']}{ends}{use}")
    return found


def test_level_default_is_what_the_knobs_say(namespace: Host) -> None:
    program = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
give(sock, {value_of("out ipsec esp/transport//default")!r})
show()
"""
    assert read(shown_by(namespace, program)) == ["socket out", "esp reqid 0 transport use"]
    kernel = NetlinkKernel()
    engine = Engine(kernel)
    engine.submit(SetKnob(knob("net.inet.ipsec.esp_trans_deflev"), 2))
    engine.flush()
    kernel.close()
    assert read(shown_by(namespace, program)) == ["socket out", "esp reqid 0 transport"]


def test_more_requests_than_the_kernel_takes_are_eloop(namespace: Host) -> None:
    value = value_of("out ipsec" + " esp/transport//require" * 7)
    program = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(refusal_of(give, sock, {value!r}) == errno.ELOOP)
"""
    assert shown_by(namespace, program) == "True\n"


def test_an_outbound_tunnel_of_level_use_is_einval(namespace: Host) -> None:
    value = value_of("out ipsec esp/tunnel/192.0.2.1-192.0.2.2/use")
    program = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(refusal_of(give, sock, {value!r}) == errno.EINVAL)
"""
    assert shown_by(namespace, program) == "True\n"


@pytest.fixture
def a(two_hosts: TwoHosts) -> Host:
    """Give the first of two hosts, whose SPD blocks what it sends."""
    two_hosts.a.ping("10.0.0.2")
    selector = ["src", "0.0.0.0/0", "dst", "10.0.0.2/32", "dir", "out", "action", "block"]
    two_hosts.a.run(["ip", "xfrm", "policy", "add", *selector], check=True)
    return two_hosts.a


def test_entrust_leaves_one_direction_to_the_spd_and_the_other_alone(a: Host) -> None:
    values = [value_of(text) for text in ("in discard", "out bypass", "out entrust")]
    program = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def send():
    return refusal_of(sock.sendto, b"x", ("10.0.0.2", 9))
print(send() == errno.EPERM)
give(sock, *{values[:2]!r})
print(send() == 0)
give(sock, {values[2]!r})
print(send() == errno.EPERM)
show()
"""
    shown = shown_by(a, program)
    assert shown.startswith("True\nTrue\nTrue\n")
    assert "socket in action block" in shown
