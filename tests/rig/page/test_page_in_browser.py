"""The page of a run in headless Chromium: complaints, overflow, contrast, both schemes, print."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kamexfrm.rig.scenario.page.document import page
from tests.rig.page.browser import Browser, program
from tests.rig.page.runs import failed, passed, run

pytestmark = pytest.mark.skipif(program() is None, reason="no Chromium: chromium-headless-shell")

#: Each text whose contrast with its ground is too low (WCAG 2.1, 1.4.3), with its contrast.
LOW_CONTRAST = """
(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = one => {
    for (; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const one of document.body.querySelectorAll('*')) {
    const own = [...one.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !one.checkVisibility() || ['title', 'desc'].includes(one.localName)) continue;
    const style = getComputedStyle(one);
    const behind = one.classList.contains('name') || one.classList.contains('address')
      ? parse(getComputedStyle(one.parentElement.querySelector('rect')).fill) : ground(one);
    const colours = [parse(one.ownerSVGElement ? style.fill : style.color), behind].map(light);
    const contrast = (Math.max(...colours) + 0.05) / (Math.min(...colours) + 0.05);
    if (contrast < 4.5) low.push([one.textContent, contrast]);
  }
  return low;
})()
"""

OPEN = "document.querySelectorAll('details').forEach(one => { one.open = true; })"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "run.html"
    path.write_text(
        page(run(*[passed()] * 4, failed("a" * 200), failed("<script>alert()</script>")))
    )
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_a_page_fits_its_window_and_can_be_read(
    browser: Browser, shown: Path, width: int, dark: bool
) -> None:
    browser.requests.clear()
    browser.show(shown, width=width, dark=dark)
    for _ in range(2):  # as it comes, and with all details open
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate(LOW_CONTRAST) == []
        browser.evaluate(OPEN)
    assert browser.complaints == []
    assert browser.requests == [shown.as_uri()]


def test_dark_is_dark(browser: Browser, shown: Path) -> None:
    grounds = []
    for dark in (False, True):
        browser.show(shown, width=1440, dark=dark)
        grounds.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(246, 247, 249)", "rgb(15, 19, 24)"]


def test_on_paper_all_is_open_and_nothing_is_cut_off(browser: Browser, shown: Path) -> None:
    browser.show(shown, width=720, dark=True, media="print")
    hidden = "[...document.querySelectorAll('details > :not(summary)')].filter(one =>"
    assert browser.evaluate(f"{hidden} true).length") > 0
    assert (
        browser.evaluate(f"{hidden} !one.checkVisibility({{contentVisibilityAuto: true}})).length")
        == 0
    )
    assert (
        browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    assert browser.evaluate("document.documentElement.scrollWidth") <= 720
    assert browser.evaluate(LOW_CONTRAST) == []
    assert browser.printed().startswith(b"%PDF-")
