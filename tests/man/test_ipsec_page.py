"""ipsec(4) has the variables of the code, with their values."""

from kamexfrm.model.knobs import FURTHER_KNOBS, POLICY_KNOBS, Knobs
from tests.man.manual_source import page, rows, section

IPSEC_PAGE = page("ipsec.4")


def test_the_variables_of_ipsecs_page_are_the_knobs_with_their_values() -> None:
    table = rows(section(IPSEC_PAGE, "Variables", "s"), "Name")
    start = Knobs()
    assert [(name, values, int(first)) for name, values, first, _ in table] == [
        (
            knob.name,
            ", ".join(str(number) for number in range(knob.low, knob.high + 1)),
            start.value(knob),
        )
        for knob in POLICY_KNOBS
    ]
    for name, _, _, concerns in table:
        mode = {"trans": "transport", "net": "tunnel"}
        protocol, _, rest = name.rpartition(".")[2].partition("_")
        wanted = f"{protocol.upper()}, {mode[rest.partition('_')[0]]}" if rest != "policy" else ""
        assert concerns == (wanted or "no match")


def test_the_further_variables_of_ipsecs_page_are_the_further_knobs_with_their_values() -> None:
    table = rows(section(IPSEC_PAGE, "Variables", "s"), "Further")
    start = Knobs()
    assert [(name, values, int(first)) for name, values, first in table] == [
        (
            knob.name,
            f"{knob.low} to {knob.high}"
            if not knob.value_names and knob.step == 1
            else ", ".join(map(str, knob.numbers)),
            start.value(knob),
        )
        for knob in FURTHER_KNOBS
    ]
