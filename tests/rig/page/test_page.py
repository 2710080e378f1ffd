"""The page of a run as HTML: what is in it, where, and that foreign texts stay texts."""

import itertools
import re
from html.parser import HTMLParser
from typing import NamedTuple

import pytest

from kamexfrm.rig.scenario.page.document import page
from kamexfrm.rig.scenario.report import record
from kamexfrm.rig.scenario.result import RunResult
from tests.rig.page.runs import case, failed, passed, run

HOSTILE = "<script>alert(1)</script>\"'><img src=http://x/ onerror=y>&lt; \x1b[2J\u202e"

#: Elements that have no end tag.
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Tag(NamedTuple):
    name: str
    attributes: dict[str, str | None]


class Reader(HTMLParser):
    """Reads a page; an element that is not closed where it should be is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[Tag] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(Tag(tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += data

    def all(self, *names: str) -> list[Tag]:
        return [tag for tag in self.tags if tag.name in names]

    def values(self, attribute: str) -> list[str]:
        return [tag.attributes[attribute] or "" for tag in self.tags if attribute in tag.attributes]


@pytest.mark.parametrize("words", ["", HOSTILE])
def test_a_page_is_well_formed_and_asks_nothing_of_the_network(words: str) -> None:
    read = Reader(page(run(passed(words), failed(words))))
    assert not read.all("script", "link", "img", "iframe", "object", "base", "form")
    assert not [name for tag in read.tags for name in tag.attributes if name.startswith("on")]
    assert not read.values("src")
    identities = read.values("id")
    assert len(identities) == len(set(identities))
    assert {href.removeprefix("#") for href in read.values("href")} <= set(identities)
    for names in read.values("aria-labelledby"):
        assert set(names.split()) <= set(identities)


def test_foreign_texts_are_shown_as_they_are_written() -> None:
    text = Reader(page(run(failed(HOSTILE)))).text
    assert text.count("<script>alert(1)</script>") >= 8
    assert "\x1b" not in text
    assert "\\x1b[2J" in text
    assert "\\u202e" in text


def test_the_policy_of_the_page_lets_no_script_run() -> None:
    (policy,) = (
        tag.attributes["content"]
        for tag in Reader(page(run(passed()))).all("meta")
        if tag.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_headings_are_in_order_and_tables_have_headers() -> None:
    read = Reader(page(run(passed(), failed())))
    levels = [int(tag.name[1]) for tag in read.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    heads = read.all("th")
    assert heads
    assert all(tag.attributes.get("scope") in ("col", "row") for tag in heads)


def test_each_picture_has_a_title_and_a_description() -> None:
    text = page(run(passed()))
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(pictures) == 3  # the hosts side by side and one below the other, and a ladder
    for picture in pictures:
        assert re.search(r'role="img"', picture)
        assert re.search(r"<title[^>]*>[^<]+</title><desc[^>]*>[^<]+</desc>", picture)


def test_failures_come_first_with_their_cause() -> None:
    text = Reader(page(run(passed(), failed()))).text
    assert text.startswith("1 failed, 1 passed - kamexfrm rig")
    places = [
        text.index(words)
        for words in (
            "Why it failed",
            "g2 has no SA",
            "g2's XfrmInNoStates",
            "four.rig.toml",
            "ok,",
        )
    ]
    assert text.index("f.rig.toml") < text.index("four.rig.toml")
    assert places[1] < places[2]


def test_a_ladder_has_each_packet_and_what_moved() -> None:
    text = Reader(page(run(failed()))).text
    for words in (
        "g1 to g2: ESP spi=0x2001 seq=1 136 bytes",
        "ARP 28 bytes",  # it may be the cause
        "heard 1 ICMP echo request",
        "XfrmInNoStates +1",
        "esp 0x2001 10.0.0.1 > 10.0.0.2",
    ):
        assert words in text
    text = Reader(page(run(passed()))).text
    assert "ARP 28 bytes" not in text
    assert "Not drawn: 1 of ARP" in text


def test_a_host_of_two_chains_is_drawn_once() -> None:
    pictures = re.findall(r'<svg class="topology[^"]*".*?</svg>', page(run(passed())), re.DOTALL)
    for picture in pictures:
        assert picture.count(">h1</text>") == 1
        assert picture.count('class="link"') == 4
        assert picture.count('class="host"') == 5


def test_one_case_has_no_index_and_many_have_one() -> None:
    assert '<nav aria-labelledby="cases"' not in page(run(passed()))
    read = Reader(page(run(*[passed()] * 3)))
    assert read.values("href") == ["#case-1", "#case-2", "#case-3"]


def test_a_record_brings_back_what_the_page_needs() -> None:
    done = run(passed(), failed(HOSTILE))
    cases = [result.case for result in done.results]
    assert record.loads(record.dumps(done), [*cases, case()]) == done


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cases": [{}]}', '{"cases": 3}'])
def test_what_is_no_record_is_an_error(text: str) -> None:
    with pytest.raises(record.RecordError):
        record.loads(text, [case()])


def test_a_run_without_cases_is_a_page() -> None:
    Reader(page(RunResult((), "6.1", 0, 0)))
