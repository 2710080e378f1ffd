"""kamexfrm boot: the files below /etc as one load, and the lockdown that stays closed."""

import re
import subprocess
from pathlib import Path

import pytest

from kamexfrm.operator.boot import find_files
from kamexfrm.rig import Host
from kamexfrm.rig.python import module

A, B, C = (
    f"spdadd 10.0.0.1 10.0.0.{n} any -P out ipsec esp/transport//require;" for n in (2, 3, 4)
)
EXEMPTION = "spdadd ::1 ::1 any -P out none;"
LAST = re.compile(r"^10\.0\.0\.1\[any\] 10\.0\.0\.(\d)", re.MULTILINE)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    for folder in ("kamexfrm", "ipsec-tools.d"):
        (tmp_path / folder).mkdir()
    return tmp_path


def boot(host: Host, etc: Path, *words: str) -> tuple[int, str]:
    done = host.run([*module("kamexfrm.cli"), "boot", *words, "--etc", str(etc)])
    return done.status, done.stderr


def policies(host: Host) -> list[str]:
    """Return the last number of each policy's destination, oldest policy first."""
    return sorted(LAST.findall(host.run([*module("kamexfrm.setkey"), "-DP"]).stdout))


def def_policy(host: Host) -> list[str]:
    names = ["net.inet.ipsec.def_policy", "net.inet6.ipsec6.def_policy"]
    return host.run([*module("kamexfrm.sysctl"), "-n", *names]).stdout.split()


def test_the_files_are_read_in_order(etc: Path) -> None:
    for name in ("kamexfrm/sysctl.conf", "kamexfrm/b.conf", "kamexfrm/a.conf", "ipsec-tools.conf"):
        (etc / name).touch()
    for name in ("ipsec-tools.d/1.conf", "ipsec-tools.d/.2.conf", "ipsec-tools.d/3.conf.old"):
        (etc / name).touch()
    (etc / "kamexfrm" / "lockdown.conf").touch()
    files = find_files(etc)
    assert [str(Path(name).relative_to(etc)) for name in files.scripts] == [
        "kamexfrm/lockdown.conf",
        "ipsec-tools.conf",
        "ipsec-tools.d/1.conf",
        "kamexfrm/a.conf",
        "kamexfrm/b.conf",
    ]
    assert files.sysctl == (str(etc / "kamexfrm" / "sysctl.conf"),)
    assert files.lockdown.endswith("/lockdown.conf")


def test_all_files_are_one_load_and_a_reload_deletes_what_is_gone(
    namespace: Host, etc: Path
) -> None:
    (etc / "ipsec-tools.conf").write_text(f"flush; spdflush;\n{A}\n")
    (etc / "ipsec-tools.d" / "b.conf").write_text(f"{B}\n")
    (etc / "kamexfrm" / "sysctl.d").mkdir()
    (etc / "kamexfrm" / "sysctl.d" / "9.conf").write_text("net.key.sha256_icv = 96\n")
    (etc / "kamexfrm" / "sysctl.conf").write_text("net.key.sha256_icv = 128\n")
    assert boot(namespace, etc, "load")[0] == 0
    assert policies(namespace) == ["2", "3"]
    (etc / "ipsec-tools.d" / "b.conf").write_text(f"{C}\n")
    assert boot(namespace, etc, "load")[0] == 0
    assert policies(namespace) == ["2", "4"]
    icv = namespace.run([*module("kamexfrm.sysctl"), "-n", "net.key.sha256_icv"]).stdout
    assert icv == "128\n"
    (etc / "ipsec-tools.conf").write_text("spdad;\n")
    status, text = boot(namespace, etc, "load")
    assert status == 1
    assert "ipsec-tools.conf,1: " in text
    assert policies(namespace) == ["2", "4"]
    assert boot(namespace, etc, "unload") == (0, "")
    assert policies(namespace) == []


def test_without_scripts_nothing_is_flushed(namespace: Host, etc: Path) -> None:
    assert namespace.run([*module("kamexfrm.setkey"), "-e", A]).status == 0
    assert boot(namespace, etc, "load")[0] == 0
    assert policies(namespace) == ["2"]


def test_a_lockdown_is_closed_before_the_files_and_stays_so_when_they_fail(
    namespace: Host, etc: Path
) -> None:
    (etc / "kamexfrm" / "lockdown.conf").write_text(f"{EXEMPTION}\n")
    (etc / "kamexfrm" / "sysctl.conf").write_text("net.inet.ipsec.def_policy = 1\n")
    (etc / "kamexfrm" / "hosts.conf").write_text("spdadd nonsense;\n")
    assert boot(namespace, etc, "load")[0] == 1
    assert def_policy(namespace) == ["0", "0"]
    assert "::1[any] ::1[any]" in namespace.run([*module("kamexfrm.setkey"), "-DP"]).stdout
    # Mended: the family that the file opens is opened, since the policies are there.
    (etc / "kamexfrm" / "hosts.conf").write_text(f"{A}\n")
    assert boot(namespace, etc, "load")[0] == 0
    assert def_policy(namespace) == ["1", "0"]
    assert boot(namespace, etc, "unload") == (0, "")
    assert def_policy(namespace) == ["0", "0"]
    assert boot(namespace, etc, "unload", "--open") == (0, "")
    assert def_policy(namespace) == ["1", "1"]
    assert "No SPD entries" in namespace.run([*module("kamexfrm.setkey"), "-DP"]).stdout


def test_check_reads_all_files_without_rights(etc: Path) -> None:
    command = [*module("kamexfrm.cli"), "boot", "check", "--etc", str(etc)]
    (etc / "ipsec-tools.conf").write_text(f"{A}\n")
    assert subprocess.run(command, check=False).returncode == 0
    (etc / "kamexfrm" / "sysctl.conf").write_text("net.inet.ipsec.dfbit = 9\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sysctl.conf:1: " in done.stderr
    (etc / "kamexfrm" / "sysctl.conf").unlink()
    (etc / "ipsec-tools.conf").write_text("spdadd 10.0.0.1;\n")
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 1


def test_several_files_of_setkey_are_one_script(namespace: Host, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(f"spdflush; {A}\nexit; {C}\n")
    second.write_text(f"\n{B}")
    both = [*module("kamexfrm.setkey"), "-f", str(first), "-f", str(second)]
    assert namespace.run(both).status == 0
    assert namespace.run(both).stderr == ""
    assert policies(namespace) == ["2", "3"]
    second.write_text("\nspdadd;")
    done = namespace.run(both)
    assert done.status == 1
    assert f"setkey: {second},2: " in done.stderr
    assert policies(namespace) == ["2", "3"]
    missing = namespace.run([*both, "-f", "/nowhere"])
    assert "Can't open `/nowhere'" in missing.stderr
