"""The guest kernel: what passes in and out, and that nothing of it stays on the machine."""

import io
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import pytest

from kamexfrm.rig import (
    Guest,
    GuestError,
    GuestTimeoutError,
    guest_confinement,
    guest_kernel,
    run_in_guest,
    until,
)
from tests.rig.ordinary_user import (
    SYSTEM_PYTHON,
    interpreter_for_everybody,
    is_for_everybody,
    may_become_nobody,
)

KAMEXFRM = [sys.executable, "-c", "from kamexfrm.cli.command import main; main()"]

EVERYTHING = """
printf 'out %s\\n' "$WORD"; echo err >&2; pwd; id -u; cat /proc/sys/kernel/ostype; cat
modprobe af_key && cat /proc/net/protocols | grep -c KEY
echo lost > "$LOST"; echo lost > "$HOME/kamexfrm-lost"; ls -d "$LOST"
echo kept > "$SHARED/kept"
exit 7
"""

HELD = """
import sys
from kamexfrm.rig import Guest
with Guest(["sleep", "1000"]) as guest:
    print(guest.folder, guest._process.pid, flush=True)
    sys.stdin.read()
"""


def members(group: int) -> list[str]:
    """Return the living processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = path.joinpath("stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(path.name)
    return found


def test_one_command_passes_everything_and_leaves_only_the_shared_folder(tmp_path: Path) -> None:
    shared, lost = tmp_path / "a shared folder", tmp_path / "lost"
    shared.mkdir()
    out, err = io.BytesIO(), io.BytesIO()
    names = {"WORD": 'it\'s "two" words', "LOST": str(lost), "SHARED": str(shared)}
    with Guest(
        ["sh", "-c", EVERYTHING],
        share=shared,
        environment={**os.environ, **names},
        directory=tmp_path,
    ) as guest:
        status = guest.wait(out, err)
        folder = guest.folder
    assert status == 7
    assert err.getvalue() == b"err\n"
    assert out.getvalue().decode().splitlines() == [
        'out it\'s "two" words',
        str(tmp_path),
        "0",
        "Linux",
        "1",
        str(lost),
    ]
    assert (shared / "kept").read_text() == "kept\n"
    assert not lost.exists()
    assert not (Path.home() / "kamexfrm-lost").exists()
    assert not folder.exists()
    assert "Run " in guest.console()


def test_output_comes_while_the_command_runs() -> None:
    with Guest(["sh", "-c", "echo first; exec sleep 1000"]) as guest:
        assert until(guest.output, 60) == b"first\n"
        assert guest.poll() is None
        group = guest._process.pid
    until(lambda: not members(group))


def test_a_command_past_its_deadline_ends_with_its_guest() -> None:
    out = io.BytesIO()
    with Guest(["sh", "-c", "echo first; exec sleep 1000"], timeout=60) as guest:
        until(lambda: out.write(guest.output()), 60)
        guest._end = 0.0
        with pytest.raises(GuestTimeoutError, match="not done within 60 s: sh -c"):
            guest.wait(out)
        until(lambda: not members(guest._process.pid))
        assert not guest.folder.exists()
    assert out.getvalue() == b"first\n"


def test_nothing_is_left_after_kill_9_of_the_process_that_holds_a_guest() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HELD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        folder, group = holder.stdout.readline().split()
        assert members(int(group))
        holder.send_signal(signal.SIGKILL)
    until(lambda: not Path(folder).exists() and not members(int(group)))


def test_a_guest_that_does_not_boot_says_what_its_console_said() -> None:
    with pytest.raises(GuestError, match=r"(?s)ended early; the end of its console:.*memory"):
        run_in_guest(["true"], memory="1M")


def test_a_guest_that_dies_is_an_error_and_no_status() -> None:
    with pytest.raises(GuestError, match=r"(?s)ended early.*Power down"):
        run_in_guest(["sh", "-c", "echo o > /proc/sysrq-trigger; sleep 60"])


def test_a_missing_kernel_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GuestError, match=r"no linux\.uml in PATH: install user-mode-linux"):
        run_in_guest(["true"])


def test_missing_modules_name_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(guest_kernel, "MODULES", tmp_path)
    with pytest.raises(GuestError, match="install user-mode-linux"):
        run_in_guest(["true"])


#: Root of the guest mounts this machine, also as another process sees it, and writes to it. The
#: working directory is what it may write to.
ATTACK = """
export LIBMOUNT_FORCE_MOUNT2=always    # hostfs takes its folder by mount(2) alone
mkdir -p /there /elsewhere
mount -t hostfs none /there -o / || exit 9
for folder in /tmp /dev/shm "$HOME" "$BESIDE"; do
    echo evil > "/there$folder/$NAME" && echo "$folder was written to"
done
mount -t hostfs none /elsewhere -o "/proc/$PROCESS/root" && echo evil > "/elsewhere/tmp/$NAME"
mount -o remount,rw /there; echo evil > "/there/tmp/$NAME"
mount --bind /there/tmp /elsewhere && mount -o remount,rw /elsewhere
echo evil > "/elsewhere/$NAME"
echo kept > kept
id -u
"""


def attack(shared: Path, out: BinaryIO) -> int:
    names = {"BESIDE": str(shared.parent), "NAME": shared.name, "PROCESS": str(os.getpid())}
    with Guest(
        ["sh", "-c", ATTACK],
        share=shared,
        directory=shared,
        environment={**os.environ, **names},
    ) as guest:
        return guest.wait(out)


def written(shared: Path) -> list[str]:
    """Return what an attack has written outside of its folder, and remove it."""
    found = []
    for folder in (Path("/tmp"), Path("/dev/shm"), Path.home(), shared.parent):
        path = folder / shared.name
        if path.is_file():
            path.unlink()
            found.append(str(path))
    return found


@pytest.fixture
def target() -> Iterator[Path]:
    """Yield a folder that everybody may write to, in one that everybody may too."""
    with TemporaryDirectory(prefix="kamexfrm-target.", dir="/tmp") as parent:
        shared = Path(parent) / f"evil-{secrets.token_hex(4)}"
        shared.mkdir()
        for each in (Path(parent), shared):
            each.chmod(0o777)
        yield shared


def test_root_in_the_guest_writes_to_its_shared_folder_only(target: Path) -> None:
    out = io.BytesIO()
    assert attack(target, out) == 0
    assert not written(target)
    assert out.getvalue() == b"0\n"
    assert (target / "kept").read_text() == "kept\n"


#: What the process of the guest's kernel itself might try, if the guest ran code of its own in it.
ESCAPE = """
for mount in "" "mount -o remount,bind,rw /" "mount -o remount,bind,rw /tmp" "umount -l /" \
    "mount -t tmpfs none /mnt" "nsenter -t $PROCESS -m touch /tmp/$NAME" \
    "unshare --map-root-user --mount mount -o remount,bind,rw /" \
    "unshare --map-root-user --mount mount -o remount,bind,rw /tmp"
do
    $mount && [ "$mount" ] && echo "$mount"
    echo evil > "/tmp/$NAME"
    echo evil > "/proc/$PROCESS/root/tmp/$NAME"
done 2> /dev/null
echo kept > "$SHARED/kept"
"""


def test_the_process_of_the_guests_kernel_cannot_undo_its_confinement(target: Path) -> None:
    (target / guest_confinement.MEMORY).mkdir()
    names = {"NAME": target.name, "PROCESS": str(os.getpid()), "SHARED": str(target)}
    program = [sys.executable, "-I", "-S", guest_confinement.__file__, str(target), "--"]
    done = subprocess.run(
        [*program, "/bin/sh", "-c", ESCAPE],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **names},
    )
    assert not written(target)
    assert done.stdout == ""
    assert (target / "kept").read_text() == "kept\n"


def test_unconfined_root_in_the_guest_writes_to_the_machine(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAMEXFRM_GUEST_UNCONFINED", "1")
    attack(target, io.BytesIO())
    assert f"/tmp/{target.name}" in written(target)


def test_a_guest_that_cannot_be_confined_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_confinement, "MEMORY", "there/is/none")
    monkeypatch.setattr(Path, "mkdir", lambda path, **_: os.makedirs(path, exist_ok=True))
    with pytest.raises(GuestError, match=r"cannot be kept .*mount .*KAMEXFRM_GUEST_UNCONFINED"):
        run_in_guest(["true"])


@pytest.mark.skipif(
    not any(is_for_everybody(Path(one)) for one in (sys.executable, SYSTEM_PYTHON)),
    reason="no interpreter stands where an ordinary user may reach it",
)
def test_an_ordinary_user_is_root_in_the_guest_and_nowhere_else(target: Path) -> None:
    report = target.parent / "report"
    program = target.parent / "confinement.py"  # the tree may be where a user may not read
    program.write_text(Path(guest_confinement.__file__).read_text())
    with report.open("wb") as out:
        child = os.fork()
        if child == 0:
            try:
                sys.executable = interpreter_for_everybody()
                guest_confinement.__file__ = str(program)
                if may_become_nobody():
                    os.setgroups([])
                    os.setresgid(65534, 65534, 65534)
                    os.setresuid(65534, 65534, 65534)
                os.environ["HOME"] = str(target.parent)
                status = attack(target, out)
            except BaseException as error:
                out.write(repr(error).encode())
                out.flush()
                os._exit(99)
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, report.read_text()
    assert not written(target)
    assert report.read_bytes() == b"0\n"
    assert (target / "kept").read_text() == "kept\n"


def test_the_command_guest_passes_output_and_status() -> None:
    done = subprocess.run(
        [
            *KAMEXFRM,
            "guest",
            "--memory",
            "512M",
            "--",
            "sh",
            "-c",
            "echo out; echo err >&2; exit 9",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 9)


def test_the_command_guest_tells_its_own_failures_by_status(tmp_path: Path) -> None:
    console = tmp_path / "console"
    arguments = ["guest", "--console", str(console), "--timeout", "1", "sleep", "1000"]
    done = subprocess.run([*KAMEXFRM, *arguments], check=False, capture_output=True, text=True)
    assert done.stderr == "kamexfrm guest: not done within 1 s: sleep 1000\n"
    assert done.returncode == 124
    assert "ptrace" in console.read_text()
    done = subprocess.run(
        [*KAMEXFRM, "guest", "true"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": "/nonexistent"},
    )
    assert done.stderr == "kamexfrm guest: no linux.uml in PATH: install user-mode-linux\n"
    assert done.returncode == 125


def test_the_command_says_its_version() -> None:
    done = subprocess.run([*KAMEXFRM, "--version"], check=True, capture_output=True, text=True)
    assert re.fullmatch(r"kamexfrm, version \d+\.\d+\.\d+\n", done.stdout)
