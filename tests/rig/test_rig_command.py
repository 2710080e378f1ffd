"""The command kamexfrm rig: what it prints, writes and leaves behind, and its exit status."""

import contextlib
import json
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kamexfrm.rig import until
from tests.operator.schemas import valid
from tests.rig.ordinary_user import (
    SYSTEM_PYTHON,
    interpreter_for_everybody,
    is_for_everybody,
    may_become_nobody,
    modules_for_everybody,
)

ROOT = Path(__file__).parents[2]

HERE = 'links = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob"\nkernel = "any"\n'
GOOD = HERE + '[[steps]]\nping = "alice -> bob"\nexpect = "ok"\nwire = "clear"\n'
BAD = HERE + '[[steps]]\nping = "alice -> bob"\nexpect = "lost"\n'
ESP = 'links = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob"\nkernel = "esp"\n' + GOOD[len(HERE) :]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "kamexfrm.cli", "rig", *words]


def rig(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "good.rig.toml").write_text(GOOD)
    (tmp_path / "bad.rig.toml").write_text(BAD)
    (tmp_path / "esp.rig.toml").write_text(ESP)
    (tmp_path / "broken.rig.toml").write_text("links = 3\n")
    return tmp_path


def test_what_passes_is_told_step_by_step_and_ends_with_0(files: Path) -> None:
    done = rig(files, "run", "good.rig.toml")
    lines = done.stdout.splitlines()
    assert lines[0] == "good.rig.toml"
    assert "alice, bob up, 1 link" in lines[1]
    assert "1 alice: ping 10.0.0.2" in lines[2]
    assert "ok, on the wire: clear" in lines[2]
    assert lines[-1].startswith("1 passed in")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\033" not in done.stdout


def test_what_fails_ends_with_1_and_is_named_at_the_end(files: Path) -> None:
    done = rig(files, "run", "bad.rig.toml", "good.rig.toml")
    assert "FAILED step 1, line 3: ok, expected lost" in done.stdout
    assert "alice# setkey -DP" not in done.stdout
    assert "in what --report FILE writes, or -v shows; kamexfrm rig up bad" in done.stdout
    assert "failed: bad.rig.toml: ok, expected lost" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 failed, 1 passed in")
    assert done.returncode == 1


def test_all_of_a_failure_is_shown_or_written_where_it_is_asked_for(files: Path) -> None:
    done = rig(files, "run", "-v", "bad.rig.toml")
    assert done.stdout.index("alice# setkey -DP") < done.stdout.index("FAILED step 1")
    done = rig(files, "run", "--report", "r.txt", "bad.rig.toml", "good.rig.toml")
    assert "alice# setkey -DP" not in done.stdout
    assert "counters are in r.txt;" in done.stdout
    written = (files / "r.txt").read_text()
    assert "alice# setkey -DP" in written
    assert written.splitlines()[-1].startswith("1 failed, 1 passed in")


def test_nothing_is_wider_than_the_terminal(files: Path) -> None:
    for width in (80, 60):
        for words in (
            ["run", "-v", "bad.rig.toml"],
            ["graph", "bad.rig.toml"],
            ["new"],
            ["doctor"],
        ):
            done = rig(files, *words, COLUMNS=str(width))
            assert max(map(len, done.stdout.splitlines())) <= width, done.stdout


def test_the_first_failure_may_be_the_last(files: Path) -> None:
    done = rig(files, "run", "-x", "bad.rig.toml", "good.rig.toml")
    assert done.stdout.splitlines()[-1].startswith("1 failed, 0 passed in")


CASES = HERE + "[matrix]\nx = ['one', 'two', 'three']\n"
CASES += "[[steps]]\nrun = 'test ${x} != two'\nhost = 'alice'\nexpect = 'ok'\n"


def test_cases_run_at_once_and_are_told_in_their_order(files: Path) -> None:
    (files / "m.rig.toml").write_text(CASES)
    done = rig(files, "run", "-n", "3", "--junit", "j.xml", "m.rig.toml")
    told = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("m.rig")]
    assert told == ["m.rig.toml[one]", "m.rig.toml[two]", "m.rig.toml[three]"]
    assert done.stdout.splitlines()[-1].startswith("1 failed, 2 passed in")
    assert done.returncode == 1
    suite = ElementTree.parse(files / "j.xml").getroot()[0]  # noqa: S314 (our own)
    assert [case.get("name") for case in suite] == ["one", "two", "three"]


def test_cases_after_the_first_failure_are_not_told(files: Path) -> None:
    (files / "m.rig.toml").write_text(CASES)
    done = rig(files, "run", "-x", "-n", "3", "m.rig.toml")
    assert done.stdout.splitlines()[-1].startswith("1 failed, 1 passed in")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--kernel", "guest"), 4, "/nonexistent is no program"),
        (("--step",), 2, "-n goes with neither --step, --enter nor --keep"),
    ],
    ids=["no guest", "a terminal for several"],
)
def test_cases_that_cannot_run_at_once_say_why_once(
    files: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    (files / "m.rig.toml").write_text(CASES)
    names = {"KAMEXFRM_GUEST_KERNEL": "/nonexistent"}
    done = rig(files, "run", "-n", "2", *words, "m.rig.toml", **names)
    assert done.stderr.count(said) == 1
    assert done.returncode == status


def test_quiet_shows_failures_only(files: Path) -> None:
    done = rig(files, "run", "-q", "bad.rig.toml", "good.rig.toml")
    assert done.stdout.startswith("bad.rig.toml\n")
    assert "\ngood.rig.toml\n" not in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["broken.rig.toml"], "broken.rig.toml:1: links: a string or a list of strings"),
        (["nowhere.rig.toml"], "nowhere.rig.toml: No such file"),
        (["good.rig.toml", "-k", "moon"], "-k moon: none of 1 cases"),
        (["good.rig.toml", "--enter", "carol"], "--enter carol: no host of that name"),
        (["good.rig.toml", "--nonsense"], "No such option"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_be_read_ends_with_2_and_runs_nothing(
    files: Path, words: list[str], said: str
) -> None:
    done = rig(files, "run", *words)
    assert said in done.stderr
    assert (done.returncode, done.stdout) == (2, "")


def test_without_any_kernel_it_is_skipped_with_the_cure(files: Path) -> None:
    for kernel in ("auto", "guest"):
        done = rig(files, "run", "--kernel", kernel, "esp.rig.toml", PATH="/nonexistent")
        assert "install user-mode-linux" in done.stderr
        assert done.returncode == 4
    done = rig(files, "run", "--kernel", "/nonexistent/linux", "good.rig.toml")
    assert "/nonexistent/linux is no program" in done.stderr
    assert done.returncode == 4


def test_a_report_in_json_is_all_there_is_on_the_output(files: Path) -> None:
    done = rig(files, "run", "--json", "bad.rig.toml", "good.rig.toml")
    report = json.loads(done.stdout)
    assert (report["passed"], report["failed"]) == (1, 1)
    failure = report["cases"][0]["steps"][-1]["failure"]
    assert failure["message"] == "ok, expected lost"
    assert "bob# setkey -D --nokeys" in [fact["title"] for fact in failure["facts"]]
    assert done.returncode == 1


def test_junit_and_captures_are_written(files: Path) -> None:
    done = rig(files, "run", "--junit", "j.xml", "--pcap", "p", "bad.rig.toml", "good.rig.toml")
    suites = ElementTree.parse(files / "j.xml").getroot()  # noqa: S314 (our own)
    assert [suite.get("failures") for suite in suites] == ["1", "0"]
    assert suites[0][0][0].get("message") == "ok, expected lost"
    assert done.returncode == 1
    shown = subprocess.run(
        ["tcpdump", "-nr", files / "p/good.alice----bob.pcap"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "10.0.0.1 > 10.0.0.2: ICMP echo request" in shown.stdout


def test_the_guest_tells_the_same_and_hands_out_its_files(files: Path) -> None:
    done = rig(
        files,
        "run", "--kernel", "guest", "--junit", "j.xml", "--pcap", "p", "--html", "run.html",
        "--report", "r.txt", "good.rig.toml", "bad.rig.toml",
    )  # fmt: skip
    assert "FAILED step 1, line 3: ok, expected lost" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 failed, 1 passed in")
    assert done.returncode == 1
    assert done.stderr == "kamexfrm rig: booting a guest\n"
    of_case, of_run = map(float, re.findall(r"passed in ([\d.]+) s", done.stdout))
    assert of_run > of_case  # the guest had to boot
    assert (files / "j.xml").exists()
    assert (files / "p/good.alice----bob.pcap").stat().st_size > 24
    assert "counters are in r.txt;" in done.stdout
    assert "bob# setkey -DP" in (files / "r.txt").read_text()
    page = (files / "run.html").read_text()
    assert "<h1>1 failed, 1 passed</h1>" in page
    assert "alice to bob: ICMP echo request" in page
    assert "heard 1 ICMP echo request" in page


EVIL = f'''title = "<script>alert(1)</script>"
{HERE}# <script>alert(1)</script>
[[steps]]
say = "<script>alert(1)</script>"
[[steps]]
run = """echo '<script>alert(1)</script>'; printf '\\\\tE: aes-cbc  00010203 04050607\\\\n'"""
host = "alice"
output = "<script>alert(1)</script>"
[[steps]]
setkey = """add 10.0.0.1 10.0.0.2 esp 0x1001 -E aes-cbc "sixteen letters!";"""
host = "alice"
[[steps]]
run = "echo '<script>alert(1)</script>' 0x11221122112211; printf 'E: des-cbc  00010203 04050607'"
host = "alice"
output = "another thing"
'''


def test_a_page_shows_foreign_texts_as_texts_and_no_key(files: Path) -> None:
    name = "<b>.rig.toml"
    (files / name).write_text(EVIL.replace("setkey =", "expect = 'refused'\nsetkey ="))
    done = rig(files, "run", "--kernel", "host", "--html", "run.html", name)
    page = (files / "run.html").read_text()
    assert "the output has no 'another thing'" in done.stdout
    assert "<script" not in page
    assert "<b>" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 4
    for key in ("sixteen", "00010203", "1122112211"):
        assert key not in page + done.stdout
    assert [path for path in files.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("option", ["--html", "--junit", "--report"])
@pytest.mark.parametrize("name", ["nowhere/run.html", ".", "good.rig.toml/run.html"])
def test_a_file_that_cannot_be_written_is_told_before_anything_runs(
    files: Path, option: str, name: str
) -> None:
    done = rig(files, "run", option, name, "good.rig.toml")
    assert done.stderr.startswith(f"kamexfrm rig: {name}: ")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_page_takes_the_place_of_what_is_there(files: Path) -> None:
    (files / "run.html").write_text("old")
    assert rig(files, "run", "--html", "run.html", "good.rig.toml").returncode == 0
    assert (files / "run.html").read_text().startswith("<!DOCTYPE html>")


def test_a_new_scenario_passes_at_once(files: Path) -> None:
    text = rig(files, "new", "tunnel").stdout
    (files / "t.rig.toml").write_text(text)
    done = rig(files, "run", "t.rig.toml")
    assert done.stdout.splitlines()[-1].startswith("2 passed in")
    assert done.returncode == 0
    listed = rig(files, "new").stdout
    assert "\ntunnel " in listed
    assert rig(files, "new", "tunnle").returncode == 2


def test_a_new_scenario_overwrites_no_file_unless_it_is_told_to(files: Path) -> None:
    assert rig(files, "new", "tunnel", "-o", "t.rig.toml").stdout == ""
    written = (files / "t.rig.toml").read_text()
    assert written == rig(files, "new", "tunnel").stdout
    refused = rig(files, "new", "transport", "-o", "t.rig.toml")
    assert "t.rig.toml is there already: --force overwrites it" in refused.stderr
    assert refused.returncode == 2
    assert (files / "t.rig.toml").read_text() == written
    assert rig(files, "new", "transport", "-o", "t.rig.toml", "--force").returncode == 0
    assert (files / "t.rig.toml").read_text() != written


@pytest.mark.parametrize("kernel", ["host", "guest"])
def test_a_scenario_may_come_by_the_standard_input(files: Path, kernel: str) -> None:
    done = subprocess.run(
        command("run", "--kernel", kernel, "-"),
        check=False,
        cwd=files,
        input=BAD,
        capture_output=True,
        text=True,
    )
    assert "failed: -: ok, expected lost" in done.stdout, done
    assert done.returncode == 1


@pytest.mark.skipif(
    not any(is_for_everybody(Path(one)) for one in (sys.executable, SYSTEM_PYTHON)),
    reason="no interpreter stands where an ordinary user may reach it",
)
def test_an_ordinary_user_needs_nothing_more(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    folder = tmp_path / "users"
    folder.mkdir()
    for each in (folder, *folder.parents[:3]):
        each.chmod(0o755)
    script = "spdadd 10.0.0.9 10.0.0.2 any -P out ipsec esp/transport//default;"
    (folder / "good.rig.toml").write_text(f"{GOOD}[hosts.alice]\nsetkey = '{script}'\n")
    words = command("run", str(folder / "good.rig.toml"))
    done = subprocess.run(
        [interpreter_for_everybody(), *words[1:]],
        check=False,
        capture_output=True,
        text=True,
        user=nobody if may_become_nobody() else None,
        cwd="/",
        env={
            **os.environ,
            "HOME": "/",
            "TMPDIR": "/tmp",
            "PYTHONPATH": modules_for_everybody(folder),
        },
    )
    assert "1 passed in" in done.stdout, done.stderr
    assert done.returncode == 0


def test_cases_are_listed_and_chosen_by_name(files: Path) -> None:
    (files / "m.rig.toml").write_text("[matrix]\nfamily = [4, 6]\nx = ['a', 'b']\n" + "")
    text = 'links = "a 10.0.0.1/24 fd00::1/64 -- 10.0.0.2/24 fd00::2/64 b"\n'
    (files / "m.rig.toml").write_text(text + "[matrix]\nfamily = [4, 6]\nx = ['a', 'b']\n")
    assert rig(files, "list", "m.rig.toml", "-k", "6-").stdout.splitlines() == [
        "m.rig.toml[6-a]",
        "m.rig.toml[6-b]",
    ]
    document = valid(json.loads(rig(files, "list", "--json", "good.rig.toml", "-k", "good").stdout))
    assert document["cases"] == [
        {
            "file": "good.rig.toml",
            "case": "",
            "title": "",
            "hosts": ["alice", "bob"],
            "steps": 1,
            "needs": [],
        }
    ]


def test_the_graph_shows_hosts_links_and_addresses(files: Path) -> None:
    text = rig(files, "graph", "good.rig.toml").stdout.splitlines()
    assert text[1] == "| alice |-----------------| bob |"
    assert "10.0.0.1/24" in text[0]
    picture = rig(files, "graph", "--svg", "good.rig.toml").stdout
    root = ElementTree.fromstring(picture)  # noqa: S314 (our own)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert texts == ["alice", "bob", "10.0.0.1/24", "10.0.0.2/24"]


def test_the_doctor_says_what_there_is() -> None:
    done = subprocess.run(command("doctor", "--json"), check=False, capture_output=True, text=True)
    findings = {finding["key"]: finding for finding in json.loads(done.stdout)}
    assert findings["namespaces"]["well"]
    assert "wireshark/esp_sa" in findings["tshark"]["note"]
    assert "-o esp.enable_encryption_decode:TRUE" in findings["tshark"]["note"]
    assert done.returncode == 0
    done = subprocess.run(
        command("doctor"),
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": "/nonexistent"},
    )
    assert "install user-mode-linux" in done.stdout


HELD = HERE + '[[steps]]\nrun = "echo here > mark; setsid sleep 1000 & exec sleep 1000"\n'
HELD += 'host = "alice"\ntimeout = 1000\n'


def namespaces_of_sleepers(folder: Path) -> list[str]:
    """Return the processes whose working folder is the test's own: what the scenario started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            mine = os.readlink(path / "cwd") == str(folder)
            alive = path.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            continue
        if mine and alive:
            found.append(path.name)
    return found


def test_nothing_is_left_of_a_killed_run(tmp_path: Path) -> None:
    (tmp_path / "held.rig.toml").write_text(HELD)
    runs = [
        subprocess.Popen(
            command("run", "held.rig.toml"),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(5)
    ]
    # Of each run: itself, the shell's two sleeps (exec) and nothing more in this folder.
    until(lambda: len(namespaces_of_sleepers(tmp_path)) >= 15, deadline=60, what="all runs")
    for run in runs:
        run.send_signal(signal.SIGKILL)
        run.wait()
    until(lambda: not namespaces_of_sleepers(tmp_path), deadline=20, what="the end of all")


def traces(folder: Path) -> list[str]:
    """Return what is left of runs that had ``folder`` for their temporary files."""
    files = [str(path) for path in folder.iterdir() if path.name != "held.rig.toml"]
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder) in path.read_text(errors="replace"):
                found.append(path.parent.name)
    return files + found


@pytest.mark.parametrize(("kernel", "runs"), [("host", 8), ("guest", 3)])
def test_nothing_is_left_of_runs_killed_at_any_moment(
    kernel: str, runs: int, tmp_path: Path
) -> None:
    # Short, and letters only: else the guest's kernel has its folder elsewhere.
    folder = Path("/tmp") / f"kamexfrm{secrets.token_hex(4)}"
    folder.mkdir()
    (folder / "held.rig.toml").write_text(HELD)
    try:
        for run in range(runs):
            process = subprocess.Popen(
                command("run", "--kernel", kernel, str(folder / "held.rig.toml")),
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": str(folder)},
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(random.uniform(0.05, 1.5 if kernel == "host" else 3.0))
            process.kill()
            process.wait()
            until(lambda: not traces(folder), deadline=30, what=f"the end of run {run}")
    finally:
        shutil.rmtree(folder)


def test_what_a_terminal_takes_for_a_command_is_shown(files: Path) -> None:
    (files / "evil.rig.toml").write_text(
        GOOD.replace(HERE, HERE.replace("links", 'title = "t\\u001b[2Jt"\nlinks'))
        + '[matrix]\nx = ["c\\u001b[2Jd"]\n'
    )
    for words in (("list", "evil.rig.toml"), ("run", "evil.rig.toml"), ("run", "e\x1b.rig.toml")):
        done = rig(files, *words)
        assert "\x1b" not in done.stdout + done.stderr
        assert "\\x1b" in done.stdout + done.stderr
