"""Scenario files in pytest: collected, run where there is ESP, and reported as transcripts."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = 'pytest_plugins = ["kamexfrm.rig.pytest_guest"]\n'

SCENARIO = """
links = "alice 10.0.0.1/24 fd00::1/64 -- 10.0.0.2/24 fd00::2/64 bob"
[matrix]
family = [4, 6]
key = ["00", "01"]
[hosts.alice]
setkey = '''
add ${alice} ${bob} esp 0x1001 -E null -A hmac-md5 0x000102030405060708090a0b0c0d0e00;
add ${bob} ${alice} esp 0x1002 -E null -A hmac-md5 0x000102030405060708090a0b0c0d0e00;
spdadd ${alice} ${bob} any -P out ipsec esp/transport//require;
spdadd ${bob} ${alice} any -P in ipsec esp/transport//require;
'''
[hosts.bob]
setkey = '''
add ${alice} ${bob} esp 0x1001 -E null -A hmac-md5 0x000102030405060708090a0b0c0d0e${key};
add ${bob} ${alice} esp 0x1002 -E null -A hmac-md5 0x000102030405060708090a0b0c0d0e00;
spdadd ${alice} ${bob} any -P in ipsec esp/transport//require;
spdadd ${bob} ${alice} any -P out ipsec esp/transport//require;
'''
[[steps]]
ping = "alice -> bob"
expect = "ok"
wire = "esp-null"
timeout = 0.5
"""
HERE = 'links = "a 10.0.0.1/24 -- 10.0.0.2/24 b"\n[[steps]]\nping = "a -> b"\nexpect = "ok"\n'


def session(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    environment["COLUMNS"] = "200"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *words],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )


def test_each_case_is_a_test_and_its_failure_a_transcript(tmp_path: Path) -> None:
    (tmp_path / "keys.rig.toml").write_text(SCENARIO)
    (tmp_path / "here.rig.toml").write_text(HERE)
    done = session(tmp_path)
    for line in (
        "here.rig.toml::scenario PASSED",
        "keys.rig.toml::4-00 PASSED",
        "keys.rig.toml::4-01 FAILED",
        "keys.rig.toml::6-00 PASSED",
        "keys.rig.toml::6-01 FAILED",
        "FAILED keys.rig.toml::4-01 - lost, expected ok: alice and bob have different authen",
        "because alice and bob have different authentication keys for esp 0x1001",
    ):
        assert line in done.stdout, done.stdout
    assert "2 failed, 3 passed" in done.stdout
    assert done.returncode == 1


def test_cases_are_chosen_as_tests_are(tmp_path: Path) -> None:
    (tmp_path / "keys.rig.toml").write_text(SCENARIO)
    done = session(tmp_path, "keys.rig.toml::6-00")
    assert "1 passed" in done.stdout
    assert done.returncode == 0


def test_a_file_that_cannot_be_read_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.rig.toml").write_text(HERE + 'wier = "esp"\n')
    done = session(tmp_path)
    assert "bad.rig.toml:5: steps[1].wier: no such key; did you mean wire?" in done.stdout
    assert done.returncode == 2
