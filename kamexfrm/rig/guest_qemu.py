"""A guest with a kernel for real machines, which QEMU runs by virtme-ng.

virtme-ng boots the kernel over this machine's files (9p) and starts process 1 of guests there
(``guest_files``). It loads the kernel's own modules for that; they are put together here,
unpacked, in a small tree. KVM is used only if a boot sector runs by it: where virtual machines are
nested, /dev/kvm may open and its guests hang.

Needs virtme-ng (the extra ``qemu``), QEMU and busybox-static.
"""

import errno
import functools
import gzip
import lzma
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from kamexfrm.rig.guest_error import GuestError

#: What is loaded before the root is there. All else loads on demand.
_FIRST_MODULES = ("9p", "9pnet_virtio", "virtio_pci", "virtio_mmio", "virtio_console")

#: A boot sector that ends QEMU by its device isa-debug-exit: mov al,0x10; out 0xf4,al; hlt.
_BOOT_SECTOR = b"\xb0\x10\xe6\xf4\xf4".ljust(510, b"\0") + b"\x55\xaa"
_EXIT_STATUS = 0x10 << 1 | 1

#: Seconds that it has: it takes a tenth of one.
_KVM_PATIENCE = 5.0

#: Processors: races between them are what User-Mode-Linux cannot have.
_PROCESSORS = 2


def command(
    image: str, modules: Path | None, folder: Path, writable: Sequence[str], memory: str
) -> list[str]:
    """Return the command line that boots a kernel and runs ``folder``'s init.

    ``writable`` are folders of this machine that the guest writes to. Raises GuestError.
    """
    qemu = _program(f"qemu-system-{platform.machine()}", "qemu-system-x86 (Debian's name)")
    _program("busybox", "busybox-static")
    vng = _program("vng", "virtme-ng: pip install 'kamexfrm[qemu]'")
    try:
        tree = _boot_tree(image, modules, folder)
    except OSError as error:
        raise GuestError(f"{image}: {error}", errno=error.errno or errno.EIO) from None
    words = [vng, "--run", str(tree), "--verbose", "--force-9p", "--user", "root"]
    words += ["--cpus", str(_PROCESSORS), "--memory", memory]
    words += [word for path in writable for word in ("--rwdir", path)]
    words += [] if kvm_works(qemu) else ["--disable-kvm"]
    # The reaper finds all processes of the guest by this.
    words += ["--append", f"kamexfrm.guest={folder}/"]
    return [*words, "--", f"sh {folder}/init"]


@functools.cache
def kvm_works(qemu: str) -> bool:
    """Whether a guest gets through its firmware by KVM."""
    if platform.machine() != "x86_64" or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with tempfile.NamedTemporaryFile() as disk:
        disk.write(_BOOT_SECTOR)
        disk.flush()
        words = [
            qemu, "-accel", "kvm", "-nodefaults", "-display", "none", "-no-reboot",
            "-drive", f"file={disk.name},format=raw,if=ide,readonly=on",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                words,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_KVM_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == _EXIT_STATUS


def version_of(image: str) -> str:
    """Return the version that a kernel for PCs says it has, else that of its name; or "".

    Source: Linux Documentation/arch/x86/boot.rst, kernel_version.
    """
    data = Path(image).read_bytes()[: 1 << 16]
    if data[0x202:0x206] == b"HdrS":
        start = int.from_bytes(data[0x20E:0x210], "little") + 0x200
        text = data[start:].partition(b"\0")[0].decode("ascii", "replace")
        return text.partition(" ")[0]
    return Path(image).name.partition("-")[2]


def _program(name: str, package: str) -> str:
    """Return a program's path; raises GuestError with what to install."""
    found = shutil.which(name, path=_search_path())
    if found is None:
        raise GuestError(f"no {name}: install {package}", errno=errno.ENOENT)
    return found


def _search_path() -> str:
    """Return where programs are: beside this interpreter, in PATH, in the system's folders."""
    beside = str(Path(sys.executable).parent)
    return ":".join((beside, os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin", "/sbin", "/bin"))


def _boot_tree(image: str, modules: Path | None, folder: Path) -> Path:
    """Put the kernel and the modules to boot with into a tree; return the kernel's new place."""
    version = version_of(image)
    boot = folder / "tree" / "boot"
    boot.mkdir(parents=True)
    place = boot / f"vmlinuz-{version or 'unknown'}"
    shutil.copyfile(image, place)
    if modules is None:
        return place
    target = folder / "tree" / "lib" / "modules" / version
    for path in _needed(modules):
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        data = (modules / path).read_bytes()
        match copy.suffix:
            case ".xz":
                copy.with_suffix("").write_bytes(lzma.decompress(data))
            case ".gz":
                copy.with_suffix("").write_bytes(gzip.decompress(data))
            case _:
                copy.write_bytes(data)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        if (modules / name).exists():
            shutil.copyfile(modules / name, target / name)
    depmod = _program("depmod", "kmod")
    subprocess.run([depmod, "-b", str(folder / "tree"), version], check=False, capture_output=True)
    return place


def _needed(modules: Path) -> list[str]:
    """Return the files of the modules to boot with, and of those that they need."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    by_name = {_module_name(path): path for path in needs}
    found: dict[str, None] = {}
    for name in _FIRST_MODULES:
        if name in by_name:
            path = by_name[name]
            found.update(dict.fromkeys((*needs[path], path)))
    return list(found)


def _module_name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def environment(names: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment for virtme-ng: it keeps what it makes below the guest's folder."""
    return {**names, "PATH": _search_path(), "HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
