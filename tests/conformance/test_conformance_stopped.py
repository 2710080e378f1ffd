"""A writer that is stopped while it has the lock: what others are told, and what it undoes."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from kamexfrm.rig import TwoHosts, until

SETKEY = [sys.executable, "-m", "kamexfrm.setkey"]
SYSCTL = [sys.executable, "-m", "kamexfrm.sysctl"]
DEF_POLICY = "net.inet.ipsec.def_policy"
DEFLEV = "net.inet.ipsec.esp_trans_deflev"

#: Enough for some seconds of work.
LINES = "".join(
    f"spdadd 10.{at >> 16}.{at >> 8 & 255}.{at & 255} 11.0.0.1 any -P out"
    " ipsec esp/transport//default;\n"
    for at in range(30_000)
)


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)


def has_lock(process: subprocess.Popen[bytes]) -> bool:
    rows = Path("/proc/locks").read_text().splitlines()
    return any("FLOCK" in row and f" {process.pid} " in row and "->" not in row for row in rows)


def stopped_with_lock(path: Path) -> subprocess.Popen[bytes]:
    """Start a load and stop it while it has the lock."""
    for _ in range(20):
        process = subprocess.Popen([*SETKEY, "-f", path], stderr=subprocess.PIPE)
        try:
            while process.poll() is None:
                if not has_lock(process):
                    continue
                process.send_signal(signal.SIGSTOP)
                until(partial(is_stopped, process), what="the stop of the load")
                if has_lock(process):
                    return process
                process.send_signal(signal.SIGCONT)
        except BaseException:
            process.kill()
            raise
        process.communicate()
        run([*SETKEY, "-FP"])
    raise AssertionError("the load was never stopped while it had the lock")


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state in "TZ"


@pytest.mark.both_kernels
@pytest.mark.parametrize("first", ["", "spdflush;\n"], ids=["load", "reload"])
def test_a_stopped_writer_undoes_no_knob_that_was_reported_as_written(
    two_hosts: TwoHosts, tmp_path: Path, first: str
) -> None:
    path = tmp_path / "a.conf"
    path.write_text(first + LINES)
    with two_hosts.a.enter():
        process = stopped_with_lock(path)
        try:
            tried = run([*SYSCTL, f"{DEF_POLICY}=0"])
            assert tried.returncode == 1
            assert f"process {process.pid} (" in tried.stderr
            assert "Device or resource busy" in tried.stderr
            process.send_signal(signal.SIGCONT)
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 0, err
        assert run([*SYSCTL, "-n", DEF_POLICY]).stdout == "1\n"
        assert run([*SYSCTL, f"{DEF_POLICY}=0"]).returncode == 0
        assert run([*SYSCTL, "-n", DEF_POLICY]).stdout == "0\n"


@pytest.mark.both_kernels
def test_a_writer_without_the_lock_follows_the_knobs_that_its_holder_wrote(
    two_hosts: TwoHosts, tmp_path: Path
) -> None:
    path = tmp_path / "a.conf"
    path.write_text(LINES)
    with two_hosts.a.enter():
        process = stopped_with_lock(path)
        try:
            line = "spdadd 10.250.0.1 11.0.0.1 any -P out ipsec esp/transport//default;"
            done = run([*SETKEY, "-e", line])
            assert done.returncode == 0
            assert f"process {process.pid} (" in done.stderr
            process.send_signal(signal.SIGCONT)
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 0, err
        dump = run([*SETKEY, "-DP"]).stdout
        assert dump.count("created:") == 30_001
        assert run([*SYSCTL, f"{DEFLEV}=2"]).returncode == 0
        installed = run(["ip", "xfrm", "policy"]).stdout
        assert "level use" not in installed
