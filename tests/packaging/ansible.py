"""``make ansible-test``: the role of contrib/ansible on many network namespaces as hosts, twice.

The first run changes each host, the second one nothing. Before them check mode shows on two of them
what would be done and does nothing; after them they get one more policy, and what somebody deletes
there by hand comes back.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.packaging.results import ROOT, record

HOSTS = int(os.environ.get("HOSTS", "50"))
FOLDER = ROOT / "contrib" / "ansible"
BIN = ROOT / ".venv" / "bin"
TOOLS = ROOT / "build" / "ansible-tools"
RECAP = re.compile(r"^\S+ +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0 ", re.MULTILINE)

PLAY = """
- name: All hosts
  hosts: all
  gather_facts: false
  roles:
    - role: kamexfrm
"""


def main() -> None:
    """Lint the role, then run it."""
    if not (TOOLS / "bin" / "ansible-lint").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(TOOLS)], check=True)
        install = [str(TOOLS / "bin" / "pip"), "install", "-q", "ansible-core", "ansible-lint"]
        subprocess.run(install, check=True)
    environment = {**os.environ, "PATH": f"{TOOLS / 'bin'}:{os.environ['PATH']}"}
    lint = ["ansible-lint", "--offline", "--profile", "production", "-q"]
    subprocess.run(lint, cwd=FOLDER, env=environment, check=True)
    with tempfile.TemporaryDirectory() as name, _namespaces(Path(name)) as inventory:
        seconds = _runs(Path(name), inventory)
    version = subprocess.run(
        [str(TOOLS / "bin" / "ansible"), "--version"], capture_output=True, text=True, check=True
    ).stdout.split("]")[0]
    record(
        "ansible-test",
        f"{HOSTS} network namespaces",
        f"second run changes nothing; {seconds[0]:.0f} s and {seconds[1]:.0f} s;"
        f" {version.replace('[', '')}; ansible-lint is clean",
    )


@contextlib.contextmanager
def _namespaces(folder: Path) -> Iterator[Path]:
    """Make the hosts; give the inventory. A host's interpreter is started in its namespace."""
    hosts = {}
    names = [f"kamexfrm-ansible-{number}" for number in range(1, HOSTS + 1)]
    try:
        for number, name in enumerate(names, 1):
            subprocess.run(["ip", "netns", "add", name], check=True)
            place = folder / name
            place.mkdir()
            python = place / "python"
            python.write_text(f'#!/bin/sh\nexec ip netns exec {name} {sys.executable} "$@"\n')
            python.chmod(0o755)
            hosts[name] = {
                "ansible_connection": "local",
                "ansible_python_interpreter": str(python),
                "kamexfrm_etc": str(place / "etc"),
                "address": f"10.0.0.{number}",
            }
        inventory = folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
        yield inventory
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)


def _runs(folder: Path, inventory: Path) -> list[float]:
    """Run the play in check mode, twice, and with one file more; return the two runs' seconds."""
    (folder / "play.yml").write_text(PLAY)
    policy = "spdadd {{ address }} 10.1.0.1 any -P out ipsec esp/transport//require;\n"
    settings = {
        "kamexfrm_bin": str(BIN),
        "kamexfrm_service": False,
        "kamexfrm_variables": {"net.inet.ipsec.esp_trans_deflev": "require"},
        "kamexfrm_files": {"hosts": policy},
    }
    ends = f"--limit=kamexfrm-ansible-1,kamexfrm-ansible-{HOSTS}"
    changed, text, _ = _play(folder, inventory, settings, "--check", "--diff", ends)
    if not all(changed) or "+net.inet.ipsec.esp_trans_deflev = 2" not in text:
        sys.exit(f"check mode does not say what would change: {text[-3000:]}")
    if any((folder / "kamexfrm-ansible-1").glob("etc/kamexfrm/*")):
        sys.exit("check mode has written files")
    changed, text, first = _play(folder, inventory, settings)
    if not all(changed):
        sys.exit(f"the first run has not changed each host:\n{text[-3000:]}")
    changed, text, second = _play(folder, inventory, settings)
    if any(changed):
        sys.exit(f"the second run has changed something:\n{text[-3000:]}")
    settings["kamexfrm_files"] = {"hosts": policy, "more": policy.replace("10.1.0.1", "10.1.0.2")}
    _play(folder, inventory, settings, ends)
    _has_two_policies()
    gone = ["setkey", "-e", "spdflush;"]
    subprocess.run(
        ["ip", "netns", "exec", "kamexfrm-ansible-1", BIN / gone[0], *gone[1:]], check=True
    )
    changed, text, _ = _play(folder, inventory, settings, "--check", "--diff", ends)
    if sorted(changed) != [0, 1] or "+spdadd 10.0.0.1 10.1.0.2" not in text:
        sys.exit(f"check mode does not say that policies were deleted by hand:\n{text[-3000:]}")
    _play(folder, inventory, settings, ends)
    _has_two_policies()
    return [first, second]


def _has_two_policies() -> None:
    """See that the first host and the last one have their policies."""
    for number in (1, HOSTS):
        shown = subprocess.run(
            ["ip", "netns", "exec", f"kamexfrm-ansible-{number}", str(BIN / "setkey"), "-DP"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        if shown.count(f"10.0.0.{number}[any] 10.1.0.") != 2:
            sys.exit(f"host {number} has not what the files say:\n{shown}")


def _play(
    folder: Path, inventory: Path, settings: dict[str, object], *options: str
) -> tuple[list[int], str, float]:
    """Run the play; return how much it changed on each host, what it printed, and the seconds."""
    (folder / "settings.json").write_text(json.dumps(settings))
    command = [str(TOOLS / "bin" / "ansible-playbook"), "-i", str(inventory), "--forks", "8"]
    command += ["-e", f"@{folder}/settings.json", *options, str(folder / "play.yml")]
    environment = {
        **os.environ,
        "ANSIBLE_ROLES_PATH": str(FOLDER / "roles"),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }
    start = time.monotonic()
    done = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    changed = [int(count) for count in RECAP.findall(done.stdout)]
    if done.returncode or len(changed) != (min(2, HOSTS) if "--limit" in str(options) else HOSTS):
        sys.exit(done.stdout[-6000:])
    print(f"{' '.join(options) or 'run'}: {sum(changed)} changes", flush=True)
    return changed, done.stdout, time.monotonic() - start


if __name__ == "__main__":
    main()
