"""kame-sysctl(8) has the variables that the command has, with their values, and those it lacks."""

import re

from kamexfrm.model.knobs import ALIASES, FURTHER_KNOBS, POLICY_KNOBS, Knob, Knobs
from kamexfrm.model.unsupported_knobs import UNSUPPORTED
from tests.man.manual_source import page, rows, section

PAGE = page("kame-sysctl.8")
START = Knobs()


def values(knob: Knob) -> str:
    """Return a knob's values as the page writes them."""
    if knob.value_names:
        return ", ".join(f"{n} {knob.value_names[n - knob.low]}" for n in knob.numbers)
    return f"{knob.low} to {knob.high}" if knob.step == 1 else ", ".join(map(str, knob.numbers))


def test_the_page_has_the_five_variables_of_a_family() -> None:
    table = rows(section(PAGE, "What policies mean", "s"), "Name")
    for family in (POLICY_KNOBS[:5], POLICY_KNOBS[5:]):
        assert [[name.removeprefix("Va "), *rest] for name, *rest in table] == [
            [knob.field, values(knob), str(START.value(knob))] for knob in family
        ]
        assert f".Va {family[0].name.rpartition('.')[0]}\n" in PAGE


def test_the_page_has_the_further_variables_with_kames_start_values() -> None:
    text = section(PAGE, "Variables for SAs", "s")
    assert rows(text, "Name") == [
        [f"Va {knob.name}", values(knob), str(START.value(knob))] for knob in FURTHER_KNOBS
    ]
    others = {k.field.rstrip("6"): k.kame for k in FURTHER_KNOBS if k.kame != START.value(k)}
    of_kame = r"^On KAME\n\.Va (\w+)\nand\n\.Va (\w+)\nstart at 0, and\n\.Va (\w+)\nstarts at 1\.$"
    names = re.findall(of_kame, text, re.M)
    assert dict(zip(names[0], (0, 0, 1), strict=True)) == others
    for alias in ALIASES:
        assert f".Va {alias.rpartition('.')[2]}\n" in text


def test_the_page_has_the_variables_that_linux_lacks() -> None:
    table = rows(section(PAGE, "Unsupported variables", "s"), "Name")
    named = []
    for cell, reason in table:
        first, *others = cell.removeprefix("Va ").split(" , ")
        named += [first, *(f"{first.rpartition('.')[0]}.{other}" for other in others)]
        assert reason
    assert named == list(UNSUPPORTED)
