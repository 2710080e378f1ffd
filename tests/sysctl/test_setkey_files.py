"""A setkey file or one without an end, given to kame-sysctl: no key is told, no memory taken."""

from pathlib import Path

import pytest

from kamexfrm.sysctl.command import run

DIGITS = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
PHRASE = "CorrectHorse1234"
SETKEY = f"""\
flush;
add 10.0.0.1 10.0.0.2 esp 0x1000 -E aes-cbc 0x{DIGITS};
add 10.0.0.1 10.0.0.2 esp 0x1000 -E aes-cbc "{PHRASE}";
add 10.0.0.1 10.0.0.2 esp 0x1000 -E aes-cbc "{PHRASE}={PHRASE}";
add 10.0.0.1 10.0.0.2 esp 0x1000 -E aes-cbc
    0x{DIGITS};
    {DIGITS};
    "{PHRASE}";
"{PHRASE}" = 1
{DIGITS} = 1
"""


@pytest.mark.parametrize("option", ["-f", "-p"])
def test_a_setkey_file_is_refused_without_its_keys(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ipsec.conf"
    path.write_text(SETKEY)
    assert run([option, str(path)]) == 1
    err = capsys.readouterr().err
    assert "ipsec.conf:2: ...: Invalid argument: not NAME = VALUE (for setkey -f?)\n" in err
    assert "ipsec.conf:10: ...: unknown variable" in err
    assert DIGITS[:6] not in err
    assert PHRASE not in err


@pytest.mark.parametrize("before", [[], ["-w"]])
@pytest.mark.parametrize("line", SETKEY.splitlines()[1:])
def test_a_line_of_it_is_refused_without_its_keys(
    before: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*before, line]) in (1, 2)
    err = capsys.readouterr().err
    assert "..." in err
    assert DIGITS[:6] not in err
    assert PHRASE not in err


def test_a_file_without_an_end_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-f", "/dev/zero"]) == 1
    assert capsys.readouterr().err == "kame-sysctl: /dev/zero: longer than 1 MiB\n"
