"""What holds for every text given to the reader of scenario files."""

from pathlib import Path

from kamexfrm.rig.scenario.reading.document import ScenarioError, read_text
from kamexfrm.rig.scenario.reading.gallery import kinds, path_of
from tests.fuzz.target import Target, hold

TESTS = Path(__file__).parent.parent

#: Relative to it a scenario names files; it does not exist.
NAME = "/nonexistent/x.rig.toml"


def check(data: bytes) -> str:
    """Check all laws for a file: its cases are read, or the error names the file."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "no text"
    try:
        cases = read_text(text, NAME)
    except ScenarioError as error:
        shown = str(error)
        hold(shown.startswith(NAME), "an error names the file")
        hold(len(shown) < 2000, "a message is short")
        return " ".join(word for word in shown.split() if word.isalpha())
    for case in cases:
        hold(case.hosts, "a case has hosts")
        hold(all(step.line >= 0 for step in case.steps), "a step has its line")
    return f"{min(len(cases), 9)} cases of {min(len(cases[0].steps), 9) if cases else 0} steps"


def seeds() -> list[bytes]:
    """Return the gallery."""
    return [path_of(kind).read_bytes() for kind in kinds()]


TARGET = Target(
    check,
    seeds,
    (
        *(b"links = ", b"[hosts.alice]\n", b"[[step]]\n", b"[matrix]\n", b"[variables]\n"),
        *(b"[[exclude]]\n", b"family = 6\n", b"kernel = 'esp'\n", b"setkey = ", b"knobs = "),
        *(b"${alice}", b"${", b"}", b"${key:128}", b"${key:99999999999}", b"${x.y}", b"--", b" "),
        *(b"10.0.0.1/24", b"fd00::1/64", b"0.0.0.0/0", b"::/0", b"mtu=1", b"loss=200%", b"delay="),
        *(b'"', b"'", b'"""', b"'''", b"[", b"]", b"{", b"}", b"=", b".", b",", b"\n", b"#", b"\\"),
        *(b"true", b"1e400", b"nan", b"-1", b"9" * 40, b"1979-05-27", b"\\u0000", b"[[", b"]]"),
        *(b"ping = ", b"run = ", b"expect = ", b"wire = ", b"size = ", b"loop = "),
    ),
)
