"""The page in a real browser: silent, self-contained, as wide as a phone, readable, all by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from sprue.report.compare import Margin, compare
from sprue.report.data import Report
from sprue.report.page import comparison, html
from sprue.report.versus import versus

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

Scheme = Literal["light", "dark"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

CONTRASTS = """
() => {
  const parse = c => c.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    throw new Error("nothing behind");
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    if (!node.data.trim() || e.closest("title") || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const colour = parse(e.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(colour), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.data.trim().slice(0, 40)]);
  }
  return found;
}
"""
"""WCAG 2.2, 1.4.3 (relative luminance, contrast ratio) of every text that shows: [ratio, text]."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Debian package chromium here")
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=chromium, args=FLAGS)
        yield made
        made.close()


def shown(browser: Browser, folder: Path, page: str, width: int = 1100, scheme: Scheme = "light") -> Page:
    """The page in a window; whatever it says in the console or asks the network for is an error."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    tab = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
    wrong: list[str] = []
    tab.on("console", lambda said: wrong.append(said.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", lambda dialog: wrong.append(dialog.message))
    tab.on("request", lambda asked: wrong.append(asked.url) if asked.url != path.as_uri() else None)
    tab.goto(path.as_uri(), wait_until="load")
    assert wrong == []
    return tab


@pytest.fixture
def pages(report: Report, hostile: Report) -> dict[str, str]:
    older = versus(report, report)
    other = replace(report, name="other")
    spoiled = replace(other, targets=hostile.targets)
    return {
        "plain": html(report, older),
        "hostile": html(hostile, versus(report, hostile)),
        "compared": comparison(compare(report, other, {"server": Margin(-0.01, 0.02)})),
        "compared, hostile": comparison(compare(replace(hostile, reference=report.reference), spoiled)),
    }


def test_it_is_silent_fits_a_phone_and_can_be_read_in_both_schemes(
    browser: Browser, tmp_path: Path, pages: dict[str, str]
) -> None:
    for name, page in pages.items():
        for width in (360, 1100):
            for scheme in ("light", "dark"):
                tab = shown(browser, tmp_path, page, width, scheme)
                wide = tab.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} in {width} pixels"
                low = [c for c in tab.evaluate(CONTRASTS) if c[0] < 4.5]
                assert low == [], f"{name} in the {scheme} scheme"
                tab.context.close()


def test_the_two_schemes_differ_and_paper_is_white(
    browser: Browser, tmp_path: Path, pages: dict[str, str]
) -> None:
    seen = []
    for scheme in ("light", "dark"):
        tab = shown(browser, tmp_path, pages["plain"], scheme=scheme)
        seen.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert seen == ["rgb(255, 255, 255)", "rgb(16, 21, 27)"]
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert [c for c in tab.evaluate(CONTRASTS) if c[0] < 4.5] == []
    assert tab.evaluate("document.querySelector('details table').getBoundingClientRect().height") > 0


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(
    browser: Browser, tmp_path: Path, pages: dict[str, str]
) -> None:
    tab = shown(browser, tmp_path, pages["plain"])
    hidden = tab.evaluate("document.querySelectorAll('details:not([open]) [tabindex=\"0\"]').length")
    wanted = tab.evaluate("document.querySelectorAll('a[href], summary, [tabindex=\"0\"]').length") - hidden
    places = []
    for _ in range(wanted):
        tab.keyboard.press("Tab")
        here = tab.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [[...document.querySelectorAll('*')].indexOf(e), e.tagName, s.outlineStyle]; })()"
        )
        places.append(here)
    numbers = [p[0] for p in places]
    assert len(set(numbers)) == wanted
    assert numbers == sorted(numbers)
    assert all(p[1] not in ("BODY", "HTML") and p[2] != "none" for p in places)


def test_the_skip_link_leads_to_the_content_and_a_mark_to_its_row(
    browser: Browser, tmp_path: Path, pages: dict[str, str]
) -> None:
    tab = shown(browser, tmp_path, pages["plain"])
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "content"
    tab.locator("figure a", has_text="ov-float32").first.focus()
    tab.keyboard.press("Enter")
    assert "ov-float32" in tab.locator("tr:target").inner_text()


def test_a_summary_opens_by_keyboard(browser: Browser, tmp_path: Path, pages: dict[str, str]) -> None:
    tab = shown(browser, tmp_path, pages["plain"])
    summary = tab.locator("summary", has_text="The tools")
    assert not tab.get_by_role("region", name="The tools").is_visible()
    summary.focus()
    tab.keyboard.press("Enter")
    assert tab.get_by_role("region", name="The tools").is_visible()


def test_screen_readers_get_names_and_structure(
    browser: Browser, tmp_path: Path, pages: dict[str, str]
) -> None:
    tab = shown(browser, tmp_path, pages["plain"], width=360)
    assert tab.get_by_role("main").count() == 1
    assert tab.get_by_role("heading", level=1).inner_text() == "digits 1.0.0"
    assert tab.get_by_role("navigation", name="Sections").count() == 1
    assert tab.get_by_role("region", name="Every variant tried for server").count() == 1
    row = tab.get_by_role("row").filter(has_text="ov-float32").first
    assert row.get_by_role("rowheader").count() == 1
    assert row.get_by_role("cell").count() == 4
    named = tab.get_by_role("link", name="ov-float32: size 97.7 KiB, latency 70.0 µs, verified")
    assert named.count() == 1
