"""The command on the running kernel: modes, output, messages, exit status. Policies only."""

import json
import re
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from kamexfrm.engine.socket_policy import set_policy
from kamexfrm.setkey.command import main
from tests.setkey.setkey_process import SETKEY, script, setkey, xfrm

REQUIRE = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;\n"
DEFAULT = "spdadd 10.0.0.2 10.0.0.1 any -P in ipsec esp/transport//default;\n"

FOREIGN = ["ip", "xfrm", "policy", "add", "src", "10.9.0.0/16", "dst", "10.8.0.0/16"]

pytestmark = pytest.mark.usefixtures("namespace")


def entries(dump: str) -> list[str]:
    """Return the head lines of a -DP dump with their direction and action."""
    lines = dump.splitlines()
    return [f"{a}{b}" for a, b in pairwise(lines) if not a.startswith("\t")]


class TestFile:
    def test_loads_policies_and_says_nothing(self, tmp_path: Path) -> None:
        assert setkey("-f", script(tmp_path, REQUIRE)) == (0, "", "")
        assert "dir out priority 2147483648" in xfrm("policy")

    def test_the_dump_is_setkeys_own(self, tmp_path: Path) -> None:
        setkey("-f", script(tmp_path, REQUIRE))
        dump = setkey("-DP").out
        assert re.fullmatch(
            r"10\.0\.0\.1\[any\] 10\.0\.0\.2\[any\] 255\n"
            r"\tout prio def ipsec\n"
            r"\tesp/transport//require\n"
            r"\tcreated: \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}  lastused:                     \n"
            r"\tlifetime: 0\(s\) validtime: 0\(s\)\n"
            r"\tspid=9 seq=0 pid=\d+\n"
            r"\trefcnt=1\n",
            dump,
        )

    def test_an_in_entry_brings_its_fwd_twin_unless_k(self, tmp_path: Path) -> None:
        path = script(tmp_path, DEFAULT)
        setkey("-f", path)
        assert xfrm("policy").count("dir fwd priority") == 1
        setkey("-FP")
        setkey("-k", "-f", path)
        assert xfrm("policy").count("dir fwd priority") == 0

    def test_what_the_kernel_rejects_is_reported_with_its_line_and_the_rest_is_done(
        self, tmp_path: Path
    ) -> None:
        path = script(tmp_path, REQUIRE + "\n" + REQUIRE + DEFAULT.replace("default", "require"))
        status, out, err = setkey("-f", path)
        assert (status, out) == (0, "")
        assert err.splitlines()[0] == f"setkey: {path},3: File exists"
        assert "in the way: spid=9 out ipsec esp/transport//require" in err
        assert len(entries(setkey("-DP").out)) == 3

    def test_strict_makes_a_rejected_command_the_exit_status(self, tmp_path: Path) -> None:
        path = script(tmp_path, REQUIRE + REQUIRE)
        assert setkey("--strict", "-f", path).status == 1
        setkey("-FP")
        assert setkey("--strict", "-f", script(tmp_path, REQUIRE)).status == 0

    def test_a_syntax_error_is_told_and_nothing_is_done(self, tmp_path: Path) -> None:
        bad = "spdadd 10.0.0.1 10.0.0.3 any -P out ipsec esp/transport//requrie;\n"
        path = script(tmp_path, REQUIRE + bad + DEFAULT)
        status, out, err = setkey("-f", path)
        assert (status, out) == (1, "")
        lines = err.splitlines()
        assert lines[0] == 'libipsec: syntax error while parsing "requrie"'
        assert lines[1].startswith(f"setkey: {path},2: Invalid argument at ` out ipsec")
        assert lines[2] == f"setkey: {path},2: parse failed"
        assert bad.strip() in lines[3]
        assert lines[4].index("^") == lines[3].index("requrie")
        assert lines[-1].startswith("setkey: nothing was changed: ")
        assert xfrm("policy") == ""

    @pytest.mark.parametrize(
        "first", ["flush;\n", "spdflush;\n", "spddelete 10.0.0.1 10.0.0.2 any -P out;\n"]
    )
    def test_a_syntax_error_behind_a_deletion_leaves_what_is_there(
        self, tmp_path: Path, first: str
    ) -> None:
        assert setkey("-f", script(tmp_path, REQUIRE)).status == 0
        before = xfrm("policy")
        for where in (("-f", script(tmp_path, first + "bogus;\n")), ("-e", first + "bogus;")):
            assert setkey(*where).status == 1
        assert setkey("-f", "-", text=first + "bogus;\n").status == 1
        assert xfrm("policy") == before

    def test_as_read_carries_out_what_comes_before_an_error(self, tmp_path: Path) -> None:
        path = script(tmp_path, REQUIRE + "bogus;\n" + DEFAULT)
        status, _, err = setkey("--as-read", "-f", path)
        assert status == 1
        assert "nothing was changed" not in err
        assert len(entries(setkey("-DP").out)) == 1

    def test_a_name_that_is_not_found_is_told_before_anything_is_done(self, tmp_path: Path) -> None:
        path = script(tmp_path, REQUIRE + "spdadd no.such.invalid 10.0.0.3 any -P out none;\n")
        assert setkey("-f", path).status == 1
        assert xfrm("policy") == ""

    def test_errors_come_in_the_order_of_the_lines(self, tmp_path: Path) -> None:
        no_protocol = "add 10.0.0.1 10.0.0.2 0x1000 -E null;\n"
        path = script(tmp_path, REQUIRE + REQUIRE + no_protocol + "spddump;\n" + REQUIRE)
        err = setkey("-f", path).err
        places = re.findall(rf"setkey: {re.escape(path)},(\d+):", err)
        assert places == ["2", "3", "5"]

    def test_a_file_that_is_not_there(self) -> None:
        status, out, err = setkey("-f", "/no/such.conf")
        assert (status, out) == (1, "")
        assert err == "setkey: Can't open `/no/such.conf': No such file or directory\n"

    def test_standard_input_is_called_dash(self) -> None:
        status, _, err = setkey("--as-read", "-f", "-", text="spddump;\nbogus;\n")
        assert status == 1
        assert err.splitlines()[:3] == [
            "setkey: -,1: No SPD entries",
            "setkey: -,2: syntax error at `bogus'",
            "setkey: -,2: parse failed",
        ]

    def test_text_on_the_command_line(self) -> None:
        assert setkey("-e", REQUIRE) == (0, "", "")
        assert len(entries(setkey("-DP").out)) == 1

    def test_n_reads_and_does_nothing(self, tmp_path: Path) -> None:
        assert setkey("-n", "-f", script(tmp_path, REQUIRE)) == (0, "", "")
        assert setkey("-nf", script(tmp_path, "bogus;")).status == 1
        assert xfrm("policy") == ""

    def test_exit_ends_the_script(self, tmp_path: Path) -> None:
        assert setkey("-f", script(tmp_path, REQUIRE + "exit; $$$")) == (0, "", "")

    def test_ipsec_without_a_request_is_rejected(self, tmp_path: Path) -> None:
        path = script(tmp_path, "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec;\n" + REQUIRE)
        status, _, err = setkey("-f", path)
        assert status == 0
        assert err.startswith(f"setkey: {path},1: Invalid argument\n")
        assert len(entries(setkey("-DP").out)) == 1

    def test_what_linux_cannot_express_is_a_warning(self, tmp_path: Path) -> None:
        sa = "add 10.0.0.1 10.0.0.2 esp-old 0x1000 -f random-pad -natt_mtu 1300 -E null;\n"
        err = setkey("-f", script(tmp_path, sa)).err
        for words in ("the SA is made as esp", "always pads", "no -natt_mtu"):
            assert words in err

    def test_level_default_that_means_use_is_one_warning(self, tmp_path: Path) -> None:
        path = script(tmp_path, DEFAULT + DEFAULT.replace("10.0.0.1", "10.0.0.9"))
        err = setkey("-f", path).err
        assert err.count("WARNING: level default of esp means use") == 1
        assert err.startswith(f"setkey: {path},1: ")


class TestInteractive:
    def test_continues_after_an_error_and_ends_with_0(self) -> None:
        status, out, err = setkey("-c", text=f"bogus thing;\n{REQUIRE}{REQUIRE}spddump;\n")
        assert status == 0
        lines = out.splitlines()
        assert lines[0] == "syntax error at `bogus'"
        assert "File exists." in lines
        assert "10.0.0.1[any] 10.0.0.2[any] 255" in lines
        assert err == ""

    def test_does_not_echo_and_has_no_limit_of_1024_bytes(self) -> None:
        lines = [
            f"spdadd 10.0.{i}.1 10.1.{i}.1 any -P out ipsec esp/transport//require;"
            for i in range(30)
        ]
        assert setkey("-c", text=" ".join(lines) + "\n") == (0, "", "")
        assert len(entries(setkey("-DP").out)) == 30

    def test_an_empty_database_is_reported_with_a_full_stop(self) -> None:
        assert setkey("-c", text="dump; spddump;\n").out == "No SAD entries.\nNo SPD entries.\n"

    def test_exit_ends_it(self) -> None:
        assert setkey("-c", text="exit;\nspddump;\n") == (0, "", "")


class TestDumpAndFlush:
    def test_empty_databases(self) -> None:
        assert setkey("-D") == (0, "No SAD entries.\n", "")
        assert setkey("-DP") == (0, "No SPD entries.\n", "")

    def test_the_last_mode_wins(self) -> None:
        setkey("-e", REQUIRE)
        assert len(entries(setkey("-FDP").out)) == 1
        assert setkey("-DFP") == (0, "", "")
        assert setkey("-DP").out == "No SPD entries.\n"

    def test_flushing_deletes_foreign_entries_too(self) -> None:
        subprocess.run(
            [*FOREIGN, "dir", "in", "tmpl", "proto", "esp"],
            check=True,
        )
        assert setkey("-FP") == (0, "", "")
        assert xfrm("policy") == ""

    def test_a_foreign_entry_is_shown_as_the_kernel_means_it(self) -> None:
        subprocess.run(
            [*FOREIGN, "dir", "out", "priority", "1000", "tmpl", "proto", "esp", "reqid", "7"],
            check=True,
        )
        assert (
            "\tout prio high + 1073740824 ipsec\n\tesp/transport//unique:7\n" in setkey("-DP").out
        )

    def test_foreign_entries_that_pf_key_cannot_express_are_shown_too(self) -> None:
        subprocess.run([*FOREIGN, "dir", "in", "tmpl", "proto", "route2", "mode", "ro"], check=True)
        ends = ["src", "192.0.2.1", "dst", "192.0.2.2"]
        subprocess.run(
            [*FOREIGN, "dir", "out", "tmpl", *ends, "proto", "esp", "mode", "beet"], check=True
        )
        dump = setkey("-DP")
        assert dump.err == ""
        assert "\t43/3/" in dump.out
        assert "\tesp/beet/192.0.2.1-192.0.2.2/require\n" in dump.out

    def test_a_sockets_bypass_is_shown_as_none(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            set_policy(sock, "in bypass")
            set_policy(sock, "out ipsec esp/transport//use")
            dump = setkey("-DP").out
        assert "\tin(socket) none\n\tcreated" in dump
        assert "\tout(socket) ipsec\n\tesp/transport//use\n\tcreated" in dump

    def test_default_is_shown_by_another_process_and_needs_no_file(self) -> None:
        setkey("-e", DEFAULT)
        assert setkey("-DP").out.count("\tesp/transport//default\n") == 2

    def test_l_repeats_until_it_is_ended(self) -> None:
        process = subprocess.Popen(
            [*SETKEY, "-lD"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "time p   s spi      ltime   src -> dst\n"
        assert process.stdout.readline() == "No SAD entries.\n"
        assert process.stdout.readline() == "No SAD entries.\n"
        process.terminate()
        process.communicate()

    def test_json(self) -> None:
        setkey("-e", REQUIRE)
        (row,) = json.loads(setkey("--json", "-DP").out)
        assert row["source"].startswith("10.0.0.1")
        assert json.loads(setkey("--json", "-D").out) == []

    def test_a_closed_pipe_is_no_error(self) -> None:
        setkey("-c", text="".join(REQUIRE.replace("0.2", f"{i}.2") for i in range(2, 200)))
        process = subprocess.Popen([*SETKEY, "-DP"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        process.wait(10)


class TestUsage:
    @pytest.mark.parametrize("arguments", [(), ("-h",), ("-?",), ("-v",)])
    def test_usage_goes_to_stdout_with_status_1(self, arguments: tuple[str, ...]) -> None:
        status, out, err = setkey(*arguments)
        assert (status, err) == (1, "")
        assert out.startswith("setkey @(#) kamexfrm ")
        assert "usage: setkey" in out

    def test_an_unknown_option_is_named_on_stderr(self) -> None:
        status, out, err = setkey("-Z")
        assert (status, err) == (1, "setkey: invalid option -- 'Z'\n")
        assert "usage:" in out
        assert setkey("-f").err == "setkey: option requires an argument -- 'f'\n"

    def test_version(self) -> None:
        short, long = setkey("-V"), setkey("--version")
        assert (short.status, long.status) == (1, 0)
        assert short.out == long.out
        assert setkey("--help").status == 0


class TestRights:
    @pytest.mark.parametrize("arguments", [("-D",), ("-DP",), ("-F",), ("-FP",), ("-e", REQUIRE)])
    def test_without_net_admin_it_says_operation_not_permitted(
        self, arguments: tuple[str, ...]
    ) -> None:
        dropped = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
        status, out, err = setkey(*arguments, before=dropped)
        assert (status, out) == (1, "")
        assert err == (
            "setkey: pfkey_open: Operation not permitted\n"
            "    this needs CAP_NET_ADMIN in the network namespace: "
            "be root, or try it in `unshare -rn`\n"
        )

    def test_a_user_namespace_is_enough(self) -> None:
        inside = ("unshare", "--map-root-user", "--net")
        assert setkey("-c", text=REQUIRE + "spddump;", before=inside).out.startswith("10.0.0.1")

    def test_a_kernel_without_xfrm_gets_a_sentence(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(93, "Protocol not supported")

        monkeypatch.setattr("_socket.socket", refuse)
        assert main(["-D"]) == 1
        assert "this kernel has no XFRM" in capsys.readouterr().err


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "setkey"), "--version"], capture_output=True, check=True
    )
    assert done.stdout.decode() == setkey("--version").out


def test_a_key_in_the_text_of_e_is_warned_of() -> None:
    warning = (
        "setkey: WARNING: all users can see the key in the text of -e, by ps(1): use -f - or -c\n"
    )
    head = "add 10.0.0.1 10.0.0.2 esp 0x1000 -E"
    for key in ("aes-cbc 0x00112233445566778899aabbccddeeff", 'aes-cbc "0123456789abcdef"'):
        assert setkey("-n", "-e", f"{head} {key};") == (0, "", warning)
        assert setkey("-n", "-f", "-", text=f"{head} {key};") == (0, "", "")
    assert setkey("-n", "-e", f"{head} null;") == (0, "", "")
