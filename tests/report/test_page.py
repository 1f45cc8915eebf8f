"""The page and its Markdown: deterministic, whole, and proof against what bundles may say."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt

from sprue.report.data import Report
from sprue.report.page import cell, html, markdown, verdict
from sprue.report.versus import versus

from .conftest import HOSTILE

VOID = {"meta", "link", "br", "circle", "line", "path", "polyline"}


class Tags(HTMLParser):
    """Which elements and attributes a page has; fails for one that is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.links += [v or "" for k, v in attrs if k in ("href", "src")]
        self.ids += [v or "" for k, v in attrs if k == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_equal_reports_give_equal_pages(report: Report) -> None:
    assert html(report) == html(replace(report))
    assert markdown(report) == markdown(replace(report))


def test_the_page_names_every_variant_with_its_reason_and_its_figures(report: Report) -> None:
    text = Tags(html(report)).text
    for target in report.targets:
        for tried in target.tried:
            assert tried.variant in text
    for said in ("about 2.85 µJ", "138.7 KiB moved", "EUR per million", "0.0123", "233,930 multiply-adds"):
        assert said in text
    for said in ("0.9700 to 0.9970", "at most 0.0200 worse", "not proven", "2 of the evaluation samples are"):
        assert said in text
    for said in (
        "too bad",
        "the fastest of 3 that passed",
        "3.50x slower: 70.0 µs against 20.0 µs",
        "417,006",
        "estimate: 541,027 cycles, 4.51 ms",
    ):
        assert said in text


def test_the_heaviest_operators_are_shown_with_what_a_faster_one_could_bring(report: Report) -> None:
    text = " ".join(Tags(html(report)).text.split())
    assert "Gemm takes 50 % of an inference: however fast it became, the whole would be at most 2.00x" in text
    assert "/layer0" in text
    assert "And 2 others, 5.0 % together." in text
    assert "Timed on cores 0, 1; meanwhile other processes took 1.70 cores' worth of time" in text


def test_what_came_nearest_is_named_where_nothing_passed(report: Report) -> None:
    server, board = report.targets
    overs = (None, 3.0, 1.5, 2.0)
    lost = tuple(
        replace(t, selected=False, state="failed", over=over)
        for t, over in zip(server.tried, overs, strict=True)
    )
    failed = replace(report, targets=(replace(server, tried=lost), board))
    for text in (Tags(html(failed)).text, markdown(failed)):
        assert "ov-float32 came nearest: it takes 1.50 times what is allowed" in text


def test_every_link_leads_to_something_on_the_page(report: Report) -> None:
    page = Tags(html(report))
    assert len(page.ids) == len(set(page.ids))
    inner = [link for link in page.links if link != "data:,"]
    assert inner
    assert {link for link in inner if link[0] != "#" or link[1:] not in page.ids} == set()


def test_hostile_text_makes_no_element_no_attribute_and_no_link(report: Report, hostile: Report) -> None:
    plain, spoiled = Tags(html(report)), Tags(html(hostile))
    assert spoiled.found["script"] == 0
    assert spoiled.found["img"] == 0
    assert spoiled.attributes == plain.attributes
    assert set(spoiled.links) <= set(plain.links)
    assert "<script>alert(1)</script>" in spoiled.text
    assert "{{ 7*7 }}" in spoiled.text


def test_hostile_text_is_only_text_in_markdown(report: Report, hostile: Report) -> None:
    def kinds(text: str) -> Counter[str]:
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
        flat = [t for token in tokens for t in (token, *(token.children or []))]
        return Counter(t.type for t in flat if t.type not in ("text", "text_special", "softbreak"))

    plain, spoiled = kinds(markdown(report)), kinds(markdown(hostile))
    assert spoiled.keys() <= plain.keys()
    assert spoiled["tr_open"] == plain["tr_open"]
    assert spoiled["td_open"] == plain["td_open"]
    assert spoiled["heading_open"] == plain["heading_open"]


@pytest.mark.parametrize(
    "text", ["a|b", "a\nb", "**a**", "<b>", "[x](y)", "`a`", "https://a.b", "www.a.b", "@a", HOSTILE]
)
def test_a_cell_renders_as_its_own_text(text: str) -> None:
    table = f"| a |\n|---|\n| {cell(text)} |\n"
    rendered = Tags(MarkdownIt("gfm-like", {"linkify": False}).render(table))
    assert " ".join(text.split()) in rendered.text
    assert rendered.found["td"] == 1
    assert rendered.found["a"] == rendered.found["strong"] == rendered.found["code"] == 0


def test_the_style_is_the_one_that_the_policy_allows(report: Report) -> None:
    import base64
    import hashlib

    page = html(report)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    sha = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{sha}'" in page
    assert "style=" not in page.replace("style-src", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "Every target has an artifact. 2 verified"),
        ({"error": "model.onnx: damaged"}, "The build stopped: model.onnx: damaged"),
    ],
)
def test_the_verdict_says_what_came_of_it(report: Report, change: dict[str, Any], said: str) -> None:
    assert verdict(replace(report, **change)).startswith(said)


def test_a_target_where_nothing_passed_is_named_first(report: Report) -> None:
    server, board = report.targets
    lost = replace(board, tried=tuple(replace(t, selected=False, state="failed") for t in board.tried))
    failed = replace(report, targets=(server, lost))
    assert verdict(failed).startswith("No variant passed for board.")
    page = html(failed)
    assert "verdict bad" in page
    assert "None of 1 passed" in page


def test_a_build_that_stopped_early_has_a_page(report: Report) -> None:
    stopped = replace(report, error="the model is damaged", reference=None, targets=(), parity=(), recipe={})
    assert "the model is damaged" in Tags(html(stopped)).text
    assert "the model is damaged" in markdown(stopped)


def test_the_comparison_with_an_earlier_version_is_on_both(report: Report) -> None:
    server, board = report.targets
    kept = replace(server.tried[0], size=40_000)
    older = replace(report, version="0.9.0", id="f" * 64, targets=(replace(server, tried=(kept,)), board))
    found = versus(older, report)
    assert "+25.0 % worse" in Tags(html(report, found)).text
    assert "+25.0 % worse" in markdown(report, found)
