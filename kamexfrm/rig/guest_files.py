"""What the guest boots from: kernel and modules, process 1, and its mounts.

All of it is a folder of files that the guest finds through its root, which is this machine's.
"""

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from kamexfrm.rig import guest_plain_root
from kamexfrm.rig.guest_kernel import GuestKernel

#: Where the programs are that process 1 starts.
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

#: The command's exit status when it could not be started, as in env(1).
STATUS_NO_GUEST = 125

#: The guest's process 1. Words in capitals are replaced.
_INIT = """#!/bin/sh
# The root is the machine's own, read-only. Put a memory file system above it and move there.
fail() {
    echo "guest: $*"
    [ -w /proc/sysrq-trigger ] || exit
    echo o > /proc/sysrq-trigger
    sleep 60
    exit
}
PATH=FOLDER/bin:SYSTEM_PATH
# The new way to mount (fsconfig(2)) does not take hostfs' path as an option before Linux 6.15.
export LIBMOUNT_FORCE_MOUNT2=always
PROC
mount -t tmpfs above /mnt || fail "no /mnt"
mkdir /mnt/root /mnt/upper /mnt/work
modprobe -q -d FOLDER/modules overlay
# Linux 5.10 mounts this, and then opens no file in it but those that are open.
mount -t overlay overlay -o nosuid,lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root &&
    read -r _ 2> /dev/null < /mnt/root/FOLDER/mounts ||
    . FOLDER/root.sh || fail "cannot put a memory file system above the root"
mount -a -T FOLDER/mounts || fail "cannot mount what is in FOLDER/mounts"
cd /mnt/root
pivot_root . mnt && umount -l /mnt || fail "cannot change the root"
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -d /lib/modules ] || mkdir /lib/modules
ln -sfn FOLDER/modules/lib/modules/* /lib/modules/
modprobe -a ipv6 xfrm_user esp4 esp6 ah4 ah6 veth    # all else loads on demand
ip link set lo up
ulimit -n 65536
cd FOLDER/out
COMMAND
echo $? > status.new
sync
mv status.new status
echo o > /proc/sysrq-trigger
sleep 60
"""

#: /proc, which virtme-ng has mounted.
_PROC = 'mount -t proc proc /proc || fail "no /proc"\n'
_PROC_OF_VIRTME = ""

#: The mounts in the new root: source, place, type, options. One mount(8) makes them all, since
#: starting a program takes 70 ms here. The shared folders are written through ("sync"): what the
#: command writes is on this machine when its write(2) returns.
_MOUNTS = """# source, place, type, options
proc /mnt/root/proc proc defaults
sysfs /mnt/root/sys sysfs defaults
run /mnt/root/run tmpfs mode=755
dev /mnt/root/dev devtmpfs defaults
shm /mnt/root/dev/shm tmpfs X-mount.mkdir
pts /mnt/root/dev/pts devpts X-mount.mkdir
"""


#: How the command gets its files: the standard input is empty, or the guest's first console is.
_PLAIN = "sh FOLDER/command > stdout 2> stderr < /dev/null"
_ON_CONSOLE = "setsid --ctty sh FOLDER/command < /dev/tty1"


def write_files(
    folder: Path,
    kernel: GuestKernel,
    share: Path | None,
    command: str,
    console: Sequence[str] | None,
    places: Sequence[Path],
) -> None:
    """Fill the guest's folder: process 1, the command, the modules' place, what it writes.

    ``command`` is a shell's input. ``places`` are folders that a command writes to, for a kernel
    that cannot make all of the root writable. ``console`` lists which outputs
    (``stdout``, ``stderr``) go to the console where the command has one; the others are files.
    """
    out = folder / "out"
    out.mkdir()
    for name in ("stdout", "stderr"):
        (out / name).touch()
    # In a user namespace their owner is nobody, and set-user-ID would drop all rights.
    (folder / "bin").mkdir()
    for name in ("mount", "umount"):
        copy = folder / "bin" / name
        shutil.copyfile(shutil.which(name, path=SYSTEM_PATH) or name, copy)
        copy.chmod(0o700)
    mounts = _MOUNTS
    for shared in (out, share.resolve()) if share else (out,):
        path = _fstab_word(str(shared))
        if kernel.emulated:  # virtme-ng has made it writable
            mounts += f"{path} /mnt/root{path} none bind,X-mount.mkdir\n"
        else:
            mounts += f"share /mnt/root{path} hostfs X-mount.mkdir,sync,{path}\n"
    _write(folder / "mounts", mounts)
    guest_plain_root.write(folder, places)
    modules = kernel.modules
    place = folder / "modules" / "lib" / "modules"
    place.mkdir(parents=True)
    if modules is not None:
        (place / modules.name).symlink_to(modules)
    run = _PLAIN
    if console is not None:
        run = _ON_CONSOLE
        for number, name in enumerate(("stdout", "stderr"), 1):
            run += f" {number}> {'/dev/tty1' if name in console else name}"
        command = f": > {shlex.quote(str(out / 'opened'))}\n{command}"
    proc = _PROC_OF_VIRTME if kernel.emulated else _PROC
    text = _INIT.replace("PROC\n", proc).replace("COMMAND", run).replace("FOLDER", str(folder))
    _write(folder / "init", text.replace("SYSTEM_PATH", SYSTEM_PATH))
    (folder / "init").chmod(0o700)
    _write(folder / "command", command)


def command_text(
    words: Sequence[str], environment: Mapping[str, str], directory: Path | None
) -> str:
    """Return a shell's input that runs a command in a directory, this process's unless given."""
    quoted = [shlex.quote(f"{name}={value}") for name, value in environment.items()]
    quoted += [shlex.quote(word) for word in words]
    where = shlex.quote(str(directory or Path.cwd()))
    return f"cd {where} || exit {STATUS_NO_GUEST}\nexec env -i {' '.join(quoted)}\n"


def _write(path: Path, text: str) -> None:
    """Write a text with names of this machine, which may not be UTF-8."""
    path.write_bytes(os.fsencode(text))


def _fstab_word(text: str) -> str:
    """Return a path in fstab(5)'s form: white space and backslashes in octal."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in text)
