"""docs/kernels.md is what the matrix makes of its results."""

from tests.matrix.matrix import PAGE, Row, page, read_rows


def test_the_page_of_kernels_is_made_of_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(read_rows())


def test_what_did_not_pass_is_named_and_what_was_not_run_is_empty() -> None:
    rows = [
        Row("debian:sid", "7.2.7", "exec", "2026-11-30", "abc", 10, 0, 60, ()),
        Row("debian:sid", "7.2.7", "order", "2026-12-01", "abd", 4, 1, 9, ("tests/a.py::test_b",)),
        Row("debian:trixie", "6.12.113", "exec", "2026-11-30", "abc", 11, 0, 70, ()),
    ]
    text = page(rows)
    assert "| `debian:sid` | 7.2.7 | 10 | 4 of 5 | 2026-11-30 to 2026-12-01 |" in text
    assert "| `debian:trixie` | 6.12.113 | 11 |  | 2026-11-30 |" in text
    assert "* `debian:sid`, order: `tests/a.py::test_b`" in text


def test_what_was_skipped_or_passed_late_is_counted() -> None:
    row = Row("debian:sid", "7.2.7", "exec", "2026-11-30", "abc", 10, 0, 60, (), skipped=2, late=1)
    assert "| 10, 1 at the second try, 2 skipped |" in page([row])
