"""What this machine can do for IPsec, found out by doing it, and the cure of each lack.

The trials run in a process of their own, in a network namespace that is gone with it: as root in a
new namespace, else in a new user namespace.
"""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kamexfrm.algorithms import TABLE, Algorithm, Kind
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SaAdd, SpdAdd
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.kernel.namespace import leave_for_new
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.association import Key, NatTraversal, SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import Address
from kamexfrm.setkey.parser import parse
from kamexfrm.setkey.statements import SpdAdd as Statement

_CLONE_NEWUSER = 0x10000000

#: Kernel modules of the protocols, by protocol and address family.
_MODULES = {
    (IpsecProtocol.ESP, 4): "esp4",
    (IpsecProtocol.ESP, 6): "esp6",
    (IpsecProtocol.AH, 4): "ah4",
    (IpsecProtocol.AH, 6): "ah6",
    (IpsecProtocol.IPCOMP, 4): "ipcomp",
    (IpsecProtocol.IPCOMP, 6): "ipcomp6",
}
_ENDS = {
    4: (Address.parse("192.0.2.1"), Address.parse("192.0.2.2")),
    6: (Address.parse("2001:db8::1"), Address.parse("2001:db8::2")),
}


class Finding(NamedTuple):
    """One trial: what was tried, whether it works, what to do if not; ``needed`` for the main job.

    ``detail`` is what else is to be known.
    """

    name: str
    what: str
    works: bool
    needed: bool = False
    cure: str = ""
    detail: str = ""


def examine() -> list[Finding]:
    """Return all findings."""
    found = [_capability()]
    found += _from_child()
    found += _programs()
    found += _sysctls()
    return found


def can_do_the_main_job(findings: list[Finding]) -> bool:
    """Whether all that is needed works."""
    return all(finding.works for finding in findings if finding.needed)


def _capability() -> Finding:
    """Try to read the present namespace's policies."""
    name, what = "capability", "CAP_NET_ADMIN in this network namespace"
    try:
        kernel = NetlinkKernel()
        try:
            kernel.spd_info()
            next(iter(kernel.policies()), None)
        finally:
            kernel.close()
    except KernelError as error:
        cure = "be root, or try it in a namespace of your own: unshare -rn"
        return Finding(name, what, False, True, cure, str(error))
    return Finding(name, what, True, True)


def _from_child() -> list[Finding]:
    """Return the findings of a child in a namespace of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "kamexfrm.operator.doctor"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        cure = "be root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
        what = "a network namespace to try things in"
        reason = done.stderr.strip().rpartition("\n")[2]
        return [Finding("namespace", what, False, False, cure, reason)]
    return [Finding(**row) for row in json.loads(done.stdout)]


def _programs() -> Iterator[Finding]:
    for program, use, cure in (
        ("ip", "looks at XFRM in Linux's words", "apt install iproute2"),
        ("modprobe", "loads the kernel's modules", "apt install kmod"),
        ("tcpdump", "captures what is on the wire", "apt install tcpdump"),
    ):
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        has = shutil.which(program, path=path) is not None
        yield Finding(f"program-{program}", f"{program}(8), which {use}", has, False, cure)


def _sysctls() -> Iterator[Finding]:
    """Yield switches of interfaces that take IPsec away."""
    root = "/proc/sys/net/ipv4/conf"
    for switch in ("disable_policy", "disable_xfrm"):
        try:
            names = sorted(n for n in os.listdir(root) if n not in ("lo", "default"))
            off = [name for name in names if _read(f"{root}/{name}/{switch}") not in ("", "0")]
        except OSError:
            continue
        yield Finding(
            f"sysctl-{switch}",
            f"no interface has net.ipv4.conf.*.{switch} set",
            not off,
            False,
            " ".join(f"sysctl net.ipv4.conf.{name}.{switch}=0;" for name in off),
            ", ".join(off),
        )


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


# In the child


def _trials() -> list[Finding]:
    """Return what works in a namespace of this process's own."""
    kernel = NetlinkKernel()
    engine = Engine(kernel)
    found = [
        _try(
            "policies",
            "policies (CONFIG_XFRM_USER)",
            lambda: _policy(engine),
            needed=True,
            cure="a kernel with CONFIG_XFRM_USER: modprobe xfrm_user",
        ),
    ]
    found += _protocols(engine)
    if any(finding.name == "esp4" and finding.works for finding in found):
        found += _algorithms(engine)
    found.append(
        _try(
            "socket-policies",
            "policies of sockets",
            _socket_policy,
            cure="a kernel with CONFIG_XFRM and CAP_NET_ADMIN",
        )
    )
    found.append(_try("udp", "ESP in UDP", lambda: _udp(engine), cure="modprobe esp4"))
    found += _kernel_features(kernel)
    return found


def _try(
    name: str, what: str, trial: Callable[[], object], *, needed: bool = False, cure: str = ""
) -> Finding:
    try:
        trial()
    except (KamexfrmError, OSError) as error:
        return Finding(name, what, False, needed, cure, str(error))
    return Finding(name, what, True, needed)


def _policy(engine: Engine) -> None:
    text = "spdadd 192.0.2.1 192.0.2.2 any -P out ipsec esp/transport//require;"
    [statement] = parse(text)
    if isinstance(statement, Statement):
        engine.submit(SpdAdd(statement.policy))
        engine.flush()


def _sa(protocol: IpsecProtocol, family: int, **fields: Any) -> SecurityAssociation:
    source, destination = _ENDS[family]
    plain = SecurityAssociation(source, destination, protocol, 0x1000, Mode.TRANSPORT)
    return plain._replace(**fields)


def _add(engine: Engine, sa: SecurityAssociation) -> None:
    """Add an SA and delete all again."""
    from kamexfrm.engine.requests import SaFlush

    engine.submit(SaAdd(sa))
    try:
        engine.flush()
    finally:
        engine.submit(SaFlush())
        engine.flush()


def _key(kernel_name: str, kind: Kind) -> Key:
    row = next(a for a in TABLE if a.kind is kind and a.kernel == kernel_name)
    return Key(row, os.urandom(row.key_bits[0] // 8))


def _protocols(engine: Engine) -> Iterator[Finding]:
    sha1 = _key("hmac(sha1)", Kind.AUTHENTICATION)
    null = _key("ecb(cipher_null)", Kind.ENCRYPTION)
    deflate = _key("deflate", Kind.COMPRESSION)
    keys: dict[IpsecProtocol, dict[str, Any]] = {
        IpsecProtocol.ESP: {"authentication": sha1, "encryption": null},
        IpsecProtocol.AH: {"authentication": sha1},
        IpsecProtocol.IPCOMP: {"compression": deflate, "spi": 0x100},
    }
    for (protocol, family), module in _MODULES.items():
        sa = _sa(protocol, family, **keys[protocol])
        yield _try(
            f"{protocol.name.lower()}{family}",
            f"{protocol.name} for IPv{family}",
            lambda sa=sa: _add(engine, sa),  # type: ignore[misc]
            needed=protocol is IpsecProtocol.ESP and family == 4,
            cure=f"modprobe {module}, or a kernel that has it",
        )


def _algorithms(engine: Engine) -> Iterator[Finding]:
    """Yield a finding for each algorithm of setkey that Linux has a name for."""
    seen = set()
    for row in TABLE:
        if not row.kernel or row.kind is Kind.COMPRESSION or (row.kind, row.kernel) in seen:
            continue
        seen.add((row.kind, row.kernel))
        yield _try(
            f"algorithm-{row.name}",
            f"{row.name} ({row.kernel})",
            lambda row=row: _add(engine, _with(row)),  # type: ignore[misc]
            cure=f"modprobe 'crypto-{row.kernel}', or a kernel that has it",
        )


def _with(row: Algorithm) -> SecurityAssociation:
    key = Key(row, os.urandom(row.key_bits[0] // 8))
    if row.kind is Kind.AUTHENTICATION:
        return _sa(
            IpsecProtocol.ESP,
            4,
            authentication=key,
            encryption=_key("ecb(cipher_null)", Kind.ENCRYPTION),
        )
    return _sa(IpsecProtocol.ESP, 4, encryption=key)


def _socket_policy() -> None:
    from kamexfrm.engine.socket_policy import set_policy

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        set_policy(sock, "out bypass")


def _udp(engine: Engine) -> None:
    null = _key("ecb(cipher_null)", Kind.ENCRYPTION)
    sha1 = _key("hmac(sha1)", Kind.AUTHENTICATION)
    nat = NatTraversal(4500, 4500)
    _add(
        engine,
        _sa(IpsecProtocol.ESP, 4, encryption=null, authentication=sha1, nat_traversal=nat),
    )


def _kernel_features(kernel: Kernel) -> Iterator[Finding]:
    yield _try(
        "default",
        "the namespace's own default policy (Linux 5.14)",
        kernel.default,
        cure="a newer kernel; def_policy 0 works without it",
    )
    yield Finding(
        "counters",
        "counters of dropped packets (CONFIG_XFRM_STATISTICS)",
        os.path.exists("/proc/thread-self/net/xfrm_stat"),
        cure="a kernel with CONFIG_XFRM_STATISTICS",
    )
    yield Finding(
        "seccomp",
        "seccomp(2) with notifications, which kamexfrm exec needs (Linux 5.5)",
        "user_notif" in _read("/proc/sys/kernel/seccomp/actions_avail"),
        cure="a kernel of 5.5 or newer with CONFIG_SECCOMP_FILTER",
    )
    yield _try(
        "af_key",
        "AF_KEY of the kernel itself, which kamexfrm does without",
        lambda: socket.socket(15, socket.SOCK_RAW, 2).close(),
        cure="not needed: kamexfrm exec gives programs PF_KEY",
    )


def _child() -> int:
    try:
        leave_for_new()
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        _leave_as_user()
    json.dump([finding._asdict() for finding in _trials()], sys.stdout)
    return 0


def _leave_as_user() -> None:
    """Enter a new user namespace, in which this user is root, and a network namespace in it."""
    import ctypes

    uid, gid = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    leave_for_new()


if __name__ == "__main__":
    sys.exit(_child())
