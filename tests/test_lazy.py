"""What is loaded late: expressions, and the code of what one policy does not need."""

import subprocess
import sys

from kamexfrm.lazy import expression

#: What writes one policy without being asked for anything else.
ONE_POLICY = """
import sys
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SpdAdd
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.setkey.line_parser import WholeScripts
from kamexfrm.setkey.script_file import Script

text = "spdadd 192.0.2.1 192.0.2.2 any -P out ipsec esp/transport//require;\\n"
scripts = WholeScripts([Script([text], "-")], None)
list(scripts.check())
engine = Engine(FakeKernel())
for statement in scripts.statements():
    engine.submit(SpdAdd(statement.policy, True, False))
engine.flush()
print(*sys.modules)
"""

LATE = {
    "kamexfrm.engine.knobs",
    "kamexfrm.engine.sad",
    "kamexfrm.engine.spd_delete",
    "kamexfrm.engine.spd_add_run",
    "kamexfrm.setkey.plain_reading",
    "kamexfrm.setkey.sa_commands",
    "kamexfrm.setkey.fast_sa_parser",
    "kamexfrm.translate.xfrm.replacement",
}


def _loaded(code: str) -> set[str]:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_an_expression_is_one_of_re() -> None:
    letters = expression("(?s)(a+)(.)")
    found = letters.match("xaab", 1)
    assert found
    assert found.groups() == ("aa", "b")
    assert letters.findall("ab aac") == [("a", "b"), ("aa", "c")]
    assert letters.fullmatch("abc") is None
    assert letters.pattern == "(?s)(a+)(.)"


def test_an_expression_loads_re_when_it_is_used() -> None:
    code = "import sys; from kamexfrm.lazy import expression; {}; print(*sys.modules)"
    assert "re" not in _loaded(code.format("expression('a')"))
    assert "re" in _loaded(code.format("expression('a').match('a')"))


def test_one_policy_loads_nothing_of_what_it_does_not_need() -> None:
    assert not LATE & _loaded(ONE_POLICY)
