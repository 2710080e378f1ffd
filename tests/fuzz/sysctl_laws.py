"""What holds for every file and operand given to kame-sysctl."""

import atexit
from itertools import islice
from tempfile import NamedTemporaryFile

from kamexfrm.errors import KamexfrmError
from kamexfrm.model.knobs import KNOBS
from kamexfrm.sysctl import settings
from tests.fuzz.target import Target, hold

#: Lines of a file that are looked at: all are read alike.
MOST_LINES = 20

#: One file for all inputs: a new one for each takes longer than the reading.
_FILE = NamedTemporaryFile(prefix="kamexfrm-fuzz.", suffix=".conf")  # noqa: SIM115
atexit.register(_FILE.close)


def check(data: bytes) -> str:
    """Check all laws for a file: each line is an assignment in range, or its error is printable."""
    _FILE.seek(0)
    _FILE.truncate()
    _FILE.write(data)
    _FILE.flush()
    kinds = set()
    lines = data.count(b"\n") + data.count(b"\r") + 1
    try:
        for place, text in islice(settings.lines_of(_FILE.name), MOST_LINES):
            hold(1 <= place.line <= lines, "a line has its number")
            kinds.add(_assignment(text))
            _names(text)
    except KamexfrmError as error:
        _printable(error)
        kinds.add("unreadable")
    return " ".join(sorted(kinds))


def _assignment(text: str) -> str:
    try:
        knob, value = settings.read_assignment(text)
    except KamexfrmError as error:
        _printable(error)
        return f"refused {error.errno}"
    hold(knob.low <= value <= knob.high, "a value is in its range")
    printed = f"{knob.name} = {value}"
    hold(settings.read_assignment(printed) == (knob, value), "what is printed is read again")
    return knob.name


def _names(text: str) -> None:
    try:
        hold(settings.matching(text), "a name that is known names something")
    except KamexfrmError as error:
        _printable(error)


def _printable(error: KamexfrmError) -> None:
    shown = str(error)
    hold(shown.encode(), "a message is UTF-8")
    hold(all(char.isprintable() for char in shown), "a message is printable")


def seeds() -> list[bytes]:
    """Return a file of all knobs, each preset, and a line for each kind of mistake."""
    everything = "".join(f"{knob.name} = {knob.kame}\n" for knob in KNOBS)
    presets = [settings.preset(name) for name in ("linux", "kame")]
    files = ["".join(f"{k.name}={v}\n" for k, v in written.items()) for written in presets]
    lines = [f"{k.name.replace('.', '/')} = {word}\n" for k in KNOBS for word in k.value_names[:2]]
    others = ["# x\n; y\n\n", "net.inet.ipsec = 1\n", "nothing\n", "net.key.debug = 0x1f\n"]
    unsupported = [f"{name}: {text}\n" for name, text in settings.unsupported()]
    return [text.encode() for text in (everything, *files, *lines, *others, *unsupported)]


TARGET = Target(
    check,
    seeds,
    (
        *(knob.name.encode() for knob in KNOBS),
        *(b"=", b" = ", b": ", b".", b"/", b"..", b"#", b";", b"\n", b"\r", b"\r\n", b"\0", b" "),
        *(b"0", b"1", b"-1", b"0x", b"0xff", b"4294967296", b"9" * 30, b"\xc2\xb2", b"\xff"),
        *(b"use", b"require", b"none", b"discard", b"\x1b[31m", b"\xe2\x80\xa8", b"net", b"_"),
    ),
)
