"""kame-sysctl reads: names, subtrees, formats, and what it says when something is wrong."""

import _socket
import errno
import fcntl
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from kamexfrm.model.unsupported_knobs import UNSUPPORTED
from kamexfrm.rig import Host
from kamexfrm.sysctl.command import run
from tests.sysctl.kame_sysctl import (
    COMMAND,
    DFBIT,
    ECN,
    ECN6,
    INET,
    INET6,
    NAMES,
    START,
    kame_sysctl,
    values,
)

MARKER = "src 0.0.0.0/0 dst 0.0.0.0/0 dir fwd if_id 0x4b584d01"
WITHOUT_NET_ADMIN = ("setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin")


def spd(host: Host) -> str:
    return host.run(["ip", "-s", "xfrm", "policy"], check=True).stdout


#: What is printed for KAME's sysctls that Linux lacks.
LACKING = [f"{name}: unsupported ({why})" for name, why in UNSUPPORTED.items()]


def lines(names: Sequence[str]) -> list[str]:
    """Return what a fresh namespace prints for variables."""
    return [f"{name} = {START[name]}" for name in names]


def test_reading_all_sysctls_shows_the_start_values_and_writes_nothing(
    namespace: Host,
) -> None:
    for option in ("-a", "-A", "--all"):
        result = kame_sysctl(namespace, option)
        assert result.stdout.splitlines() == [*lines(NAMES), *LACKING]
        assert (result.stderr, result.status) == ("", 0)
    assert spd(namespace) == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("net.inet.ipsec.def_policy", INET[:1]),
        ("net/inet6/ipsec6/ah_net_deflev", INET6[-1:]),
        ("net.inet.ipsec", (*INET, DFBIT, ECN)),
        ("net.inet6", (*INET6, ECN6)),
        ("net/inet/", (*INET, DFBIT, ECN)),
        ("net.inet.ipsec.", (*INET, DFBIT, ECN)),
        ("net", NAMES),
    ],
)
def test_a_name_is_a_sysctl_or_a_subtree_with_dots_or_slashes(
    namespace: Host, name: str, expected: tuple[str, ...]
) -> None:
    assert kame_sysctl(namespace, "-N", name).stdout.split() == list(expected)
    assert kame_sysctl(namespace, name).stdout.splitlines() == lines(expected)


def test_values_or_names_alone(namespace: Host) -> None:
    assert kame_sysctl(namespace, "-n", "net.inet.ipsec.def_policy").stdout == "1\n"
    assert kame_sysctl(namespace, "net.inet.ipsec", "-n").stdout == "1\n" * 5 + "2\n1\n"
    assert kame_sysctl(namespace, "-aN").stdout.split() == list(NAMES)
    assert kame_sysctl(namespace, "--names", "-a").stdout.split() == list(NAMES)


def test_a_description_has_the_meaning_and_the_values(namespace: Host) -> None:
    result = kame_sysctl(namespace, "-d", "net.inet.ipsec.def_policy")
    assert result.stdout.startswith("net.inet.ipsec.def_policy: ")
    assert "0 (discard) or 1 (none)" in result.stdout
    assert kame_sysctl(namespace, "-da").stdout.count("1 (use) or 2 (require)") == 8
    assert not kame_sysctl(namespace, "-dn", NAMES[0]).stdout.startswith("net.")


def test_json_is_one_object_of_numbers_by_name(namespace: Host) -> None:
    assert json.loads(kame_sysctl(namespace, "--json", "-a").stdout) == START
    assert json.loads(kame_sysctl(namespace, "net.inet6", "--json").stdout) == dict.fromkeys(
        (*INET6, ECN6), 1
    )
    assert json.loads(kame_sysctl(namespace, "--json", "-e", "no.such").stdout) == {}
    described = json.loads(kame_sysctl(namespace, "--json", "-d", "-a").stdout)
    assert list(described)[: len(NAMES)] == list(NAMES)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("net.inet.ipsec.esp_trans_delev", "net.inet.ipsec.esp_trans_deflev"),
        ("net.inet6.ipsec6.def_polcy", "net.inet6.ipsec6.def_policy"),
        ("def_policy", "net.inet.ipsec.def_policy or net.inet6.ipsec6.def_policy"),
        ("net.inet.ips", "net.inet.ipsec"),
    ],
)
def test_an_unknown_name_is_reported_with_the_nearest_one(
    namespace: Host, name: str, hint: str
) -> None:
    result = kame_sysctl(namespace, name)
    assert result.stderr == f"kame-sysctl: {name}: unknown variable (did you mean {hint}?)\n"
    assert (result.stdout, result.status) == ("", 1)


@pytest.mark.parametrize("name", ["kernel.hostname", "", ".", "net.inet.ipsec..def_policy"])
def test_a_name_far_from_all_is_reported_too(namespace: Host, name: str) -> None:
    result = kame_sysctl(namespace, "--", name)
    assert result.stderr.startswith(f"kame-sysctl: {name}: unknown variable")
    assert (result.stdout, result.status) == ("", 1)


def test_the_rest_is_printed_beside_an_unknown_name_which_e_passes_over(namespace: Host) -> None:
    known = "net.inet.ipsec.def_policy"
    result = kame_sysctl(namespace, "kernel.hostname", known)
    assert (result.stdout, result.status) == (f"{known} = 1\n", 1)
    assert result.stderr == "kame-sysctl: kernel.hostname: unknown variable\n"
    result = kame_sysctl(namespace, "-e", "kernel.hostname", known)
    assert (result.stdout, result.stderr, result.status) == (f"{known} = 1\n", "", 0)


def test_a_name_cannot_act_on_the_terminal(namespace: Host) -> None:
    result = kame_sysctl(namespace, "a\x1b[31m\nb", os.fsdecode(b"\xff"))
    assert len(result.stderr.splitlines()) == 2
    assert result.stderr.isascii()
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-n"],
        ["-z"],
        ["--zero"],
        ["-f"],
        ["--preset"],
        ["--preset", "bsd"],
        ["-w"],
        ["-w", "net.inet.ipsec"],
        ["-w", "net.inet.ipsec.def_policy=1", "net.inet.ipsec.def_policy"],
        ["-nN", "net"],
        ["-d", "net.inet.ipsec.def_policy=1"],
        ["-d", "--preset", "kame"],
    ],
)
def test_an_invalid_command_line_is_2_with_the_usage_on_stderr(
    namespace: Host, arguments: list[str]
) -> None:
    result = kame_sysctl(namespace, *arguments)
    assert (result.stdout, result.status) == ("", 2)
    assert result.stderr.startswith("kame-sysctl: ")
    assert "usage: kame-sysctl" in result.stderr


def test_help_and_version_are_data_and_need_no_privilege(namespace: Host) -> None:
    for option, word in (("--help", "usage:"), ("-h", "usage:"), ("--version", "kamexfrm")):
        result = namespace.run([*WITHOUT_NET_ADMIN, *COMMAND, option])
        assert word in result.stdout
        assert (result.stderr, result.status) == ("", 0)


@pytest.mark.parametrize("argument", ["-a", "net.inet", "net.inet.ipsec.def_policy=0"])
def test_without_privilege_there_is_one_line_and_status_1(namespace: Host, argument: str) -> None:
    result = namespace.run([*WITHOUT_NET_ADMIN, *COMMAND, argument])
    assert result.stderr == (
        "kame-sysctl: Operation not permitted\n"
        "    this needs CAP_NET_ADMIN in the network namespace: "
        "be root, or try it in `unshare -rn`\n"
    )
    assert (result.stdout, result.status) == ("", 1)
    assert values(namespace) == START


def test_names_and_descriptions_need_no_privilege(namespace: Host) -> None:
    assert namespace.run([*WITHOUT_NET_ADMIN, *COMMAND, "-aN"]).stdout.split() == list(NAMES)
    assert namespace.run([*WITHOUT_NET_ADMIN, *COMMAND, "-ad"]).status == 0


def test_a_kernel_without_xfrm_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    with monkeypatch.context() as patch:
        patch.setattr(_socket, "socket", refuse)
        status = run(["-a"])
    out, err = capsys.readouterr()
    assert (out, status) == ("", 1)
    assert err.startswith("kame-sysctl: this kernel has no XFRM")
    assert err.count("\n") == 1


def test_a_reader_that_leaves_ends_it_quietly(namespace: Host) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with subprocess.Popen(
        [*COMMAND, "-a"], stdout=write_end, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(write_end)
        _, stderr = process.communicate(timeout=30)
    assert stderr == ""
    assert process.returncode != 0


def test_a_full_disk_is_one_line_and_status_1(namespace: Host) -> None:
    script = 'exec "$@" >/dev/full'
    result = namespace.run(["sh", "-c", script, "sh", *COMMAND, "-a"])
    assert result.stderr == f"kame-sysctl: {os.strerror(errno.ENOSPC)}\n"
    assert result.status == 1


# What is not as we left it


@pytest.fixture
def both_discard(namespace: Host) -> Host:
    """Make a host that discards what matches no policy, by both families' def_policy."""
    result = kame_sysctl(namespace, f"{INET[0]}=0", f"{INET6[0]}=0")
    assert result.status == 0
    return namespace


def test_a_flush_by_another_program_is_noticed(both_discard: Host) -> None:
    assert kame_sysctl(both_discard, "-a").stderr == ""
    both_discard.run(["ip", "xfrm", "policy", "flush"], check=True)
    result = kame_sysctl(both_discard, "-n", INET[0])
    assert (result.stdout, result.status) == ("1\n", 0)
    assert "lost" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("value", [0, 1])
def test_def_policy_written_again_restores_what_was_flushed(both_discard: Host, value: int) -> None:
    both_discard.run(["ip", "xfrm", "policy", "flush"], check=True)
    kame_sysctl(both_discard, f"{INET[0]}={value}", f"{INET6[0]}={value}")
    result = kame_sysctl(both_discard, "-n", INET[0], INET6[0])
    assert (result.stdout, result.stderr) == (f"{value}\n{value}\n", "")


def test_a_foreign_default_that_contradicts_def_policy_is_a_warning(namespace: Host) -> None:
    kame_sysctl(namespace, f"{INET[1]}=2")
    namespace.run(["ip", "xfrm", "policy", "setdefault", "out", "block"], check=True)
    result = kame_sysctl(namespace, INET[0])
    assert (result.stdout, result.status) == (f"{INET[0]} = 1\n", 0)
    assert "getdefault" in result.stderr


@pytest.mark.parametrize(
    ("limit", "word"),
    [
        # The first word of a marker of version 2, of version 0, and nothing of ours at all.
        (0x4B584D02 << 32 | 0x80000000, "later version"),
        (0x4B584D00 << 32 | 0x80000000, "cannot be read"),
        (None, "cannot be read"),
    ],
)
@pytest.mark.parametrize("argument", ["-a", f"{INET[1]}=2", "--preset=linux"])
def test_sysctls_that_cannot_be_read_are_neither_shown_nor_overwritten(
    namespace: Host, limit: int | None, word: str, argument: str
) -> None:
    words = [] if limit is None else ["limit", "byte-soft", str(limit)]
    add = ["ip", "xfrm", "policy", "add", *MARKER.split(), "action", "block", *words]
    namespace.run(add, check=True)
    before = spd(namespace)
    result = kame_sysctl(namespace, argument)
    assert (result.stdout, result.status) == ("", 1)
    assert word in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert spd(namespace) == before


def test_a_write_while_another_process_has_the_lock_fails_and_names_it(
    namespace: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kamexfrm.kernel.lock import NamespaceLock
    from kamexfrm.kernel.netlink import NetlinkKernel

    monkeypatch.setattr(NetlinkKernel, "lock", lambda _, **__: NamespaceLock(deadline=0.01))
    with Path("/proc/thread-self/ns/net").open() as inode:
        fcntl.flock(inode, fcntl.LOCK_EX)
        assert run([f"{INET[1]}=2"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Device or resource busy" in err
    assert f"process {os.getpid()}" in err
    assert run(["-n", INET[1]]) == 0
    assert capsys.readouterr().out == "1\n"
