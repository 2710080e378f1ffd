"""The recording of README.md: ``python -m tests.docs.recording docs/tour.svg`` makes it.

The commands are run on a host of a rig, in a guest, and what they print is recorded as it is.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from kamexfrm.rig import Host, Rig, python
from kamexfrm.rig.guest import run_in_guest
from tests.docs.animation import COLUMNS, Shot, animated

POLICY = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;\n"

#: A scenario with one mistake: the SPI that bob has is not the one that alice sends with.
SCENARIO = '''title = "two hosts, all traffic in ESP"
links = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob"
[hosts.alice]
setkey = """
add ${alice} ${bob} esp 0x201 -E aes-gcm-16 ${key:288};
add ${bob} ${alice} esp 0x202 -E aes-gcm-16 ${key:288};
spdadd ${alice} ${bob} any -P out ipsec esp/transport//require;
spdadd ${bob} ${alice} any -P in ipsec esp/transport//require;
"""
[hosts.bob]
setkey = """
add ${alice} ${bob} esp 0x209 -E aes-gcm-16 ${key:288};
add ${bob} ${alice} esp 0x202 -E aes-gcm-16 ${key:288};
spdadd ${alice} ${bob} any -P in ipsec esp/transport//require;
spdadd ${bob} ${alice} any -P out ipsec esp/transport//require;
"""
[[steps]]
ping = "alice -> bob"
expect = "ok"
wire = "esp"
'''

FILES = {"host.conf": POLICY, "vpn.rig.toml": SCENARIO}

COMMANDS = (
    "cat host.conf",
    "setkey -f host.conf",
    "kamexfrm explain 10.0.0.1 10.0.0.2 icmp 8 0",
    "sed s/require/use/ host.conf | kamexfrm plan -",
    "kamexfrm rig run vpn.rig.toml",
    "sed -i s/0x209/0x201/ vpn.rig.toml",
    "kamexfrm rig run vpn.rig.toml",
)


def record(host: Host, folder: Path, *, colour: bool) -> list[Shot]:
    """Run the commands on a host that has 10.0.0.1, and return what they print."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": str(COLUMNS),
        "FORCE_COLOR" if colour else "NO_COLOR": "1",
    }
    return [
        Shot(
            command,
            host.run(
                ["sh", "-c", f"{command} 2>&1"],
                timeout=120,
                directory=folder,
                environment=environment,
            ).stdout,
        )
        for command in COMMANDS
    ]


def _inside(target: Path) -> None:
    """Record in the guest."""
    with Rig() as rig, tempfile.TemporaryDirectory() as folder:
        alice, bob = rig.host("alice"), rig.host("bob")
        rig.link(alice, bob)
        alice.address("eth0", "10.0.0.1/24")
        target.write_text(json.dumps(record(alice, Path(folder), colour=True)))


def main(target: Path) -> None:
    """Write the recording."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shots.json"
        words = [*python.module("tests.docs.recording"), "--inside", str(path)]
        words.remove("-P")  # the tests are no installed package
        run_in_guest(
            words,
            share=Path(folder),
            timeout=600,
            stdout=sys.stdout.buffer,
            stderr=sys.stderr.buffer,
        )
        shots = [Shot(*one) for one in json.loads(path.read_text())]
    target.write_text(animated("kamexfrm: explain, plan, and a scenario that fails", shots))


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        _inside(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]))
