"""A program in C, with structs of the system's headers, sets sockets' policies and reads them."""

import shutil
from pathlib import Path

import pytest

from kamexfrm.rig import Host
from tests.exec.exec_programs import EXEC

SOURCE = Path(__file__).with_name("policy_bytes.c")
COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.mark.skipif(COMPILER is None, reason="there is no compiler")
def test_a_program_in_c_reads_back_what_it_set(namespace: Host, tmp_path: Path) -> None:
    program = str(tmp_path / "policy-bytes")
    namespace.run([str(COMPILER), "-Wall", "-Werror", "-o", program, str(SOURCE)], check=True)
    done = namespace.run([*EXEC, "--", program])
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["same"] * 12
