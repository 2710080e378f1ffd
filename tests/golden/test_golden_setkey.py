"""Our setkey against recorded runs of the original: every difference is known and has a reason."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kamexfrm.net import AF_INET, AF_INET6, IPPROTO_ESP, Address
from kamexfrm.rig import Rig, until
from kamexfrm.xfrm import (
    XFRM_MODE_TRANSPORT,
    XFRM_POLICY_IN,
    XFRM_POLICY_OUT,
    Policy,
    Selector,
    Template,
    encode_socket_policy,
)
from tests.golden.golden_samples import (
    SAMPLES,
    Done,
    Step,
    as_toml,
    hunks,
    read_differences,
    samples,
    states,
    steps,
)
from tests.golden.setkey_here import hosts_file, run, tool  # noqa: F401  (a fixture)

pytestmark = pytest.mark.dataplane

DIFFERENCES = read_differences()

#: Samples of which every command is in its title.
PLAIN = [name for name in samples() if name[:2] not in ("18", "19", "20")]

AES = "-E aes-cbc 0x000102030405060708090a0b0c0d0e0f"
GOOD = (
    f"add 10.0.0.1 10.0.0.2 esp 0x1001 -m tunnel -r 4 -u 9 -lh 100 -ls 90 {AES}"
    ' -A hmac-sha1 "12345678901234567890";\n'
)


class Comparison:
    """Compares the steps of a sample and complains about all of them at its end."""

    def __init__(self) -> None:
        self._new: list[str] = []
        self._gone: list[str] = []
        self._seen: set[str] = set()

    def __enter__(self) -> "Comparison":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            return
        assert not self._new, "not in differences.toml:\n\n" + "".join(self._new)
        assert not self._gone, "in differences.toml, but not there:\n\n" + "".join(self._gone)

    def step(self, step: Step, ours: Done) -> None:
        """Compare what a command left."""
        self._seen.add(step.name)
        found = hunks(step.done, ours)
        listed = DIFFERENCES.hunks.get(step.name, frozenset())
        self._new.append(as_toml(step.name, found - listed))
        self._gone.append(as_toml(step.name, listed - found))
        if not self._new[-1]:
            self._new.pop()
        if not self._gone[-1]:
            self._gone.pop()


def run_titled(step: Step) -> Done | None:
    """Run a recorded command whose title says it all; None for one that is not compared."""
    if step.title in ("ip -s xfrm policy", "ip xfrm policy"):
        return None  # priorities and tags are our own, and tests/engine looks at them
    if step.title == "ip -s xfrm state":
        return Done(0, states(tool("ip", "-s", "xfrm", "state")), "")
    program, *arguments = step.title.split()
    assert program == "setkey", step.name
    return run(*arguments)


def to_compare(step: Step) -> Step:
    """Return a step with what is compared of it."""
    if step.title != "ip -s xfrm state":
        return step
    return step._replace(done=step.done._replace(out=states(step.done.out)))


@pytest.mark.parametrize("sample", PLAIN)
@pytest.mark.usefixtures("namespace", "hosts_file")
def test_a_file_gives_what_the_original_gave(sample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)
    with Comparison() as comparison:
        for step in steps(sample):
            ours = run_titled(step)
            if ours is not None:
                comparison.step(to_compare(step), ours)


def socket_with_policy(family: int, direction: int, *protocols: int) -> socket.socket:
    """Return a socket with a policy of its own: transport, required, or clear without protocol."""
    nowhere = Address.unspecified(family)
    templates = tuple(
        Template(nowhere, nowhere, protocol, XFRM_MODE_TRANSPORT, family=family)
        for protocol in protocols
    )
    policy = Policy(Selector(nowhere, nowhere, family=family), direction, templates=templates)
    made = socket.socket(family, socket.SOCK_DGRAM)
    if family == AF_INET:
        made.setsockopt(socket.IPPROTO_IP, 17, encode_socket_policy(policy))  # IP_XFRM_POLICY
    else:
        made.setsockopt(socket.IPPROTO_IPV6, 35, encode_socket_policy(policy))  # IPV6_XFRM_POLICY
    return made


@pytest.mark.usefixtures("namespace")
def test_policies_of_sockets_are_shown_as_the_original_showed_them() -> None:
    with contextlib.ExitStack() as stack, Comparison() as comparison:
        for family, direction, *protocols in (
            (AF_INET, XFRM_POLICY_OUT),
            (AF_INET, XFRM_POLICY_IN, IPPROTO_ESP),
            (AF_INET6, XFRM_POLICY_OUT),
        ):
            stack.enter_context(socket_with_policy(family, direction, *protocols))
        for step in steps("18-per-socket"):
            if step.name == "18-per-socket: setkey -DP (2)":
                run("-e", "spdadd 10.0.0.1 10.0.0.2 any -P out none;")
            ours = run_titled(step)
            if ours is not None:
                comparison.step(step, ours)


def repeat(arguments: Sequence[str], lines: int) -> Done:
    """Run ``setkey -l`` until it has printed so many lines; 124 as of timeout(1)."""
    command = [sys.executable, "-m", "kamexfrm.setkey", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        out = "".join(process.stdout.readline() for _ in range(lines))
        process.terminate()
        return Done(124, out, process.stderr.read())


def test_traffic_moves_the_counters_that_it_moved_for_the_original() -> None:
    record = (SAMPLES / "19-traffic-counters.txt").read_text()
    associations = record.partition("###")[0]
    requests = "ipsec esp/transport//require;"
    spd = "".join(
        f"spdadd {way} any -P {{}} {requests}"
        for way in ("10.99.0.1 10.99.0.2", "10.99.0.2 10.99.0.1")
    )
    with Rig() as rig, Comparison() as comparison:
        a, b = rig.host("a"), rig.host("b")
        rig.link(a, b, "10.99.0.1/24", "10.99.0.2/24")
        for host, directions in ((a, ("out", "in")), (b, ("in", "out"))):
            assert host.call(run, "-e", associations).status == 0
            script = spd.format(*directions)
            assert host.call(run, "-e", script) == Done(0, "", "")
        assert a.ping("10.99.0.2", count=4, payload=bytes(56), timeout=5.0)
        with a.enter():
            for step in steps("19-traffic-counters"):
                if step.title == "setkey -l -D (3s)":
                    lines = step.done.out.count("\n")
                    comparison.step(step, repeat(["-l", "-D"], lines))
                elif step.title.startswith(("setkey", "ip ")):
                    ours = run_titled(step)
                    if ours is not None:
                        comparison.step(to_compare(step), ours)


#: What was typed at ``setkey -c``, by the title of the record.
TYPED = {
    "-c: dump of empty; syntax error; continues": (
        "dump;\nbogus thing;\nadd 10.0.0.1 10.0.0.2 esp 5 -E null;\n"
        "add 10.0.0.1 10.0.0.2 esp 0x100 -E null; add 10.0.0.1 10.0.0.2 esp 0x101\n -E null;\n"
        "# comment\ndump;\nspddump;\nexit;\n"
    ),
    "-c: illegal char": "flush;\n$;\n",
    "-c: bad policy then good cmd": (
        "spdadd 10.0.0.1 10.0.0.2 any -P bogus none;\n"
        "spdadd 10.0.0.1 10.0.0.2 any -P out none;\nspddump;\n"
    ),
    "-c: keylen error": "add 10.0.0.1 10.0.0.2 esp 0x300 -E aes-cbc 0x00;\ndump esp;\n",
    "-c: EOF w/o ;": "flush",
    "-c: 1500-char line": "flush" + " " * 1500 + ";\ndump;\n",
    "-c with -v": "spdflush;flush;\n",
}

FOREIGN = (
    "state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x501 reqid 70000 mode tunnel flag esn"
    " replay-window 128 aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128",
    "state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x502 mode beet"
    " flag noecn decap-dscp nopmtudisc"
    " auth-trunc hmac(sha256)"
    " 0x000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f 128"
    " enc cbc(aes) 0x000102030405060708090a0b0c0d0e0f"
    " sel src 10.5.0.0/16 dst 10.6.0.0/16 proto tcp",
    "state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x503 mode transport mark 0x7"
    " auth-trunc cmac(aes) 0x000102030405060708090a0b0c0d0e0f 96"
    " enc cbc(serpent) 0x000102030405060708090a0b0c0d0e0f if_id 0x5",
    "policy add src 10.0.0.0/8 dst 10.3.0.0/16 dir out action block"
    " limit time-hard 60 limit time-use-hard 30",
)

UNPRIVILEGED = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")


def unprivileged(*arguments: str) -> Done:
    """Run setkey without CAP_NET_ADMIN."""
    command = [*UNPRIVILEGED, sys.executable, "-m", "kamexfrm.setkey", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def command_lines(step: Step) -> Iterator[Done]:
    """Run a command of sample 20, after what had been done before it."""
    title = step.title
    if title in TYPED:
        run("-F")
        run("-FP")
        yield run("-vc" if title == "-c with -v" else "-c", stdin=TYPED[title])
    elif title == "-f - (stdin)":
        yield run("-f", "-", stdin="dump;\nbogus;\n")
    elif title.startswith("non-root "):
        yield unprivileged(
            *title.removeprefix("non-root ").split(), *(["good.conf"] * ("-f" in title))
        )
    elif title in ("setkey -lD", "-l -D -p"):
        lines = step.done.out.count("\n")
        yield repeat(title.removeprefix("setkey ").split(), lines)
    elif title in ("-n -f good.conf", "-v -FP"):
        run("-F")
        yield run(*title.split())
    elif title == "-n -v -f":
        yield run("-n", "-v", "-f", "good.conf")
    elif title == "-D after -n":
        yield run("-D")
    elif title == "-vDP with a policy":
        text = "spdadd 10.0.1.0/24[80] 10.0.2.0/24 tcp -P out ipsec "
        text += "esp/tunnel/10.0.0.1-10.0.0.2/unique:9;"
        run("-c", stdin=text)
        yield run("-vDP")
    elif title.startswith("foreign"):
        if title == "foreign SAs: setkey -D":
            run("-F")
            run("-FP")
            for words in FOREIGN:
                tool("ip", "xfrm", *words.split())
        yield run(title.split()[-1])
    elif title == "exp":
        run("-F")
        yield run("-e", f"add 10.0.0.1 10.0.0.2 esp 0x1001 -lh 6 -ls 2 {AES};")
    elif title == "after soft expiry -D":
        until(lambda: "state=dying" in run("-D").out, 4.0)
        yield run("-D")
    elif title == "after hard expiry -Da":
        until(lambda: "esp" not in run("-D").out, 10.0)
        yield run("-Da")
    elif step.name not in DIFFERENCES.not_run:
        yield run(*title.removeprefix("setkey").split())


@pytest.mark.usefixtures("namespace")
def test_command_lines_do_what_they_did_to_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.conf").write_text(GOOD)
    (tmp_path / "short.bin").write_bytes(b"\2\n\0\0")
    with Comparison() as comparison:
        for step in steps("20-cli-and-errors"):
            for ours in command_lines(step):
                comparison.step(step, ours)


def test_every_listed_difference_belongs_to_a_recorded_command() -> None:
    known = {step.name for sample in samples() for step in steps(sample)}
    assert set(DIFFERENCES.hunks) | set(DIFFERENCES.not_run) <= known
