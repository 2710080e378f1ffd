"""``kamexfrm demo``: the main job on two hosts, as a transcript that checks itself.

Two network namespaces, a setkey file on each, pings between them, what was on the wire, and what
the knobs and levels change. Where the running kernel has no ESP, all of it happens in the guest.
"""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from kamexfrm.command_line import wants_colour
from kamexfrm.errors import KamexfrmError
from kamexfrm.rig import Capture, Host, two_hosts
from kamexfrm.rig.python import installed

#: Data of the pings, by which clear text is recognized on the wire.
SECRET = b"in the clear"

_KEYS = (
    "-E aes-cbc 0x000102030405060708090a0b0c0d0e0f "
    "-A hmac-sha1 0x000102030405060708090a0b0c0d0e0f10111213"
)

_SAS = f"""\
add 10.0.0.1 10.0.0.2 esp 0x1001 -m transport {_KEYS};
add 10.0.0.2 10.0.0.1 esp 0x1002 -m transport {_KEYS};
"""

#: One host's file; the mirror image differs in the two directions only.
ALICE = f"""\
# alice (10.0.0.1): all traffic with bob in ESP
flush; spdflush;
{_SAS}spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;
spdadd 10.0.0.2 10.0.0.1 any -P in  ipsec esp/transport//require;
"""
BOB = (
    ALICE.replace("alice (10.0.0.1)", "bob (10.0.0.2)")
    .replace("with bob", "with alice")
    .replace("10.0.0.1 10.0.0.2 any -P out", "10.0.0.1 10.0.0.2 any -P @")
    .replace("any -P in ", "any -P out")
    .replace("any -P @", "any -P in ")
)

_TO_DEFAULT = """\
spdflush;
spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//default;
spdadd 10.0.0.2 10.0.0.1 any -P in  none;
"""
_NONE = "flush; spdflush;\n"
_KNOB = "net.inet.ipsec.esp_trans_deflev"


class Surprise(KamexfrmError):
    """Something else happened than the transcript says."""


class Narrator:
    """Runs the steps and prints them; colour only on a terminal."""

    def __init__(self, alice: Host, bob: Host, folder: Path) -> None:
        self.alice = alice
        self.bob = bob
        self._folder = folder
        self._colour = wants_colour(sys.stdout)

    def _paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def heading(self, text: str) -> None:
        """Begin a chapter."""
        print("\n" + self._paint(f"== {text}", "1"))

    def say(self, text: str) -> None:
        """Explain."""
        print(text)

    def file(self, host: Host, name: str, text: str) -> str:
        """Write a file for a host, show it, and return its path."""
        path = self._folder / name
        path.write_text(text)
        print(f"\n{name}:")
        print("".join(f"    {line}\n" for line in text.splitlines()), end="")
        return str(path)

    def command(self, host: Host, *words: str, text: str = "") -> str:
        """Run one of our commands on a host as a user would; return its output."""
        shown = f"{host.name}# " + " ".join(Path(word).name for word in words)
        print(self._paint(shown, "36"))
        done = host.run([installed(words[0]), *words[1:]], input=text, timeout=60)
        if text:
            print("".join(f"    < {line}\n" for line in text.splitlines()), end="")
        for line in done.stderr.splitlines():
            print(f"    {line}")
        if done.status:
            raise Surprise(f"{shown} ended with {done.status}: {done.stdout}")
        return done.stdout

    def ping(self, expect: str, *, answered: bool) -> None:
        """Ping bob from alice; ``expect`` is what must be on the wire: ESP, clear or nothing."""
        before = self.alice.counters()
        with self.alice.capture("eth0") as capture:
            got = self.alice.ping("10.0.0.2", timeout=5.0 if answered else 0.5, payload=SECRET)
            seen = _on_the_wire(capture)
        print(self._paint("alice# ping 10.0.0.2", "36"))
        print(f"    {'answered' if got else 'no answer'}; on the wire:")
        packets = [p for p in capture.packets if p.protocol in (1, 50)]
        for packet in packets:
            print(f"      {packet.summary}")
        if not packets:
            print("      (nothing)")
        for name, count in self.alice.counters().items():
            if count > before.get(name, 0):
                print(f"    alice's {name} rose by {count - before.get(name, 0)}")
        if (got, seen) != (answered, expect):
            raise Surprise(f"expected {expect} on the wire, saw {seen}:\n{capture}")


def _on_the_wire(capture: Capture) -> str:
    protocols = {p.protocol for p in capture.packets if p.protocol in (1, 50)}
    if capture.contains(SECRET):
        return "clear"
    return {frozenset(): "nothing", frozenset({50}): "ESP"}.get(frozenset(protocols), "a mixture")


def _protected(demo: Narrator) -> None:
    demo.heading("1. Two hosts, a setkey file on each")
    demo.say("alice 10.0.0.1 and bob 10.0.0.2 are network namespaces on one link.")
    alice = demo.file(demo.alice, "alice.conf", ALICE)
    bob = demo.file(demo.bob, "bob.conf", BOB)
    demo.say("")
    demo.say("Without IPsec a ping is there for everybody to read:")
    demo.ping("clear", answered=True)
    demo.say("\nNow both load their file:")
    demo.command(demo.alice, "setkey", "-f", alice)
    demo.command(demo.bob, "setkey", "-f", bob)
    demo.ping("ESP", answered=True)
    demo.say("\nESP both ways. The kernel holds all of it, so any process can ask:")
    dump = demo.command(demo.alice, "setkey", "-D")
    kept = re.compile(r"^\d|\tesp mode|\tE:|\tA:|allocated|bytes")
    for line in dump.splitlines():
        if kept.search(line):
            print(f"    {line.expandtabs(4)}")


def _required(demo: Narrator) -> None:
    demo.heading("2. Level require: no SA, no packet")
    demo.command(demo.alice, "setkey", "-F")
    demo.ping("nothing", answered=False)
    demo.say("require never lets a packet out unprotected: it is dropped and counted.")


def _default(demo: Narrator) -> None:
    demo.heading("3. Level default: a knob decides, also over what is installed")
    demo.command(demo.bob, "setkey", "-c", text=_NONE)
    demo.command(demo.alice, "setkey", "-c", text=_TO_DEFAULT)
    print(_indent(demo.command(demo.alice, "kame-sysctl", _KNOB)))
    demo.say("1 is use: protected while an SA is there, in clear while there is none.")
    demo.ping("clear", answered=True)
    print(_indent(demo.command(demo.alice, "kame-sysctl", f"{_KNOB}=2")))
    demo.say("2 is require, for the policy that is there, from this packet on:")
    demo.ping("nothing", answered=False)
    dump = demo.command(demo.alice, "setkey", "-DP").splitlines()
    outbound = [at for at, line in enumerate(dump) if line.startswith("\tout")]
    shown = [line for at in outbound for line in dump[at - 1 : at + 2]]
    print(_indent("\n".join(shown)))
    if "\tesp/transport//default" not in shown:
        raise Surprise("the dump has lost level default")
    demo.say("The level as written is kept in the kernel too: no file, no daemon.")
    print(_indent(demo.command(demo.alice, "kame-sysctl", f"{_KNOB}=1")))
    demo.ping("clear", answered=True)


def _indent(text: str) -> str:
    return "\n".join(f"    {line.expandtabs(4)}" for line in text.splitlines())


def _def_policy(demo: Narrator) -> None:
    demo.heading("4. def_policy: what becomes of packets that match no policy")
    demo.command(demo.alice, "setkey", "-c", text=_NONE)
    print(_indent(demo.command(demo.alice, "kame-sysctl", "net.inet.ipsec.def_policy=discard")))
    demo.ping("nothing", answered=False)
    print(_indent(demo.command(demo.alice, "kame-sysctl", "net.inet.ipsec.def_policy=none")))
    demo.ping("clear", answered=True)


def run() -> int:
    """Print the whole transcript on this kernel; return 0, or 1 if something else happened."""
    with TemporaryDirectory() as folder, two_hosts() as (alice, bob):
        alice.name, bob.name = "alice", "bob"
        demo = Narrator(alice, bob, Path(folder))
        try:
            for chapter in (_protected, _required, _default, _def_policy):
                chapter(demo)
        except Surprise as surprise:
            print(f"\nNot as promised: {surprise}", file=sys.stderr)
            return 1
    demo.say("\nAll as promised. The namespaces, and everything in them, are gone.")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a TextIOWrapper
    sys.exit(run())
