"""Which kernels a guest can have: how they are named, found, fetched and made to boot."""

import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kamexfrm.model.linux.kernel_range import holds_for
from kamexfrm.rig import (
    Guest,
    GuestError,
    guest_debian,
    guest_files,
    guest_kernel,
    guest_qemu,
    run_in_guest,
)
from kamexfrm.rig.scenario.stage import kernels
from kamexfrm.rig.scenario.stage.kernel_notes import notes_of

EXAMPLES = Path(__file__).parents[2] / "examples" / "rig"


def machine_kernel(path: Path, version: str) -> Path:
    """Write what a kernel for PCs begins with."""
    data = bytearray(0x400)
    data[0x202:0x206] = b"HdrS"
    data[0x20E:0x210] = (0x100).to_bytes(2, "little")
    data[0x300:] = f"{version} (somebody@somewhere) #1 SMP".encode().ljust(0x100, b"\0")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def module_tree(folder: Path, *names: str) -> Path:
    """Write a folder of compressed modules, each of which needs the one before it."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.ko.xz").write_bytes(lzma.compress(name.encode()))
    lines = [
        f"{name}.ko.xz: {' '.join(f'{before}.ko.xz' for before in reversed(names[:at]))}"
        for at, name in enumerate(names)
    ]
    (folder / "modules.dep").write_text("\n".join(lines) + "\n")
    return folder


def test_a_kernel_for_machines_is_run_by_qemu_with_the_modules_of_its_version(
    tmp_path: Path,
) -> None:
    modules = module_tree(tmp_path / "usr" / "lib" / "modules" / "6.12.1-test", "9p")
    image = machine_kernel(tmp_path / "boot" / "vmlinuz", "6.12.1-test")
    assert guest_kernel.find(image) == (str(image), modules, True)
    assert guest_kernel.find(machine_kernel(modules / "vmlinuz", "6.12.1-test")).modules == modules
    assert guest_kernel.find(machine_kernel(tmp_path / "vmlinuz", "0.0.1-none")).modules is None


def test_the_modules_to_boot_with_are_unpacked_and_no_others(tmp_path: Path) -> None:
    modules = module_tree(tmp_path / "lib" / "modules" / "6.12.1-test", "netfs", "9p", "esp4")
    image = machine_kernel(tmp_path / "boot" / "vmlinuz-6.12.1-test", "6.12.1-test")
    folder = tmp_path / "guest"
    place = guest_qemu._boot_tree(str(image), modules, folder)
    assert place == folder / "tree" / "boot" / "vmlinuz-6.12.1-test"
    copies = {path.name: path.read_bytes() for path in folder.rglob("*.ko*")}
    assert copies == {"netfs.ko": b"netfs", "9p.ko": b"9p"}


@pytest.mark.parametrize(
    ("missing", "words"),
    [("vng", r"no vng: install .*kamexfrm\[qemu\]"), ("busybox", "install busybox-static")],
)
def test_what_qemu_guests_lack_is_named(
    missing: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in {"vng", "busybox", "qemu-system-x86_64", f"qemu-system-{os.uname().machine}"}:
        if name != missing:
            (programs / name).touch(mode=0o700)
    monkeypatch.setattr(guest_qemu, "_search_path", lambda: str(programs))
    with pytest.raises(GuestError, match=words):
        run_in_guest(["true"], program=machine_kernel(tmp_path / "vmlinuz", "6.12.1-test"))


@pytest.mark.parametrize("word", ["debian:", "debian:../etc", "debian-image:a b", "debian:Trixie"])
def test_what_is_no_suite_is_refused_without_asking_anybody(word: str) -> None:
    with pytest.raises(GuestError, match="a suite is wanted"):
        guest_kernel.find(word)


def test_a_file_that_is_no_kernel_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "vmlinuz"
    text.write_text("text")
    with pytest.raises(GuestError, match="is no program"):
        guest_kernel.find(text)
    with pytest.raises(GuestError, match="is no program"):
        guest_kernel.find(tmp_path / "none")


def test_a_suite_that_cannot_be_fetched_says_what_apt_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-get"
    script = "#!/bin/sh\n[ $1 = indextargets ] && {} || echo 'E: no network here'\nexit 100\n"
    apt.write_text(script.format("echo"))
    apt.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(GuestError, match="apt-get knows no archive of Debian"):
        guest_kernel.find("debian:trixie")
    apt.write_text(script.format("echo ' file:/nowhere/debian/'"))
    for _ in range(2):  # nothing of the first try is taken for a kernel
        with pytest.raises(GuestError, match=r"suite trixie: apt-get failed: E: no network here"):
            guest_kernel.find("debian:trixie")
    assert guest_debian.cache() == tmp_path / "cache" / "kamexfrm" / "kernels"


def test_the_kernel_of_all_guests_can_be_given_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = machine_kernel(tmp_path / "vmlinuz", "6.12.1-test")
    monkeypatch.setenv("KAMEXFRM_GUEST_KERNEL", str(image))
    assert guest_kernel.find(None).program == str(image)


def test_the_path_of_a_kernel_is_made_absolute_and_a_suite_is_left_as_it_is() -> None:
    words = ("auto", "host", "guest", "debian:sid", "debian-image:sid", "a/vmlinuz")
    assert [kernels.guest_kernel(word) for word in words] == [
        *(None, None, None, "debian:sid", "debian-image:sid"),
        f"{Path.cwd()}/a/vmlinuz",
    ]


WRITES = """
for folder in /etc /usr /usr/lib /var/lib /tmp "$HOME" .; do
    echo written > "$folder/kamexfrm-$NAME" && cat "$folder/kamexfrm-$NAME"
done
cat here; cat large | wc -c; cat /etc/passwd | head -n 1; modprobe af_key && echo loaded
"""


def test_without_overlayfs_what_programs_write_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").write_text("here\n")
    (tmp_path / "large").write_bytes(bytes(2 << 20))

    without = guest_files._INIT.replace("-t overlay overlay", "-t overlay-that-is-not-there none")
    monkeypatch.setattr(guest_files, "_INIT", without)
    out = tmp_path / "out"
    environment = {**os.environ, "NAME": tmp_path.name}
    with (
        out.open("wb") as file,
        Guest(["sh", "-c", WRITES], directory=tmp_path, environment=environment) as guest,
    ):
        assert guest.wait(file, file) == 0
    lines = out.read_text().splitlines()
    assert lines[:7] == ["written"] * 7
    assert lines[7:] == ["here", str(2 << 20), "root:x:0:0:root:/root:/bin/bash", "loaded"]
    for folder in ("/etc", "/usr", "/usr/lib", "/var/lib", "/tmp", str(Path.home()), tmp_path):
        assert not (Path(folder) / f"kamexfrm-{tmp_path.name}").exists()


@pytest.mark.parametrize("suite", ["trixie", "sid"])
def test_a_scenario_passes_on_newer_kernels(suite: str) -> None:
    """6.12 and the newest, of which the first run fetches 60 MB each."""
    words = ["rig", "run", "--kernel", f"debian:{suite}", str(EXAMPLES / "levels.rig.toml")]
    done = subprocess.run(
        [sys.executable, "-m", "kamexfrm.cli", *words], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "kamexfrm rig: booting a guest\n"


def test_the_doctor_says_what_is_otherwise_on_a_kernel() -> None:
    titles = {
        release: [note.title for note in notes_of(release)]
        for release in ("5.10.46", "6.1.176", "6.12.113", "7.2.13+deb14-amd64")
    }
    assert titles == {
        "5.10.46": ["IPv6 in many tunnels", "no default of the namespace"],
        "6.1.176": [],
        "6.12.113": ["transport mode outside a tunnel of the other family"],
        "7.2.13+deb14-amd64": [
            "transport mode outside a tunnel of the other family",
            "no hmac-ripemd160",
        ],
    }


@pytest.mark.parametrize("kernels", ["6.12", ">6.12", ">=6.12,<7", ">="])
def test_what_is_no_range_of_kernels_is_refused(kernels: str) -> None:
    with pytest.raises(ValueError, match="no bound of kernel versions"):
        holds_for(kernels, "6.1.176")
