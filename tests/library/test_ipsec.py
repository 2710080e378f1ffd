"""kamexfrm.open() and kamexfrm.events(): what programs write is there, and what they read is so."""

import asyncio
import os
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

import kamexfrm
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel import FakeKernel, NetlinkKernel
from kamexfrm.library.event_stream import Events
from kamexfrm.model import PolicyType, SocketPolicy, Verdict, explain_text, parse_policy
from kamexfrm.model.event import Change, KnobEvent, LostEvent, PolicyEvent, SaEvent
from kamexfrm.rig.namespace import Namespace

ADD = "add 10.0.0.1 10.0.0.2 esp 0x1000 -m transport -E aes-cbc 0x{};".format("11" * 16)
SPDADD = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;"


@pytest.fixture
def ipsec() -> kamexfrm.Ipsec:
    """Return the IPsec of a kernel in memory."""
    return kamexfrm.Ipsec(FakeKernel())


def test_what_is_added_as_text_is_listed_and_prints_as_it(ipsec: kamexfrm.Ipsec) -> None:
    ipsec.add(ADD + SPDADD)
    assert [str(policy) for policy in ipsec.policies()] == [SPDADD]
    assert [str(sa) for sa in ipsec.sas()] == [ADD.replace("0x" + "11" * 16, "...")]
    assert "1111" not in f"{ipsec.sas()} {ipsec.sas()[0]}"


def test_what_is_added_as_objects_is_what_the_text_makes(ipsec: kamexfrm.Ipsec) -> None:
    ipsec.add(kamexfrm.policy(SPDADD))
    key = kamexfrm.key("aes-cbc", b"\x11" * 16)
    ends = IPv4Address("10.0.0.1"), "10.0.0.2"
    ipsec.add(kamexfrm.sa(*ends, "esp", 0x1000, mode="transport", encryption=key))
    other = kamexfrm.Ipsec(FakeKernel())
    other.add(ADD + SPDADD)
    assert [sa.association for sa in ipsec.sas()] == [sa.association for sa in other.sas()]
    assert [p.policy for p in ipsec.policies()] == [p.policy for p in other.policies()]


def test_each_object_of_the_model_prints_as_setkey_writes_it(ipsec: kamexfrm.Ipsec) -> None:
    ipsec.add(ADD + SPDADD.replace("any", "tcp").replace("10.0.0.2", "10.0.0.0/24[80]"))
    [sa], [policy] = ipsec.sas(), ipsec.policies()
    assert str(sa.association) == str(sa) == ADD.replace("0x" + "11" * 16, "...")
    assert str(policy.policy) == str(policy)
    assert str(policy.policy.selector) == "10.0.0.1 10.0.0.0/24[80] tcp"
    assert str(policy.policy.requests[0]) == "esp/transport//require"
    assert str(sa.association.id) == "10.0.0.2 esp 0x1000"
    text = "out ipsec ah/transport//use"
    written = parse_policy(text)
    assert str(written) == text
    assert str(SocketPolicy(written.direction, PolicyType.IPSEC, written.requests)) == text
    packet = kamexfrm.packet("out", "10.0.0.1", "10.0.0.2", "tcp", 9, 80)
    assert str(ipsec.explain(packet)) == "\n".join(explain_text(ipsec.explain(packet)))
    assert "source=Address.of('10.0.0.1')" in f"{ipsec.policies()}"


def test_what_is_saved_is_what_there_is(ipsec: kamexfrm.Ipsec, tmp_path: Path) -> None:
    ipsec.add(ADD + SPDADD)
    path = tmp_path / "saved.conf"
    assert ipsec.save(str(path)) == []
    assert path.stat().st_mode & 0o777 == 0o600
    other = kamexfrm.Ipsec(FakeKernel())
    other.run(path.read_text())
    assert [sa.association for sa in other.sas()] == [sa.association for sa in ipsec.sas()]
    ipsec.save(str(path), keys=False)
    assert "11" * 16 not in path.read_text()
    with pytest.raises(KamexfrmError, match="No such file"):
        ipsec.save(str(tmp_path / "no" / "saved.conf"))


def test_each_way_to_name_what_is_deleted(ipsec: kamexfrm.Ipsec) -> None:
    for name in ("entry", "object", "id", "text", "dump"):
        ipsec.add(ADD + SPDADD)
        [sa], [policy] = ipsec.sas(), ipsec.policies()
        assert ipsec.get_policy(policy.id) == policy == ipsec.get_policy(policy.policy)
        assert ipsec.get_sa(sa.association.id) == sa == ipsec.get_sa(sa.association)
        assert ipsec.get_sa("10.0.0.1 10.0.0.2 esp 0x1000") == sa
        assert ipsec.get_policy("spdget 10.0.0.1 10.0.0.2 any -P out;") == policy
        assert ipsec.get_policy(f"spid={policy.id}") == policy
        ways: dict[str, tuple[object, object]] = {
            "entry": (sa, policy),
            "object": (sa.association, policy.policy),
            "id": (kamexfrm.sa_id(IPv4Address("10.0.0.2"), "esp", 0x1000), policy.id),
            "text": (
                "delete 10.0.0.1 10.0.0.2 esp 0x1000;",
                "spddelete 10.0.0.1 10.0.0.2 any -P out;",
            ),
            "dump": (
                "delete 10.0.0.1 10.0.0.2 esp mode=transport spi=4096(0x00001000);",
                f"spddelete spid={policy.id};",
            ),
        }
        for way in ways[name]:
            ipsec.delete(way)  # type: ignore[arg-type]
        assert not ipsec.sas()
        assert not ipsec.policies(twins=True)


def test_an_update_replaces_in_place(ipsec: kamexfrm.Ipsec) -> None:
    ipsec.add(SPDADD)
    before = ipsec.policies()[0].id
    with pytest.raises(KernelError, match="File exists"):
        ipsec.add(SPDADD)
    ipsec.update(SPDADD.replace("require", "use"))
    ipsec.update(kamexfrm.policy(SPDADD.replace("require", "unique:5")))
    [policy] = ipsec.policies()
    assert (policy.id, str(policy)) == (before, SPDADD.replace("require", "unique:5"))


def test_knobs_are_attributes_and_items(ipsec: kamexfrm.Ipsec) -> None:
    assert ipsec.knobs.inet.esp_trans_deflev == 1
    ipsec.knobs.inet.esp_trans_deflev = 2
    ipsec.knobs["net.inet6.ipsec6.def_policy"] = 0
    assert ipsec.knobs["net.inet.ipsec.esp_trans_deflev"] == 2
    assert ipsec.knobs.inet6.def_policy == 0
    assert ipsec.knobs.as_dict()["net.inet6.ipsec6.def_policy"] == 0
    with pytest.raises(KamexfrmError, match="esp_trans_deflev=3"):
        ipsec.knobs.inet.esp_trans_deflev = 3
    with pytest.raises(KamexfrmError, match="unknown variable"):
        ipsec.knobs["net.inet.ipsec.x"] = 1


def test_explaining_goes_by_what_is_there(ipsec: kamexfrm.Ipsec) -> None:
    packet = kamexfrm.packet("out", "10.0.0.1", "10.0.0.2", "tcp", 1024, 80)
    assert ipsec.explain(packet).verdict is Verdict.CLEAR
    ipsec.add(SPDADD)
    assert ipsec.explain(packet).verdict is Verdict.DROPPED
    ipsec.add(ADD)
    assert ipsec.explain(packet).verdict is Verdict.PROTECTED
    decision = kamexfrm.decide(packet, ipsec.policies(), ipsec.sas())
    assert decision == ipsec.explain(packet)


def test_a_script_ends_at_what_is_wrong(ipsec: kamexfrm.Ipsec) -> None:
    with pytest.raises(KamexfrmError, match="syntax error"):
        ipsec.run(SPDADD + "spdadd nonsense;")
    with pytest.raises(KamexfrmError, match="writes nothing"):
        ipsec.run("dump;")
    ipsec.run("flush; spdflush; exit; nonsense")
    assert not ipsec.policies()


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: kamexfrm.address("10.1"), "not a numeric address"),
        (lambda: kamexfrm.Ipsec(FakeKernel()).get_sa("::1 ::2 esp 1; dump"), "not one SA"),
        (lambda: kamexfrm.Ipsec(FakeKernel()).get_policy("spid=1; spid=2"), "."),
        (lambda: kamexfrm.key("rot13", b"x"), "no algorithm 'rot13'"),
        (lambda: kamexfrm.sa("::1", "::2", "tcp", 1), "an SA is of esp, ah, ipcomp"),
        (lambda: kamexfrm.policy("spdflush"), "."),
        (lambda: kamexfrm.packet("up", "::1", "::2"), "in, out or fwd"),
        (lambda: kamexfrm.packet("in", "::1", "::2", "nothing"), "no protocol 'nothing'"),
    ],
)
def test_what_makes_no_object_is_refused(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(KamexfrmError, match=reason):
        call()


def test_addresses_are_taken_and_given_back() -> None:
    for text in ("10.0.0.1", "2001:db8::1"):
        address = kamexfrm.address(text)
        assert str(address) == text
        assert kamexfrm.address(kamexfrm.library.to_ipaddress(address)) == address
    assert kamexfrm.address(IPv6Address("::1")) == kamexfrm.address("::1")


# Events


def test_events_are_what_was_written() -> None:
    kernel = FakeKernel()
    ipsec = kamexfrm.Ipsec(kernel)
    with ipsec.events() as events:
        ipsec.add(SPDADD + ADD)
        ipsec.knobs.inet.ah_net_deflev = 2
        ipsec.run("flush;")
        found = [event for event in events.receive() if not str(event).startswith("policy upd")]
    kinds = [(type(event), getattr(event, "change", None)) for event in found]
    assert kinds[:2] == [(PolicyEvent, Change.ADDED), (SaEvent, Change.ADDED)]
    assert KnobEvent("net.inet.ipsec.ah_net_deflev", 1, 2) in [
        e._replace(pid=0) for e in found if isinstance(e, KnobEvent)
    ]
    assert "SAs deleted" in str(found[-1])


def test_lost_events_are_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    kernel = FakeKernel()
    events = Events(kernel)

    def lost() -> None:
        raise KernelError(errno.ENOBUFS)

    monkeypatch.setattr(events._events, "receive", lost)
    assert events.receive() == [LostEvent()]


def test_events_are_awaited(real_kernel: NetlinkKernel) -> None:
    async def first() -> str:
        with kamexfrm.events() as events:
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            kamexfrm.Ipsec(real_kernel).add(SPDADD)
            return str(await asyncio.wait_for(waiting, 10))

    assert asyncio.run(first()).endswith(SPDADD)


def test_another_namespace_is_opened_by_its_path() -> None:
    try:
        there = Namespace()
    except PermissionError:
        pytest.skip("network namespaces need CAP_SYS_ADMIN")
    path = f"/proc/{os.getpid()}/fd/{there.fileno()}"
    with kamexfrm.open(path) as ipsec, kamexfrm.events(path) as events:
        ipsec.add(SPDADD)
        assert str(next(events)).endswith(SPDADD)
        assert [str(policy) for policy in ipsec.policies()] == [SPDADD]
    with there.enter(), kamexfrm.open() as ipsec:
        assert len(ipsec.policies()) == 1
    with pytest.raises(KernelError, match="No such file"):
        kamexfrm.open("no-such-namespace")


def test_type_checkers_see_no_any(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import kamexfrm\n"
        "with kamexfrm.open() as ipsec:\n"
        "    reveal_type(ipsec.sas())\n"
        "    reveal_type(ipsec.knobs.inet.def_policy)\n"
        "    reveal_type(kamexfrm.policy('x'))\n"
        "    reveal_type(next(kamexfrm.events()))\n"
        "    reveal_type(kamexfrm.decide)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Any" not in done.stdout
