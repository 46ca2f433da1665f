"""The page is one file that needs nothing else, says what the results say, and runs nothing that data brings."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.evaluation.classification import evaluate_scores, size_terciles
from medvlp.evaluation.results import ConfidenceInterval, Counts, Flag, Metric, Result
from medvlp.evaluation.retrieval import evaluate_retrieval
from medvlp.features.drawing import COLOURS, heat_map_layer, png_uri
from medvlp.pages.charts import Series, series_chart
from medvlp.pages.inputs import Box, GalleryItem, Quarantined, ReportInputs, RetrievalExample, RetrievalHit
from medvlp.pages.render import _isolated, render_report

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
VOID = {"meta", "br", "img", "link", "hr", "input"}


class _Page(HTMLParser):
    """Tags with attributes, text, and whether every element is closed by its own name."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def _results(synthetic: bool = True) -> tuple[Result, ...]:
    generator = np.random.default_rng(0)
    rows = 160
    patients = [f"P{index}" for index in generator.integers(0, 70, rows)]
    table = pd.DataFrame({"id": [f"S{index}" for index in range(rows)], "patient_id": patients, "split": "test"})
    for finding, prevalence in (("effusion", 0.4), ("rib_fracture", 0.1), ("edema", 0.0)):
        label = generator.random(rows) < prevalence
        table[f"label:{finding}"], table[f"score:{finding}"] = label.astype(int), label + generator.normal(size=rows)
    table["group:site"] = np.where(generator.random(rows) < 0.5, "north", "south")
    table["group:size@effusion"] = size_terciles(generator.random(rows), table["label:effusion"] == 1)
    options = {"seed": 0, "resamples": 60}
    zero_shot = evaluate_scores(table, name="zero_shot", **options)
    plain = table.drop(columns=["group:site", "group:size@effusion"])
    control = evaluate_scores(plain, name="thumbnail", role="control", **options)
    embedding = generator.normal(size=(rows, 8))
    reports = [f"report {index % 130}" for index in range(rows)]
    retrieval = evaluate_retrieval(
        embedding, embedding + generator.normal(size=embedding.shape), reports, patients, **options
    )
    facts = {"recipe": "recipe-hash", "data": "data-hash", "synthetic": synthetic}
    return tuple(replace(each, **facts) for each in (zero_shot, control, retrieval))


def _inputs(results: tuple[Result, ...]) -> ReportInputs:
    picture = np.arange(48 * 64, dtype=np.uint32).reshape(48, 64).astype(np.uint8)
    return ReportInputs(
        title=f"Run {HOSTILE}",
        results=results,
        log=[
            {"kind": "train", "samples_seen": step * 64, "loss": 3.0 / (step + 1), f"clip/{HOSTILE}": 1.0}
            for step in range(30)
        ]
        + [
            {"kind": "validate", "samples_seen": 64 * step, "auroc/macro": 0.5 + step / 9, "auroc/edema": 0.4}
            for step in range(4)
        ],
        gallery=(
            GalleryItem(
                image=picture,
                finding="effusion",
                score=1.25,
                boxes=(Box(4, 6, 20, 30, HOSTILE),),
                heat_map=np.random.default_rng(0).random((4, 4)),
                truth=HOSTILE,
                sentence=f"Left effusion {HOSTILE}",
                note=HOSTILE,
            ),
            GalleryItem(image=np.stack([picture] * 3, axis=2), finding="edema", score=-3.0),
        ),
        retrieval=(
            RetrievalExample(
                image=picture,
                hits=(
                    RetrievalHit(rank=1, text=f"Report {HOSTILE}", score=0.7, correct=False),
                    RetrievalHit(rank=2, text="The right one.", score=0.6, correct=True),
                ),
                expected_rank=2.0,
                pool=160,
            ),
        ),
        config={"model": {"vision": {"name": HOSTILE}}, "phases": [{"until": 100, "objectives": [{"name": "clip"}]}]},
        environment={"python": "3.11", "packages": {"torch": "2.0"}},
        provenance={"seed": 0, HOSTILE: HOSTILE},
        quarantined=(Quarantined("S9", HOSTILE),),
        resamples=20,
    )


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(_inputs(_results()))


def test_nothing_in_the_page_refers_to_anything_outside_it(page: str) -> None:
    for found in re.finditer(r"(?:https?:)?//[\w.-]+", page):
        before = page[max(0, found.start() - 16) : found.start()]
        assert re.search(r'xmlns(:xlink)?="$', before), page[found.start() - 40 : found.end() + 40]
        assert found.group() == "http://www.w3.org"
    for tag, attributes in _Page(page).tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,", "data:text/csv;base64,"))
    assert "@import" not in page
    assert "@font-face" not in page
    assert not re.search(r"url\((?!#)", page)


def test_the_page_forbids_scripts_and_requests_itself(page: str) -> None:
    policies = [
        a["content"] for t, a in _Page(page).tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_text_from_data_stays_text(page: str) -> None:
    parsed = _Page(page)
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert "<script" not in page.lower()
    words = "".join(parsed.words)
    # Title, box label, truth, sentence, note, report, provenance twice, quarantine, configuration, log series.
    assert words.count("<script>alert(1)</script>") >= 11


def test_every_element_is_closed_and_every_reference_is_to_one_element(page: str) -> None:
    parsed = _Page(page)
    assert parsed.open == []
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', page))
    assert used <= set(ids)


def test_the_page_says_what_the_results_say(page: str) -> None:
    zero_shot, control, retrieval = _results()
    text = _Page(page).text
    row = zero_shot.find("auroc", "macro")
    assert (
        f"macro AUROC {row.value:.3f} (95 % interval {row.interval.low:.3f} to {row.interval.high:.3f}) over 2 findings"
        in text
    )
    assert f"on 160 test cases of {row.counts.patients} patients" in text
    strongest = control.find("auroc", "macro").value
    beaten = ", which the model does not beat" if strongest >= row.value else ""
    assert f"; the control reaches {strongest:.3f}{beaten}." in text
    for result in (zero_shot, control):
        for metric in ("auroc", "average_precision"):
            for finding in ("effusion", "rib_fracture"):
                found = result.find(metric, finding)
                assert f"{found.value:.3f} {found.interval.low:.3f} to {found.interval.high:.3f}" in text
    recall = retrieval.find("recall@5", "report_to_image", group="report_group<=3")
    assert (
        f"{recall.value:.3f} {recall.interval.low:.3f} to {recall.interval.high:.3f} random {recall.chance:.3f}" in text
    )
    assert "recipe-hash" in text
    assert "no positive case: not defined" in text  # edema
    assert "30 positive patients or fewer: the interval is optimistic" in text  # rib fracture
    assert "single findings" in text  # learning curves: the macro average before its findings
    for group in ("north", "south", "1 small", "2 medium", "3 large"):
        assert group in text


def test_synthetic_numbers_are_labelled_and_real_ones_are_not() -> None:
    sentence = "Numbers on synthetic data: they prove the machinery, never clinical performance."
    assert sentence in _Page(render_report(ReportInputs(title="A", results=_results()))).text
    assert "ynthetic" not in render_report(ReportInputs(title="A", results=_results(synthetic=False)))


def test_same_inputs_same_page(page: str) -> None:
    assert render_report(_inputs(_results())) == page


def test_a_page_without_anything_is_still_a_page() -> None:
    parsed = _Page(render_report(ReportInputs(title="Empty", results=())))
    assert parsed.open == []
    assert "No result has a macro AUROC or a recall" in parsed.text
    only_retrieval = _Page(render_report(ReportInputs(title="R", results=_results()[2:])))
    assert re.search(
        r"Report → image recall@5 is 0\.\d{3} \(95 % interval .* a random ranking reaches 0\.\d{3}\.",
        only_retrieval.text,
    )


def test_a_picture_is_kept_to_the_last_grey_level() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (31, 17), dtype=np.uint8)
    stored = base64.b64decode(png_uri(pixels).partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored))), pixels)


def test_a_heat_map_is_opaque_where_it_is_strong_and_keeps_its_place() -> None:
    heat = np.zeros((4, 8))
    heat[0, 6] = 5.0
    layer = heat_map_layer(heat)
    row, column = np.unravel_index(int(layer[..., 3].argmax()), layer.shape[:2])
    assert (row * 4 // layer.shape[0], column * 8 // layer.shape[1]) == (0, 6)
    assert layer[-1, 0, 3] == 0
    assert (heat_map_layer(np.full((3, 3), 7.0))[..., 3] == 0).all()
    assert np.array_equal(heat_map_layer(heat * 100 - 3), layer)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: GalleryItem(image=np.zeros((4, 4)), finding="x", score=0.0),
            r"is float64 of shape \(4, 4\): give uint8",
        ),
        (
            lambda: GalleryItem(
                image=np.zeros((4, 4), np.uint8), finding="x", score=0.0, heat_map=np.full((2, 2), np.nan)
            ),
            "The heat map of gallery item 'x' .* holds NaN",
        ),
    ],
)
def test_pictures_of_another_kind_are_refused(build, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        build()


@pytest.mark.parametrize("smooth", [False, True])
def test_lines_of_a_chart_differ_by_their_dashes_as_well_as_by_their_colours(smooth):
    x = np.arange(30.0)
    series = [Series(name, x, x + at) for at, name in enumerate("abc")]
    chart = series_chart(series, ylabel="loss", key="k", smooth=smooth)
    for colour, dashed in zip(COLOURS, (False, True, True), strict=False):
        styles = re.findall(rf'style="(fill: none; [^"]*stroke: {colour}; stroke-width[^"]*)"', chart)
        assert len(styles) == 2  # the line and its key
        assert all(("stroke-dasharray" in style) == dashed for style in styles)
    assert len(set(re.findall(r"stroke-dasharray: ([^;]+);", chart))) == 2


def test_only_on_a_screen_too_narrow_for_a_table_it_says_that_tables_scroll():
    css = render_report(ReportInputs(title="t", results=()))
    hints = re.findall(r'max-width: (\d+)px\) \{ \.scroll:has\(> table(.*?)\)::after \{ content: "scroll', css)
    least = dict(re.findall(r"\.scroll table(\.compact)? \{ min-width: (\d+)px; \}", css))
    assert [int(end) + 1 - 2 * 16 for end, _ in hints] == [int(least[""]), int(least[".compact"])]
    assert css.count("scroll →") == len(hints) == 2
    assert all(".checklist" in table for _, table in hints)  # which breaks its words and fits every screen


def test_numbers_after_a_name_written_from_right_to_left_stand_outside_of_it():
    name = "תפליט <פלאורלי>"
    sentence = f"AUROC of {name}: 0.75 for site بيروت, -0.10 (95 % -0.15 to -0.05)"
    flag = Flag(kind="subgroup_gap", name="site", sentence=sentence, p=0.001, p_holm=0.002, tests=2)
    gap = {
        "group": "site=بيروت",
        "interval": ConfidenceInterval(low=-0.15, high=-0.05),
        "counts": Counts(n=9, patients=9),
    }
    named = [(metric, label) for metric in ("auroc", "auroc_gap") for label in (name, "macro")]
    rows = [Metric(metric=metric, label=label, value=-0.1, **gap) for metric, label in named]
    page = render_report(
        ReportInputs(title="t", results=(Result(name="zero_shot", metrics=tuple(rows), flags=(flag,)),))
    )
    shown = "<bdi>תפליט</bdi> &lt;<bdi>פלאורלי</bdi>&gt;"
    assert f"AUROC of {shown}: 0.75 for site <bdi>بيروت</bdi>, -0.10 (95 % -0.15 to -0.05)" in page
    assert f'<span class="small">{shown}, ' in page
    # A mark that turns all words after it, numbers too, is seen and turns nothing.
    page = render_report(ReportInputs(title="lung\u202enoisel \u20660.2", results=()))
    assert "<h1>lung\\u202enoisel \\u20660.2</h1>" in page
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(page)
    assert _isolated("تاريخ سابق 3 of edema & more") == "<bdi>تاريخ سابق</bdi> 3 of edema &amp; more"


@pytest.mark.parametrize(("used", "shown"), [(0, 0), (2, 2), (None, 1)], ids=["of none", "of two", "the only finding"])
def test_a_gap_is_over_as_many_findings_as_it_says(used, shown):
    counts = Counts(n=94, patients=51, labels_used=used)
    rows = [
        Metric(metric=metric, label="macro", value=None, group="view=PA", reason="n_too_small", counts=counts)
        for metric in ("auroc", "auroc_gap")
    ]
    page = render_report(ReportInputs(title="t", results=(Result(name="zero_shot", metrics=tuple(rows)),)))
    cell = r'<th scope="row">PA</th><td class="n">94</td>\s*<td class="n value">.*?</td>\s*<td class="n">(\d+)</td>'
    assert re.findall(cell, page) == [str(shown)]
