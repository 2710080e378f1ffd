"""``make boot-test``: the units under a real systemd as process 1, in a container of its own.

Each case is a boot of a fresh root with the package installed. The container has its own processes,
mounts, control groups and network; this machine's kernel has policies, and need not have ESP.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.packaging.deb import PACKAGE, POLICY
from tests.packaging.results import ROOT, record
from tests.packaging.roots import NAMES, SUITES, Root

#: Seconds for anything to come true: a boot takes two.
PATIENCE = 60

_Found = TypeVar("_Found")

OTHER, THIRD = (POLICY.replace("10.0.0.2", f"10.0.0.{number}") for number in (3, 4))

#: As systemd wants a container: a /dev of few nodes, and of /proc and /sys what is not the host's
#: is all that can be written.
_BOOT = """
base=$1 changes=$2 group=$3; shift 3
mkdir -p "$group"
echo 0 >"$group/cgroup.procs"
exec unshare --cgroup sh -eu -c '
base=$1 changes=$2
mount --make-rprivate /
root=$changes/root
mount -t overlay overlay -o "lowerdir=$base,upperdir=$changes/upper,workdir=$changes/work" "$root"
mount -t tmpfs dev "$root/dev" -o mode=755
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=666
mount -t tmpfs shm "$root/dev/shm" -o mode=1777
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
done
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,ro "$root/proc/sys"
if [ -e "$root/proc/sysrq-trigger" ]; then
    mount --bind "$root/dev/null" "$root/proc/sysrq-trigger"
fi
mount -t sysfs sysfs "$root/sys" -o ro
mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
mount -t tmpfs run "$root/run" -o mode=755
cd "$root"
mkdir -p .before
pivot_root . .before
umount -l .before
rmdir .before
exec env -i container=kamexfrm PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
' boot "$base" "$changes"
"""

#: Says what was there when the network was about to be configured.
_PROBE = """
[Unit]
DefaultDependencies=no
After=network-pre.target
Before=network.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'setkey -DP >/root/before-network'
[Install]
WantedBy=multi-user.target
"""

#: A daemon that registers for ESP, and asks once more when it is told to end.
_DAEMON = """
import os, signal, socket, struct, sys
sock = socket.socket(15, socket.SOCK_RAW, 2)
def register(satype):
    sock.send(struct.pack('=BBBBHHII', 2, 7, 0, satype, 2, 0, 1, os.getpid()))
    return sock.recv(65536)[2]
def end(*_):
    open('/var/lib/ended', 'w').write(f'{register(2)}')
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
register(3)
with open('/var/lib/registered', 'w') as file:
    file.write(f'{os.getpid()}')
while True:
    signal.pause()
"""


class Machine:
    """A booted root; commands run in it by nsenter."""

    def __init__(self, root: Root) -> None:
        self._group = _cgroup2() / f"kamexfrm-boot-{root.changes.name}"
        command = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--fork"]
        command += ["--kill-child", "sh", "-eu", "-c", _BOOT, "boot"]
        command += [str(root.base), str(root.changes), str(self._group)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._init = 0

    def __enter__(self) -> Self:
        try:
            self._init = int(wait(self._child, "process 1"))
            wait(
                lambda: self.run("systemctl is-system-running", check=False).strip() in _UP, "boot"
            )
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def run(self, script: str, *, check: bool = True) -> str:
        """Run a script of bash in the machine; return its output."""
        command = ["nsenter", "--all", "--target", str(self._init), "env", "-i"]
        command += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if check and done.returncode:
            log = self.run("journalctl -b --no-pager | tail -40", check=False)
            sys.exit(f"status {done.returncode} of {script}\n{done.stdout}\n{log}")
        return done.stdout

    def _child(self) -> str:
        if self._process.poll() is not None:
            sys.exit("the container has ended")
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        child = path.read_text().strip()
        command = Path(f"/proc/{child or 0}/comm")
        return child if child and command.read_text().strip() == "systemd" else ""

    def _end(self) -> None:
        self._process.kill()  # --kill-child: and with process 1 all others
        self._process.wait()
        for folder in sorted(self._group.rglob("*/"), reverse=True):
            _remove(folder)
        _remove(self._group)


_UP = ("running", "degraded")


def _remove(group: Path) -> None:
    def is_removed() -> bool:
        try:
            group.rmdir()
        except OSError:  # its processes are on their way out
            return not group.exists()
        return True

    wait(is_removed, f"the end of {group}")


def _cgroup2() -> Path:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    sys.exit("no cgroup2 is mounted on this machine")


def wait(what: Callable[[], _Found], name: str) -> _Found:
    """Wait until something is true; return it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    sys.exit(f"{name} did not come in {PATIENCE} s")


def main() -> None:
    """Try all cases on each suite of the command line."""
    for suite in sys.argv[1:] or SUITES:
        with Root(suite) as root:
            (root.files / "root").mkdir(exist_ok=True)
            shutil.copy2(_package(), root.files / "root" / PACKAGE)
            root.install("systemd systemd-sysv iproute2 procps")
            root.run(f"apt-get -q -y install ./{PACKAGE}; systemctl is-enabled kamexfrm")
            _write(root, "etc/systemd/system/probe.service", _PROBE)
            root.run("systemctl enable probe")
            for case in (_loads, _is_closed, _daemons):
                case(root)
                print(f"{suite}: {case.__doc__}", flush=True)
        record("boot-test", NAMES[suite], "boot, reload, lockdown, daemons and exposure: passed")


#: What systemd-analyze says of each unit is to be less; of kamexfrm-exec@ the unit says why.
_EXPOSURE = {"kamexfrm": 3, "kamexfrmd": 3, "kamexfrmd@x": 3, "kamexfrm-exec@x": 4}


def _package() -> Path:
    """Return the newest package that was built."""
    built = sorted((ROOT / "dist").glob(f"*{PACKAGE}"), key=lambda path: path.stat().st_mtime)
    return built[-1] if built else sys.exit("there is no package: make deb")


def _write(root: Root, name: str, text: str) -> None:
    path = root.files / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _loads(root: Root) -> None:
    """Load policies before the network is up; a reload never deletes one that stays."""
    _write(root, "etc/ipsec-tools.conf", f"flush; spdflush;\n{POLICY}\n")
    _write(root, "etc/ipsec-tools.d/other.conf", f"{OTHER}\n")
    with Machine(root) as machine:
        machine.run("systemctl is-active kamexfrm")
        machine.run("grep -c '^10.0.0.1.*10.0.0.[23]' /root/before-network | grep -qx 2")
        machine.run("rm /etc/ipsec-tools.d/other.conf")
        machine.run(
            "timeout 60 ip xfrm monitor policy >/root/seen & sleep 1; systemctl reload kamexfrm;"
            f"setkey -e '{OTHER}'; until grep -q 10.0.0.3/32 /root/seen; do :; done; kill %1"
        )
        seen = machine.run("cat /root/seen")
        if re.search(r"^Deleted src \S+ dst 10\.0\.0\.2/32", seen, re.MULTILINE):
            sys.exit(f"a reload has deleted a policy that stays:\n{seen}")
        for unit, exposure in _EXPOSURE.items():
            said = machine.run(f"systemd-analyze security --no-pager {unit}.service | tail -1")
            if float(re.findall(r": ([\d.]+) ", said)[0]) >= exposure:
                sys.exit(said)
        machine.run("systemctl stop kamexfrm; setkey -DP | grep -q 'No SPD entries'")


def _is_closed(root: Root) -> None:
    """Start closed with a lockdown; stay so while the files fail, and when they are mended."""
    root.run("cp /usr/share/doc/kamexfrm/examples/lockdown.conf /etc/kamexfrm/")
    _write(root, "etc/kamexfrm/hosts.conf", "spdadd nonsense;\n")
    closed = "kame-sysctl -n net.inet.ipsec.def_policy net.inet6.ipsec6.def_policy | uniq"
    with Machine(root) as machine:
        machine.run("systemctl is-failed kamexfrm")
        machine.run(f"{closed} | grep -qx 0; grep -q '0.0.0.0/0.500. 0.0.0.0' /root/before-network")
        machine.run("ip link set lo up; ip address add 10.0.0.1/8 dev lo; ping -c1 127.0.0.1 || :")
        machine.run(f"echo '{THIRD}' >/etc/kamexfrm/hosts.conf; systemctl restart kamexfrm")
        machine.run(f"{closed} | grep -qx 0; setkey -DP | grep -q '^10.0.0.1.*10.0.0.4'")
        machine.run(f"systemctl stop kamexfrm; {closed} | grep -qx 0")
        machine.run("apt-get -q -y purge kamexfrm; test ! -e /etc/kamexfrm")
        left = machine.run("ip xfrm policy; ip xfrm policy getdefault")
        if "block" in left:
            sys.exit(f"the package is gone and the host is closed: {left}")
    root.run(f"apt-get -q -y install ./{PACKAGE}")


def _daemons(root: Root) -> None:
    """Start the daemons, again when they are killed; a daemon ends before its supervisor."""
    _write(root, "usr/local/lib/daemon.py", _DAEMON)
    _write(root, "etc/kamexfrm/exec/probe", 'COMMAND="python3 /usr/local/lib/daemon.py"\n')
    with Machine(root) as machine:
        machine.run("ip netns add blue; systemctl start kamexfrmd@blue kamexfrmd")
        machine.run("systemctl start kamexfrm-exec@probe")
        for unit in ("kamexfrmd", "kamexfrmd@blue", "kamexfrm-exec@probe"):
            _kill(machine, unit)
        machine.run("systemctl show -P OOMScoreAdjust kamexfrm-exec@probe | grep -qx -- -500")
        if _may_lower_oom_scores():
            scores = (
                "group=$(systemctl show -P ControlGroup kamexfrm-exec@probe);"
                "for p in $(cat /sys/fs/cgroup/$group/cgroup.procs); do"
                " cat /proc/$p/oom_score_adj; done"
            )
            wanted = {"-500", "-900", "-1000"}
            wait(lambda: wanted <= set(machine.run(scores).split()), "the OOM scores")
        registered = "cat /var/lib/registered; echo; systemctl show -P MainPID kamexfrm-exec@probe"
        wait(lambda: len(set(machine.run(registered).split())) == 1, "the daemon")
        machine.run(
            "systemctl stop kamexfrm-exec@probe; cat /var/lib/ended; grep -qx 0 /var/lib/ended"
        )


def _may_lower_oom_scores() -> bool:
    """Whether this machine lets its root do so: a container without CAP_SYS_RESOURCE does not."""
    status = Path("/proc/self/status").read_text()
    return bool(int(re.findall(r"CapBnd:\s+(\w+)", status)[0], 16) >> 24 & 1)


def _kill(machine: Machine, unit: str) -> None:
    """Kill a unit's process and wait until another one runs."""

    def state() -> str:
        return machine.run(f"systemctl show -p ActiveState -p MainPID {unit}").strip()

    before = state()
    machine.run(f"kill -9 $(systemctl show -P MainPID {unit})")
    wait(lambda: "ActiveState=active" in state() and state() != before, f"{unit}, again,")


if __name__ == "__main__":
    main()
