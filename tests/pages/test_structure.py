"""The whole page: one file, every picture with words, every table in its own box, every number of the results."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from medvlp.evaluation.results import Result
from medvlp.evaluation.words import number
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.render import render_report

VOID = {"meta", "br", "img", "link", "hr", "input"}
NARROW = 390
A4 = 695  # pixels of CSS, less the margins of `@page`


class _Tree(HTMLParser):
    """Every start tag with its attributes and the classes of what it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None], set[str]]] = []
        self._open: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        around = {name for _, classes in self._open for name in classes.split()}
        self.tags.append((tag, dict(attrs), around))
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()


@pytest.fixture(scope="module")
def tree(page: str) -> _Tree:
    return _Tree(page)


def test_nothing_is_fetched_from_elsewhere(page: str) -> None:
    assert not re.search(r'(?:src|href|xlink:href|action)="(?!data:|#)', page)
    assert not re.search(r"url\((?!#)|@import|@font-face|<script", page)


def test_every_picture_says_what_it_shows(tree: _Tree) -> None:
    images = [attributes for tag, attributes, _ in tree.tags if tag == "img"]
    drawn = [attributes for _, attributes, _ in tree.tags if attributes.get("role") == "img"]
    assert images
    assert all((each.get("alt") or "").strip() for each in images)
    assert drawn
    assert all((each.get("aria-label") or "").strip() for each in drawn)
    # Words inside of what is a picture are not heard: a caption stands beside it.
    assert not [attributes for tag, attributes, _ in tree.tags if tag == "figure" and "role" in attributes]
    outside = [
        a for tag, a, _ in tree.tags if tag == "svg" and a.get("role") != "img" and a.get("aria-hidden") != "true"
    ]
    # A mark inside a forest plot is hidden with the plot that it stands in; its numbers are words beside it.
    assert all(a.get("overflow") == "visible" for a in outside)


def test_each_result_of_a_forest_has_a_mark_of_its_own_and_its_name_before_its_numbers(
    results: tuple[Result, ...],
) -> None:
    five = tuple(replace(results[0], name=f"m{at}", title=f"Model {at}") for at in range(5))
    page = render_report(ReportInputs(title="A", results=five))
    legend = page[page.index('<p class="legend">') :].partition("</p>")[0]
    assert len(set(re.findall(r"<(?:circle|path) [^>]*>", legend))) == 5
    row = page[page.index('<div class="forest-row"') :].partition("</div>\n  </div>")[0]
    assert re.findall(r'<span class="unseen">([^<]*): </span><b>', row) == [f"Model {at}" for at in range(5)]


def test_every_table_scrolls_in_a_box_that_the_keyboard_reaches(tree: _Tree) -> None:
    tables = [around for tag, _, around in tree.tags if tag == "table"]
    assert len(tables) > 10
    assert all("scroll" in around for around in tables)
    boxes = [a for tag, a, _ in tree.tags if tag == "div" and "scroll" in (a.get("class") or "").split()]
    assert all(box.get("tabindex") == "0" and box.get("aria-label") for box in boxes)


def test_tables_of_two_results_have_names_and_files_of_their_own(results: tuple[Result, ...]) -> None:
    page = render_report(ReportInputs(title="A", results=(results[0], replace(results[0], name="b", title="Second"))))
    for found in (r'role="region" aria-label="([^"]+)"', r'<a download="([^"]+)"'):
        names = re.findall(found, page)
        assert len(names) > 8
        assert len(set(names)) == len(names)


def test_words_stand_out_from_the_page(page: str) -> None:
    style = page[: page.index("</style>")]
    inks = re.findall(r"(?:[ {]color|--(?:ink|muted|accent|second|third|good|warn)): (#[0-9a-f]{6})", style)
    assert len(inks) > 7
    for ink in inks:  # WCAG 2.2, 1.4.3: relative luminance, on white
        shares = (int(ink[at : at + 2], 16) / 255 for at in (1, 3, 5))
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5, ink


def test_headings_begin_with_one_and_skip_no_level(page: str) -> None:
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_menu_names_every_section_in_its_order(page: str) -> None:
    menu = re.findall(r'href="#([\w-]+)"', page[page.index("<nav") : page.index("</nav>")])
    sections = re.findall(r'<section id="([\w-]+)"', page)
    assert menu == [name for name in sections if name != "oracle"]
    named = "findings subgroups curves calibration errors pictures retrieval robustness controls tables cohort"
    assert {*named.split(), "checklists", "run"} <= set(sections)


def test_every_bold_number_is_of_the_results_and_every_auroc_is_there(page: str, results: tuple[Result, ...]) -> None:
    rows = [row for result in results for row in result.metrics]
    known = {number(value, digits) for row in rows for value in (row.value,) if value is not None for digits in (1, 3)}
    shown = set(re.findall(r"<b>(-?\d+\.\d+)</b>", page)) | set(re.findall(r'class="value">(-?\d+\.\d+)<', page))
    assert len(shown) > 30
    assert shown <= known
    said = [
        row
        for row in rows
        if row.metric == "auroc_gap" or (row.metric in ("auroc", "average_precision") and not row.group)
    ]
    for row in said:
        if row.value is not None and row.split != "validate":
            assert f"<b>{row.value:.3f}</b>" in page
            assert row.interval.low is None or f"{row.interval.low:.3f} to {row.interval.high:.3f}</span>" in page


def test_flags_and_caveats_stand_before_the_numbers(page: str) -> None:
    head = page[page.index("<header") : page.index("</header>")]
    tiles = head.index('class="tiles"')
    assert head.index("The score of edema knows site=north.") < tiles
    assert head.index("The split has a flaw.") < tiles
    assert "The one test of groups, shortcuts and calibration that could be made stood" in head
    assert len(re.findall("<li>", head[tiles : head.index("</ul>", tiles)])) == 5


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser chromium")
def test_on_a_narrow_screen_nothing_runs_out_of_the_page(page: str, tmp_path: Path) -> None:
    page = page.replace("rib fracture", "hydropneumothoracomediastinum on the side of the patient that was operated on")
    page = page.replace("Weakest finding, ", f"Weakest finding, {'hydro' * 60}")
    assert "hydro" * 60 in page
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    # Seen from a frame around it, because the page itself lets no script run.
    (tmp_path / "frame.html").write_text(
        f"""<!doctype html><iframe id="f" src="page.html" style="width:{NARROW}px;height:900px;border:0"></iframe>
<pre></pre>
<script>
const said = text => document.querySelector("pre").textContent = text;
document.getElementById("f").onload = event => {{
  const page = event.target.contentDocument;
  page.querySelectorAll("details").forEach(e => {{ e.open = true; }});
  const out = [...page.body.querySelectorAll("*")].filter(e => !e.closest(".scroll, svg, .skip, .unseen")
    && e.getBoundingClientRect().right > {NARROW} + 0.5
    || e.matches("th:first-child:not([colspan])")  // it stays while others scroll
    && e.getBoundingClientRect().width > {NARROW} * 2 / 3).map(e => e.tagName + "." + e.className);
  said("width " + page.documentElement.scrollWidth + " out " + out.join(" ") + ".");
}};
</script>"""
    )
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    reading = [
        "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000",
    ]
    command = [*browser, *reading, "--dump-dom", (tmp_path / "frame.html").as_uri()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True).stdout
    assert f"<pre>width {NARROW} out .</pre>" in html.unescape(found)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser chromium")
def test_on_paper_no_table_is_wider_than_the_sheet_and_no_picture_leaves_its_axis(page: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
    page = page.replace("rib fracture", "hydro" * 60).replace("north", "north" * 60)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        sheet = browser.new_page(viewport={"width": A4, "height": 1000})
        sheet.goto((tmp_path / "page.html").as_uri())
        sheet.emulate_media(media="print")
        sheet.locator("details").evaluate_all("(all) => all.forEach((each) => { each.open = true; })")
        ends = sheet.locator("table").evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().right)")
        parts = []
        for height in range(1000, 1200, 25):  # sheets, as columns: wherever one ends
            sheet.add_style_tag(content=f"body {{ columns: {A4}px; column-fill: auto; height: {height}px; }}")
            parts += sheet.locator(".forest").evaluate_all("(all) => all.map((each) => each.getClientRects().length)")
        browser.close()
    assert set(parts) == {1}
    assert len(ends) > 10
    assert max(ends) <= A4 + 0.5
