"""The page of a cohort says what the manifest holds, names nobody, and needs nothing but itself."""

from __future__ import annotations

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medvlp.pages.cohort as module
from medvlp.data.cards import Count, DataCard, SplitFacts
from medvlp.data.manifest import Manifest
from medvlp.data.readable import ReadableCohort, look_through
from medvlp.data.summary import _CATEGORIES, summarise
from medvlp.pages.charts import stacked_bars
from medvlp.pages.cohort import cohort_page, render_cohort, to_html
from medvlp.pages.cohort_content import against_card, shares

N = 40
EVIL = "<script>alert(1)</script>"
SPLIT = SplitFacts(title="t", rule="column", unit="patient", options={"names": ["train", "test"]}, source="s")


class Cells(HTMLParser):
    """Rows of tables as words, and all words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        self._cell = tag in ("td", "th") or (self._cell and tag in ("b", "span", "code"))
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th", "tr")

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._cell and self.rows and self.rows[-1]:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()

    def row(self, first: str) -> list[str]:
        """The cells after the first one of the row that begins with a word."""
        (found,) = [row for row in self.rows if row and row[0] == first]
        return found[1:]


@pytest.fixture
def looked(tmp_path: Path) -> ReadableCohort:
    root = tmp_path / "archive"
    root.mkdir()
    draws = np.random.Generator(np.random.Philox(7))
    for at in range(N):
        Image.fromarray(draws.integers(0, 256, (64, 32), dtype=np.uint8)).save(root / f"SECRET{at}.png")
    (root / "SECRET3.png").write_bytes(b"")
    manifest = Manifest.of(
        {
            "id": [f"SECRET{at}" for at in range(N)],
            "image": [f"SECRET{at}.png" for at in range(N)],
            "id.patient": [f"SECRETP{at // 2}" for at in range(N)],
            "text": [f"SECRET report {at}" for at in range(N)],
            "label.edema": [(1, 0, -1, None, 0)[at % 5] for at in range(N)],
            "split": [("train", "train", "train", "test")[at // 10] for at in range(N)],
            "view_position": [("PA", "AP", EVIL)[at % 3] for at in range(N)],
            "age": [20 + at for at in range(N)],
            "deidentified": ["yes"] * (N - 2) + ["no", "unknown"],
        },
        root=root,
        meta={
            "layout": "csv",
            "tables": ["t.csv"],
            "images_without_report": ["SECRET1"],
            "skipped": {"missing_file": ["SECRET99.png", "SECRET98.png"]},
        },
    )
    return look_through(manifest)


def test_counts_keep_the_four_values_apart_and_stand_by_split(looked: ReadableCohort) -> None:
    cells = Cells(render_cohort(cohort_page(looked.manifest, title="Ours", looked=looked)))
    values = looked.manifest.column("label.edema")
    expected = [
        int((values == 1).sum()),
        int((values == -1).sum()),
        int((values == 0).sum()),
        int(np.isnan(values).sum()),
    ]
    row = cells.row("edema")
    assert row[1:5] == [str(number) for number in expected]
    train = looked.manifest.column("split") == "train"
    present, known = int((values[train] == 1).sum()), int(np.isin(values[train], (0, 1)).sum())
    assert row[5] == f"{present} {100 * present / known:.0f} %"
    assert cells.row("test")[0] == "10"
    assert cells.row("64 × 32") == ["39", "100 %"]
    assert cells.row("empty") == ["1", "it has 0 bytes; copy or export the file again"]
    assert cells.row("missing file") == ["2"]
    assert cells.row("images without report") == ["1"]
    assert "tables" not in cells.words


def test_a_picture_of_several_records_is_shown_once(looked: ReadableCohort) -> None:
    rows = {"id": ["a", "b", "c"], "image": ["SECRET0.png", "SECRET1.png", "SECRET0.png"]}
    manifest = Manifest.of(rows, root=looked.manifest.root)
    again = look_through(manifest)
    assert len(cohort_page(again.manifest, title="Ours", looked=again).thumbs) == 2


def test_nobody_is_named_and_nothing_is_run_or_fetched(looked: ReadableCohort) -> None:
    text = render_cohort(cohort_page(looked.manifest, title=EVIL, looked=looked))
    assert "SECRET" not in text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "default-src 'none'" in text
    assert not re.search(r'(?:src|href|xlink:href)="(?!data:|#)', text)
    assert "2 records. Pictures may show names" in text


def test_the_contact_sheet_is_one_draw_of_the_small_pictures(looked: ReadableCohort) -> None:
    page = cohort_page(looked.manifest, title="Ours", looked=looked)
    assert len(page.thumbs) == 32
    assert page.thumbs == cohort_page(looked.manifest, title="Ours", looked=looked).thumbs
    known = {facts.thumbnail for row in range(len(looked.manifest)) for facts in looked.facts(row)}
    shown = [Image.open(io.BytesIO(base64.b64decode(thumb.uri.partition(",")[2]))) for thumb in page.thumbs]
    assert {np.asarray(picture).tobytes() for picture in shown} <= known
    told = {(thumb.labels, thumb.uncertain) for thumb in page.thumbs}
    assert told == {("edema", ""), ("no label present", ""), ("no label present", "edema"), ("no label said", "")}


def test_every_table_scrolls_in_a_box_that_the_keyboard_reaches(looked: ReadableCohort) -> None:
    text = render_cohort(cohort_page(looked.manifest, title="Ours", card="phantom", looked=looked))
    boxes = re.findall(r'<div class="scroll[^>]*>', text)
    assert len(boxes) == text.count("<table") > 5
    assert all('tabindex="0" role="region" aria-label="' in box for box in boxes)
    assert not re.search(
        r"<table", re.sub(r'<div class="scroll[^>]*>\s*<table.*?</table>\s*</div>', "", text, flags=re.DOTALL)
    )


def test_a_chart_holds_every_age(looked: ReadableCohort) -> None:
    text = render_cohort(cohort_page(looked.manifest, title="Ours", looked=looked))
    assert 'aria-label="Histogram of age"' in text
    assert text.count("<svg") > 2
    assert "20–29" in text


def test_each_column_that_is_counted_has_its_table() -> None:
    values = {name: ["one", "two"] for name in _CATEGORIES}
    cohort = Manifest.of({"id": ["a", "b"], "text": ["x", "y"], **values, "deidentified": ["yes", "no"]}, root=Path())
    text = render_cohort(cohort_page(cohort, title="Ours"))
    assert text.count("<td>one</td>") == len(_CATEGORIES) - 1


def test_one_record_is_not_counted_as_several() -> None:
    cohort = Manifest.of({"id": ["a"], "id.patient": ["p"], "id.study": ["s"], "text": ["x"]}, root=Path())
    assert "1 record of 1 patient in 1 study, 1 with text." in render_cohort(cohort_page(cohort, title="Ours"))


def test_without_a_survey_the_page_says_so(looked: ReadableCohort) -> None:
    text = render_cohort(cohort_page(looked.manifest, title="Ours"))
    assert "The files were not opened" in text
    assert "Contact sheet" not in text
    assert "Every file could be read" not in text


def test_numbers_of_the_card_stand_beside_those_found(looked: ReadableCohort) -> None:
    counts = [
        Count(what="images", value=39, source="paper"),
        Count(what="images", value=9, split="test", source="paper"),
        Count(what="patients", value=20, source="recalled"),
        Count(what="label:edema", value=7, source="paper"),
        Count(what="label:mass", value=7, source="paper"),
        Count(what="uncertain:edema", value=1, source="paper"),
        Count(what="view:PA", value=1, split="test", source="paper"),
        Count(what="boxes:edema", value=1, source="paper"),
        Count(what="boxes", value=3, source="paper"),
        Count(what="reports", value=7, source="paper"),
    ]
    card = DataCard(
        name="x", title="X", modality=["cxr"], licence="l", access="open", counts=counts, splits={"official": SPLIT}
    )
    boxes = [[[0, 0, 1, 1], [2, 2, 3, 3]] if at == 5 else [] if at < 30 else None for at in range(39)]
    manifest = looked.manifest.with_column("boxes.edema", boxes)
    views = manifest.split_of("test").column("view_position")
    found = against_card(card, manifest, summarise(manifest))
    assert [(row.what, row.split, row.card, row.found) for row in found] == [
        ("images", "", 39, 39),
        ("images", "test", 9, 10),
        ("patients", "", 20, 20),
        ("label: edema", "", 7, 8),
        ("uncertain: edema", "", 1, 8),
        ("view: PA", "test", 1, int((views == "PA").sum())),
        ("boxes: edema", "", 1, 2),
        ("boxes", "", 3, 2),
    ]
    assert against_card(None, looked.manifest, summarise(looked.manifest)) == []


def test_the_card_gives_title_licence_and_what_not_to_conclude(
    looked: ReadableCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = DataCard(
        name="x", title="X & Y", modality=["cxr"], licence="CC BY", access="open", cite="Doe 2020", overlaps=["z"]
    )
    monkeypatch.setattr(module, "load_card", lambda name: card)
    monkeypatch.setattr(module, "prose", lambda name: {"": "i", "What not to conclude": "- **No** <b>", "Traps": "t"})
    text = render_cohort(cohort_page(looked.manifest, title="Ours", card="x", looked=looked))
    for words in (
        "<h1>X &amp; Y</h1>",
        "CC BY",
        "Doe 2020",
        "<li><strong>No</strong> &lt;b&gt;</li>",
        "<h3>Traps</h3>",
    ):
        assert words in text
    assert "Synthetic data" not in text


def test_parts_of_a_bar_fill_it_in_order() -> None:
    parts = shares({"present": 1, "uncertain": 0, "absent": 2, "blank": 5}, 8)
    assert parts == [("present", 0.0, 12.5), ("absent", 12.5, 25.0), ("blank", 37.5, 62.5)]


def test_prose_keeps_tables_and_escapes_everything() -> None:
    text = (
        "Intro *here* & `code <x>`.\n\n| a | b |\n| --- | ---: |\n| 1 | **2** |\n\n<!-- no -->\n\n- one\n  more\n- two"
    )
    assert str(to_html(text)).splitlines() == [
        "<p>Intro <em>here</em> &amp; <code>code &lt;x&gt;</code>.</p>",
        '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table><tr><th>a</th><th>b</th></tr>'
        "<tr><td>1</td><td><strong>2</strong></td></tr></table></div>",
        "<ul><li>one more</li><li>two</li></ul>",
    ]
    assert to_html("") == ""


def test_the_legend_of_a_chart_stands_above_its_bars() -> None:
    chart = stacked_bars(["0-9", "10+"], [("train", [500, 500]), ("test", [90, 90])], xlabel="age", ylabel="n", key="k")
    bars = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: #', chart)
    tops = [float(y) for path in bars for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", path)]
    words = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>(?:train|test)</text>', chart)]
    assert len(bars) == 4
    assert len(words) == 2
    assert max(words) < min(tops)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser chromium")
def test_on_a_phone_no_count_of_a_split_is_cut(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
    ids = [f"r{at}" for at in range(1900)]
    columns = {"id": ids, "id.patient": ids, "id.study": ids, "text": ids, "sex": ["F"] * 1900}
    columns["split"] = ["train"] * 1600 + ["validate"] * 100 + ["test"] * 200
    page = render_cohort(cohort_page(Manifest.of(columns, root=tmp_path), title="t"))
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        phone = browser.new_page(viewport={"width": 390, "height": 844})
        phone.goto((tmp_path / "page.html").as_uri())
        over = phone.locator(".snug").evaluate_all("(all) => all.map((each) => each.scrollWidth - each.clientWidth)")
        browser.close()
    assert over == [0, 0]
