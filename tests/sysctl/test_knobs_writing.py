"""kame-sysctl writes: values, errors, files and presets; they are kept in the kernel only."""

import json
from pathlib import Path

import pytest

from kamexfrm.rig import Host, Rig
from kamexfrm.sysctl import arguments as command_line
from kamexfrm.sysctl import system_files
from kamexfrm.sysctl.command import run
from tests.sysctl.kame_sysctl import (
    COMMAND,
    DEFLEVS,
    DFBIT,
    ECN,
    ECN6,
    INET,
    INET6,
    LARVAL,
    NAMES,
    OLD_SA,
    POLICYS,
    SHA256,
    SPI_MIN,
    START,
    kame_sysctl,
    values,
)

NOT_EXEMPT = "neighbour discovery, DHCP, IKE and ::1 are not exempt"


def test_a_write_prints_old_and_new_and_the_next_process_reads_it(namespace: Host) -> None:
    for variable in DEFLEVS:
        result = kame_sysctl(namespace, f"{variable}=2")
        assert (result.stdout, result.stderr) == (f"{variable}: 1 -> 2\n", "")
        assert result.status == 0
    assert values(namespace) == {**START, **dict.fromkeys(DEFLEVS, 2)}
    result = kame_sysctl(namespace, "-w", f"{DEFLEVS[0]}=1", f"{DEFLEVS[1]}=2")
    assert result.stdout == f"{DEFLEVS[0]}: 2 -> 1\n{DEFLEVS[1]}: 2 -> 2\n"


def test_values_have_names(namespace: Host) -> None:
    words = [f"{INET[1]}=require", f"{INET6[2]} = require", "net/inet6/ipsec6/def_policy=discard"]
    kame_sysctl(namespace, *words)
    assert values(namespace) == {**START, INET[1]: 2, INET6[2]: 2, INET6[0]: 0}
    kame_sysctl(namespace, f"{INET[1]}=use", f"{INET6[2]}=use", f"{INET6[0]}=none")
    assert values(namespace) == START


def test_what_a_write_prints_can_be_chosen(namespace: Host) -> None:
    write = f"{INET[1]}=2"
    assert kame_sysctl(namespace, "-n", write).stdout == "1 -> 2\n"
    assert kame_sysctl(namespace, "-N", write).stdout == f"{INET[1]}\n"
    assert kame_sysctl(namespace, "-q", write).stdout == ""
    assert kame_sysctl(namespace, "-q", "--json", write).stdout == ""
    result = kame_sysctl(namespace, "--json", f"{INET[1]}=1", INET6[1])
    assert json.loads(result.stdout) == {INET[1]: {"old": 2, "new": 1}, INET6[1]: 1}


def test_reads_beside_a_write_show_what_holds_after_it(namespace: Host) -> None:
    result = kame_sysctl(namespace, "-q", INET[1], f"{INET[1]}=2")
    assert result.stdout == f"{INET[1]} = 2\n"


@pytest.mark.parametrize("variable", [INET[0], INET6[1]])
@pytest.mark.parametrize(
    "value",
    ["", "3", "-1", "+1", "1.0", "0x1", "1_1", "one", "default", "unique", "¹", "९", "9" * 5000],
)
def test_an_invalid_value_is_rejected_and_changes_nothing(
    namespace: Host, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    assert run([f"{variable}={value}"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{variable}=" in err
    assert "Invalid argument" in err
    assert err.count("\n") == 1
    assert run(["-an"]) == 0
    assert capsys.readouterr().out == "".join(f"{START[name]}\n" for name in NAMES)


@pytest.mark.parametrize(
    ("variable", "value"), [(INET[0], "2"), (INET[1], "0"), (INET[1], "none"), (INET[0], "use")]
)
def test_each_sysctl_has_its_own_range(namespace: Host, variable: str, value: str) -> None:
    result = kame_sysctl(namespace, f"{variable}={value}")
    assert (result.stdout, result.status) == ("", 1)
    assert result.stderr.startswith(f"kame-sysctl: {variable}={value}: Invalid argument")
    assert values(namespace) == START


@pytest.mark.parametrize(
    "wrong", [f"{INET[2]}=3", "net.inet.ipsec.no_such=1", "kernel.hostname", "net.inet.ipsec=2"]
)
@pytest.mark.parametrize("first", [True, False])
def test_one_wrong_word_and_nothing_is_written(namespace: Host, wrong: str, first: bool) -> None:
    right = [f"{INET[1]}=2", f"{INET6[0]}=0"]
    result = kame_sysctl(namespace, *([wrong, *right] if first else [*right, wrong]))
    assert (result.stdout, result.status) == ("", 1)
    assert wrong.partition("=")[0] in result.stderr
    assert NOT_EXEMPT not in result.stderr
    assert values(namespace) == START
    assert namespace.run(["ip", "xfrm", "policy"]).stdout == ""


def test_all_that_is_wrong_is_reported_at_once(namespace: Host) -> None:
    result = kame_sysctl(namespace, f"{INET[1]}=7", "no.such=1", f"{INET[2]}=8")
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [
        f"{INET[1]}=7",
        "no.such",
        f"{INET[2]}=8",
    ]


def test_e_passes_over_unknown_names_but_not_over_wrong_values(namespace: Host) -> None:
    result = kame_sysctl(namespace, "-e", "no.such=1", f"{INET[1]}=2")
    assert (result.stdout, result.stderr, result.status) == (f"{INET[1]}: 1 -> 2\n", "", 0)
    assert kame_sysctl(namespace, "-e", f"{INET[1]}=3").status == 1


def test_of_two_values_for_a_sysctl_the_last_is_written(namespace: Host) -> None:
    result = kame_sysctl(namespace, f"{INET[1]}=2", f"{INET6[1]}=2", f"{INET[1]}=1")
    assert result.stdout == f"{INET[1]}: 1 -> 1\n{INET6[1]}: 1 -> 2\n"


def test_def_policy_0_warns_once_and_quiet_does_not_hide_it(namespace: Host) -> None:
    result = kame_sysctl(namespace, "-q", f"{INET[0]}=0", f"{INET6[0]}=discard")
    assert result.stdout == ""
    assert result.stderr.count(NOT_EXEMPT) == 1
    assert result.status == 0
    assert kame_sysctl(namespace, f"{INET[0]}=1").stderr == ""
    assert kame_sysctl(namespace, f"{INET[1]}=2").stderr == ""


# Where the values are


def test_values_stay_though_no_process_may_write_a_file_and_go_with_the_kernels_policies(
    namespace: Host,
) -> None:
    script = 'ulimit -f 0; export PYTHONDONTWRITEBYTECODE=1; exec "$@"'
    write = namespace.run(["sh", "-c", script, "sh", *COMMAND, f"{INET[1]}=2", f"{INET6[4]}=2"])
    assert (write.status, write.stderr) == (0, "")
    read = ["env", "-i", *COMMAND, "-n", *POLICYS]
    elsewhere = namespace.run(read, directory=Path("/"))
    assert elsewhere.stdout == "1\n2\n1\n1\n1\n1\n1\n1\n1\n2\n"
    namespace.run(["ip", "xfrm", "policy", "flush"], check=True)
    assert namespace.run(read, directory=Path("/")).stdout == "1\n" * 10


def test_each_network_namespace_has_its_own(namespace: Host) -> None:
    kame_sysctl(namespace, "--preset", "linux")
    with Rig() as rig:
        assert values(rig.host("other")) == START
    assert values(namespace)[INET[1]] == 2


def test_a_user_namespace_is_enough(namespace: Host) -> None:
    script = '"$@" net.inet.ipsec.ah_net_deflev=2 && "$@" -n net.inet.ipsec.ah_net_deflev'
    result = namespace.run(["unshare", "-rn", "sh", "-c", script, "sh", *COMMAND])
    assert result.stdout == "net.inet.ipsec.ah_net_deflev: 1 -> 2\n2\n"
    assert values(namespace) == START


# Presets


def test_the_presets_set_what_they_say(namespace: Host) -> None:
    kame_sysctl(namespace, f"{INET6[0]}=0")
    result = kame_sysctl(namespace, "--preset", "linux")
    as_linux = {DFBIT: 2, ECN: 1, ECN6: 1, SHA256: 96, OLD_SA: 0}
    assert result.stdout.splitlines() == [
        *(f"{name}: 1 -> 2" for name in DEFLEVS),
        *(f"{name}: {value} -> {value}" for name, value in as_linux.items()),
    ]
    assert values(namespace) == {**START, **dict.fromkeys(DEFLEVS, 2), INET6[0]: 0}
    kame_sysctl(namespace, f"{SPI_MIN}=0x200", f"{LARVAL}=7", f"{SHA256}=128")
    assert kame_sysctl(namespace, "--preset=kame").status == 0
    assert values(namespace) == {**START, DFBIT: 0, ECN: 0, ECN6: 0, OLD_SA: 1}


def test_an_assignment_overrides_the_preset_beside_it(namespace: Host) -> None:
    kame_sysctl(namespace, f"{INET[1]}=1", "--preset", "linux")
    assert values(namespace) == {**START, **dict.fromkeys(DEFLEVS, 2), INET[1]: 1}


# Files

SETTINGS = """\
# comment
; comment

  net.inet.ipsec.esp_trans_deflev = 2
net/inet6/ipsec6/ah_net_deflev=require   # to the end of the line
net.inet.ipsec.def_policy\t=\tnone ; likewise
"""
SET = {**START, INET[1]: 2, INET6[4]: 2}


@pytest.mark.parametrize("option", ["-p", "-f", "--load"])
def test_a_file_is_written(namespace: Host, tmp_path: Path, option: str) -> None:
    path = tmp_path / "sysctl.conf"
    path.write_text(SETTINGS)
    result = kame_sysctl(namespace, option, str(path))
    assert result.stdout.splitlines() == [
        f"{INET[1]}: 1 -> 2",
        f"{INET6[4]}: 1 -> 2",
        f"{INET[0]}: 1 -> 1",
    ]
    assert (result.stderr, result.status) == ("", 0)
    assert values(namespace) == SET


@pytest.mark.parametrize("words", [["-p", "-"], ["-f", "-"], ["-qf-"], ["-p-"], ["--load=-"]])
def test_a_dash_is_the_standard_input(namespace: Host, words: list[str]) -> None:
    assert kame_sysctl(namespace, *words, input=SETTINGS).status == 0
    assert values(namespace) == SET


def test_p_takes_files_and_f_goes_with_other_operands(namespace: Host, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(f"{INET[1]} = 2\n{INET[2]} = 2\n")
    two.write_text(f"{INET[2]} = 1\n")
    kame_sysctl(namespace, "-p", str(one), str(two))
    assert values(namespace) == {**START, INET[1]: 2}
    result = kame_sysctl(namespace, "-q", "-f", str(one), f"{INET[1]}=1", INET[2])
    assert result.stdout == f"{INET[2]} = 2\n"
    assert values(namespace) == {**START, INET[2]: 2}


def test_p_without_a_file_reads_the_systems(
    namespace: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command_line.DEFAULT_FILE == "/etc/kamexfrm/sysctl.conf"
    path = tmp_path / "sysctl.conf"
    path.write_text(SETTINGS)
    monkeypatch.setattr(command_line, "DEFAULT_FILE", str(path))
    assert run(["-p", "-n"]) == 0
    assert capsys.readouterr().out == "1 -> 2\n1 -> 2\n1 -> 1\n"


def test_p_without_a_file_does_nothing_where_the_system_has_none(
    namespace: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command_line, "DEFAULT_FILE", str(tmp_path / "none"))
    assert run(["-p"]) == 0
    assert capsys.readouterr() == ("", "")


def test_system_reads_the_files_of_all_folders_by_name_and_the_plain_file_last(
    namespace: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = [tmp_path / name for name in ("run", "etc", "local", "lib")]
    run_, etc, local, lib = folders
    for folder in folders:
        folder.mkdir()
    last = tmp_path / "kamexfrm" / "sysctl.conf"
    last.parent.mkdir()
    (lib / "10-first.conf").write_text(f"{INET[1]} = 2\n{INET[2]} = 2\n")
    (etc / "20-second.conf").write_text(f"{INET[1]} = 1\n")
    (etc / "30-masked.conf").touch()
    (local / "30-masked.conf").write_text(f"{INET[2]} = 1\n")
    (run_ / ".hidden.conf").write_text("nonsense\n")
    (run_ / "40-other.txt").write_text("nonsense\n")
    last.write_text(f"{INET[3]} = 2\n")
    monkeypatch.setattr(system_files, "_FOLDERS", tuple(map(str, folders)))
    monkeypatch.setattr(system_files, "_ETC", str(tmp_path))
    assert run(["--system"]) == 0
    said = capsys.readouterr().out.splitlines()
    read = [lib / "10-first.conf", etc / "20-second.conf", etc / "30-masked.conf", last]
    assert said[:4] == [f"* Applying {path} ..." for path in read]
    assert values(namespace) == {**START, INET[2]: 2, INET[3]: 2}
    assert run(["--system", "-q"]) == 0
    assert capsys.readouterr().out == ""
    (etc / "20-second.conf").write_text("nonsense\n")
    assert run(["--system"]) == 1
    assert f"{etc}/20-second.conf:1: " in capsys.readouterr().err


def test_a_wrong_line_is_named_and_nothing_of_the_file_is_written(
    namespace: Host, tmp_path: Path
) -> None:
    path = tmp_path / "sysctl.conf"
    path.write_bytes(b"net.inet.ipsec.ah_net_deflev = 2\n\nno.such = 1\ndef_policy\n\xff = 1\n")
    result = kame_sysctl(namespace, "-p", str(path))
    assert (result.stdout, result.status) == ("", 1)
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"kame-sysctl: {path}:3: no.such: unknown variable")
    assert lines[1].startswith(f"kame-sysctl: {path}:4: def_policy: Invalid argument")
    assert lines[2].startswith(f"kame-sysctl: {path}:5: ")
    assert len(lines) == 3
    assert values(namespace) == START


def test_e_passes_over_the_lines_of_other_systems(namespace: Host) -> None:
    text = f"kernel.hostname = x\n{INET[1]} = 2\n"
    result = kame_sysctl(namespace, "-e", "-p", "-", input=text)
    assert (result.stdout, result.stderr, result.status) == (f"{INET[1]}: 1 -> 2\n", "", 0)


def test_a_file_that_cannot_be_read_stops_the_assignments_beside_it(
    namespace: Host, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    result = kame_sysctl(namespace, "-f", str(missing), f"{INET[1]}=2")
    assert result.stderr == f"kame-sysctl: {missing}: No such file or directory\n"
    assert (result.stdout, result.status) == ("", 1)
    assert kame_sysctl(namespace, "-p", str(tmp_path)).stderr.endswith("Is a directory\n")
    assert values(namespace) == START


def test_an_empty_file_writes_nothing(namespace: Host) -> None:
    result = kame_sysctl(namespace, "-p", "-")
    assert (result.stdout, result.stderr, result.status) == ("", "", 0)
    assert namespace.run(["ip", "xfrm", "policy"]).stdout == ""


def test_what_reading_prints_can_be_written_back(namespace: Host) -> None:
    kame_sysctl(namespace, "--preset", "linux", f"{INET6[0]}=0")
    saved = kame_sysctl(namespace, "-a").stdout
    kame_sysctl(namespace, "--preset", "kame")
    kame_sysctl(namespace, "-p", "-", input=saved)
    assert kame_sysctl(namespace, "-a").stdout == saved
    assert saved.count(" = ") == len(NAMES)
