"""The fuzz target for setkey's reader finds nothing in its first texts."""

from tests.fuzz.fuzz_setkey import Finding, fuzz, look, smaller


def test_damaged_scripts_break_no_law() -> None:
    assert list(fuzz(1, texts=1100, slow=20.0)) == []


def test_a_finding_is_made_smaller() -> None:
    def reads(text: bytes) -> Finding | None:
        return look(text)[1]

    script = b"flush;\nadd 10.0.0.1 10.0.0.2 esp 5 -E null;\n"
    assert reads(script) is None
    finding = Finding("ZeroDivisionError", script, "")
    assert smaller(finding) == finding  # nothing smaller has that fault
