"""kame-sysctl and the sysctls beyond ipsec(4)'s ten, with those that Linux lacks."""

import json
import os
from errno import EOPNOTSUPP
from pathlib import Path

import pytest

from kamexfrm.model.unsupported_knobs import FIXED, UNSUPPORTED
from kamexfrm.rig import Host
from kamexfrm.sysctl.command import run
from tests.sysctl.kame_sysctl import (
    DFBIT,
    ECN,
    ECN6,
    FURTHER,
    INET,
    LARVAL,
    NAMES,
    OLD_SA,
    SHA256,
    SPI_MAX,
    SPI_MIN,
    START,
    kame_sysctl,
    values,
)

PROC = "/proc/sys/net/core/xfrm_acq_expires"
UNSUPPORTED_ERROR = os.strerror(EOPNOTSUPP)


@pytest.mark.parametrize(
    ("variable", "word", "value"),
    [
        (DFBIT, "clear", 0),
        (DFBIT, "0", 0),
        (ECN, "forbidden", 0),
        (ECN6, "forbidden", 0),
        (LARVAL, "60", 60),
        (SPI_MIN, "0x1000", 0x1000),
        (SPI_MAX, "4294967295", 0xFFFFFFFF),
        (SPI_MAX, "0Xabcdef", 0xABCDEF),
        (SHA256, "128", 128),
        (OLD_SA, "oldest", 1),
    ],
)
def test_a_value_is_printed_kept_and_reset(
    namespace: Host, variable: str, word: str, value: int
) -> None:
    start = FURTHER[variable]
    result = kame_sysctl(namespace, f"{variable}={word}")
    assert (result.stdout, result.stderr) == (f"{variable}: {start} -> {value}\n", "")
    assert values(namespace) == {**START, variable: value}
    assert kame_sysctl(namespace, "-n", variable).stdout == f"{value}\n"
    assert kame_sysctl(namespace, f"{variable}={start}").status == 0
    assert values(namespace) == START


def test_the_words_for_the_start_values(namespace: Host) -> None:
    kame_sysctl(namespace, f"{DFBIT}=0", f"{ECN}=0", f"{ECN6}=0")
    kame_sysctl(namespace, f"{DFBIT}=copy", f"{ECN}=allowed", f"{ECN6}=allowed")
    assert values(namespace) == START


@pytest.mark.parametrize(
    ("variable", "value"),
    [(DFBIT, "1"), (DFBIT, "set"), (ECN, "-1"), (ECN, "ignore"), (ECN6, "ignore")],
)
def test_a_value_that_linux_cannot_do_is_rejected_with_the_reason(
    namespace: Host, variable: str, value: str
) -> None:
    result = kame_sysctl(namespace, f"{variable}={value}", f"{INET[1]}=2")
    assert (result.stdout, result.status) == ("", 1)
    head = f"kame-sysctl: {variable}={value}: {UNSUPPORTED_ERROR}: Linux "
    assert result.stderr.startswith(head)
    assert len(result.stderr.splitlines()) == 1
    assert values(namespace) == START


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (DFBIT, "3"),
        (DFBIT, "-1"),
        (DFBIT, "allowed"),
        (ECN, "2"),
        (ECN, "-2"),
        (ECN, "--1"),
        (SHA256, "97"),
        (SHA256, "0x60"),
        (SHA256, ""),
        (OLD_SA, "2"),
        (SPI_MIN, "255"),
        (SPI_MIN, "0xff"),
        (SPI_MIN, "0x"),
        (SPI_MIN, "0x_1"),
        (SPI_MAX, "4294967296"),
        (SPI_MAX, "-1"),
        (SPI_MAX, "0x100000000"),
        (LARVAL, "0"),
        (LARVAL, "2147483648"),
        (LARVAL, "९९"),
    ],
)
def test_a_value_out_of_range_is_rejected(
    namespace: Host, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    assert run([f"{variable}={value}"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"kame-sysctl: {variable}={value}: Invalid argument: it takes")
    assert values(namespace) == START


def test_netbsds_spellings_of_the_range_mean_the_same(namespace: Host) -> None:
    result = kame_sysctl(namespace, "net.key.spi_min_value=512", "net/key/spi_max_value=0x3ff")
    assert result.stdout == f"{SPI_MIN}: 256 -> 512\n{SPI_MAX}: 268435455 -> 1023\n"
    assert kame_sysctl(namespace, "net.key.spi_max_value").stdout == f"{SPI_MAX} = 1023\n"


def test_an_alias_and_the_name_are_one_sysctl(namespace: Host) -> None:
    result = kame_sysctl(namespace, f"{SPI_MIN}=512", "net.key.spi_min_value=513")
    assert result.stdout == f"{SPI_MIN}: 256 -> 513\n"
    result = kame_sysctl(namespace, "net.key.prefered_oldsa=1")
    assert result.stdout == f"{OLD_SA}: 0 -> 1\n"


def test_a_subtree_has_the_further_sysctls(namespace: Host) -> None:
    assert kame_sysctl(namespace, "-N", "net.key").stdout.split() == [
        LARVAL,
        SPI_MIN,
        SPI_MAX,
        SHA256,
        OLD_SA,
    ]


def test_the_further_sysctls_give_no_warning(namespace: Host) -> None:
    result = kame_sysctl(namespace, f"{DFBIT}=0", f"{ECN}=0")
    assert result.stderr == ""


# The larval lifetime


def proc(host: Host) -> str:
    return host.run(["cat", PROC], check=True).stdout.strip()


def test_larval_lifetime_is_a_sysctl_of_linux_that_any_process_may_write(namespace: Host) -> None:
    assert kame_sysctl(namespace, "-n", LARVAL).stdout.strip() == proc(namespace)
    kame_sysctl(namespace, f"{LARVAL}=77")
    assert proc(namespace) == "77"
    namespace.run(["sh", "-c", f"echo 99 > {PROC}"], check=True)
    assert kame_sysctl(namespace, LARVAL).stdout == f"{LARVAL} = 99\n"
    assert namespace.run(["ip", "xfrm", "policy"]).stdout == ""


def test_larval_lifetime_outlives_a_flush_of_the_policies(namespace: Host) -> None:
    kame_sysctl(namespace, f"{LARVAL}=77", f"{DFBIT}=0")
    namespace.run(["ip", "xfrm", "policy", "flush"], check=True)
    assert values(namespace) == {**START, LARVAL: 77}


def test_in_another_user_namespace_larval_lifetime_is_read_and_not_written(
    namespace: Host,
) -> None:
    def inside(*arguments: str) -> tuple[str, str, int]:
        from tests.sysctl.kame_sysctl import COMMAND

        done = namespace.run(["unshare", "-rn", *COMMAND, *arguments])
        return done.stdout, done.stderr, done.status

    assert inside("-n", LARVAL) == ("30\n", "", 0)
    assert inside("-q", "--preset", "kame") == ("", "", 0)
    out, err, status = inside(f"{LARVAL}=60")
    assert (out, status) == ("", 1)
    assert err.startswith(f"kame-sysctl: {LARVAL}=60: {UNSUPPORTED_ERROR} (")
    assert "net.core.xfrm_acq_expires" in err


# Presets and files


def test_the_preset_of_linux_leaves_sysctls_without_a_linux_value(namespace: Host) -> None:
    kame_sysctl(namespace, "--preset", "kame")
    kame_sysctl(namespace, f"{LARVAL}=9", f"{SPI_MIN}=0x999", f"{SHA256}=128")
    kame_sysctl(namespace, "--preset", "linux")
    after = values(namespace)
    wanted = {DFBIT: 2, ECN: 1, ECN6: 1, SHA256: 96, LARVAL: 9, SPI_MIN: 0x999}
    assert {name: after[name] for name in wanted} == wanted


def test_what_reading_prints_can_be_written_back(namespace: Host) -> None:
    kame_sysctl(namespace, f"{DFBIT}=0", f"{LARVAL}=44", f"{SPI_MIN}=0x20000000", f"{SHA256}=128")
    saved = kame_sysctl(namespace, "-a").stdout
    kame_sysctl(namespace, "--preset", "kame")
    assert kame_sysctl(namespace, "-f", "-", input=saved).status == 0
    assert kame_sysctl(namespace, "-a").stdout == saved


def test_json_has_numbers(namespace: Host) -> None:
    result = kame_sysctl(namespace, "--json", f"{DFBIT}=clear", ECN6)
    assert json.loads(result.stdout) == {ECN6: 1, DFBIT: {"old": 2, "new": 0}}


# Sysctls that Linux lacks


@pytest.mark.parametrize("variable", UNSUPPORTED)
def test_a_sysctl_that_linux_lacks_is_rejected_with_the_reason(
    namespace: Host, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    for words in ([variable], [variable.replace(".", "/")], [f"{variable}=1"], ["-N", variable]):
        assert run(words) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err == f"kame-sysctl: {variable}: unsupported ({UNSUPPORTED[variable]})\n"


def test_they_are_listed_with_the_reason_and_are_no_values(namespace: Host) -> None:
    described = kame_sysctl(namespace, "-da")
    assert (described.stderr, described.status) == ("", 0)
    lines = dict(line.split(": ", 1) for line in described.stdout.splitlines())
    assert list(lines) == [*NAMES, *UNSUPPORTED]
    for name, why in UNSUPPORTED.items():
        assert lines[name] == f"unsupported ({why})"
    listed = kame_sysctl(namespace, "-a").stdout.splitlines()
    assert listed[len(NAMES) :] == [f"{name}: {lines[name]}" for name in UNSUPPORTED]
    for option in ("-aN", "-an"):
        result = kame_sysctl(namespace, option)
        assert result.stderr == ""
        assert len(result.stdout.splitlines()) == len(NAMES)
        assert not any(name in result.stdout.split() for name in UNSUPPORTED)
    assert list(json.loads(kame_sysctl(namespace, "-da", "--json").stdout)) == list(lines)
    name = next(iter(UNSUPPORTED))
    assert kame_sysctl(namespace, "-d", name).stdout == f"{name}: {lines[name]}\n"
    below = kame_sysctl(namespace, "-d", "net.inet6").stdout
    assert "net.inet6.ipsec6.debug: unsupported (" in below
    assert "net.key" not in below


def test_e_passes_over_them_so_that_a_file_of_kame_can_be_loaded(
    namespace: Host, tmp_path: Path
) -> None:
    path = tmp_path / "sysctl.conf"
    path.write_text(f"net.key.blockacq_count = 10\n{INET[1]} = 2\nnet.inet.ipsec.ah_cleartos=1\n")
    refused = kame_sysctl(namespace, "-p", str(path))
    assert (refused.stdout, refused.status) == ("", 1)
    assert f"{path}:1: net.key.blockacq_count: unsupported (" in refused.stderr
    result = kame_sysctl(namespace, "-e", "-p", str(path))
    assert (result.stdout, result.stderr) == (f"{INET[1]}: 1 -> 2\n", "")
    assert result.status == 0


KAMES = (
    "def_policy esp_trans_deflev esp_net_deflev ah_trans_deflev ah_net_deflev inbound_call_ike"
    " ah_cleartos ah_offsetmask dfbit ecn debug esp_randpad stats"
)
KEYS = (
    "debug spi_try spi_min_value spi_max_value random_int larval_lifetime blockacq_count"
    " blockacq_lifetime esp_keymin esp_auth ah_keymin preferred_oldsa spi_trycnt spi_minval"
    " spi_maxval int_random"
)


def test_kames_sysctls_are_all_known(namespace: Host) -> None:
    names = [f"net.inet.ipsec.{name}" for name in KAMES.split()]
    names += [f"net.key.{name}" for name in KEYS.split()]
    assert "unknown" not in kame_sysctl(namespace, *names).stderr


@pytest.mark.parametrize("variable", FIXED)
def test_what_linux_has_one_value_of_is_read_and_not_written(
    variable: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([variable]) == 0
    assert capsys.readouterr().out == f"{variable} = {FIXED[variable]}\n"
    assert run(["-n", variable]) == 0
    assert capsys.readouterr().out == f"{FIXED[variable]}\n"
    assert run([f"{variable}=0"]) == 1
    assert "it is always 1 on Linux" in capsys.readouterr().err
