"""The shell code of kamexfrm completion completes words in a real shell."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from kamexfrm.cli import completion
from kamexfrm.cli.command import main


def output(*words: str) -> str:
    done = CliRunner().invoke(main, ["completion", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_bash_completes_a_variable_of_kame_sysctl(tmp_path: Path) -> None:
    """What the code asks kamexfrm for is answered by a function of that name."""
    (tmp_path / "code").write_text(output("bash"))
    (tmp_path / "words").write_text(output("--words", "kame-sysctl"))
    script = (
        f"kamexfrm() {{ cat {tmp_path}/words; }}; . {tmp_path}/code; "
        "COMP_WORDS=(kame-sysctl net.inet.ipsec.esp_t); COMP_CWORD=1; "
        '_kamexfrm_words kame-sysctl; echo "${COMPREPLY[@]}"; complete -p setkey kamexfrm'
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    first, *registered = done.stdout.splitlines()
    assert first == "net.inet.ipsec.esp_trans_deflev"
    assert len(registered) == 2


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_gets_code_for_all_three_commands(shell: str) -> None:
    code = output(shell)
    assert all(name in code for name in ("kamexfrm", "setkey", "kame-sysctl"))


def test_namespaces_are_completed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("blue", "black", "red"):
        (tmp_path / name).touch()
    monkeypatch.setattr("kamexfrm.kernel.namespace.NAMED", str(tmp_path))
    assert output("--words", "netns").split() == ["black", "blue", "red"]
    words = {"COMP_WORDS": "kamexfrm status --netns bl", "COMP_CWORD": "3"}
    done = CliRunner(env={"_KAMEXFRM_COMPLETE": "bash_complete", **words}).invoke(
        main, prog_name="kamexfrm"
    )
    assert done.output.split() == ["plain,black", "plain,blue"]


def test_options_of_setkey_are_completed() -> None:
    assert {"-D", "-f", "--netns", "--json"} <= set(output("--words", "setkey").split())
