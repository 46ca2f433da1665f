"""What the page says for a model: in words, with what stands behind them; a map only when asked, with its hit rate."""

from __future__ import annotations

import re
from collections import Counter

import pytest

pytest.importorskip("gradio", reason='the reading room needs gradio: pip install "openmedvlp[demo]"')
pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")

from medvlp.serving.launch import Options, open_room
from tests.serving.browsing import drop, opened, painted
from tests.serving.room_files import film


@pytest.fixture(scope="module")
def page(sure, browser):
    running = open_room(Options(port=0, samples=False), readers=(sure,))
    with opened(running, browser) as page:
        yield page
    running.close()


@pytest.fixture
def film_open(page, films):
    drop(page, films[0])
    page.locator(".pane[data-state=painted]").wait_for()
    page.locator("body[data-findings=told]").wait_for()
    return films[0]


def test_the_page_says_what_the_reader_says(page, film_open, sure):
    told = sure.findings(sure.prepare(film_open))["findings"]
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    heard = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "DisclosureTriangle"]
    rows = page.locator(".finding")
    assert [rows.nth(n).get_attribute("data-finding") for n in range(rows.count())] == [row["finding"] for row in told]
    for row in told:
        shown = page.locator(f".finding[data-finding={row['finding']}]")
        assert shown.locator(".words").text_content() == row["sentence"]
        assert row["category"] in shown.get_attribute("class")
        said = f"{row['category']} {row['finding']}".replace("_", " ")  # "edema" alone would be heard as present
        assert len([name for name in heard if name.startswith(said)]) == 1
    counts = Counter(row["category"] for row in told)
    summary = page.locator("#findings-say[role=status]").text_content()
    assert {int(words.split()[0]) for words in summary.split(", ")} == {*counts.values()}
    assert sum(int(words.split()[0]) for words in summary.split(", ")) == len(told)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (780, 600), (900, 700), (1400, 900)])
def test_the_research_banner_is_whole_beside_the_model_at_every_width(page, width, height):
    before = page.viewport_size
    page.set_viewport_size({"width": width, "height": height})
    across, down = page.locator("#banner").evaluate(
        """(banner) => {
          const words = document.createRange(), head = document.querySelector(".top").getBoundingClientRect();
          words.selectNodeContents(banner);
          const lines = [...words.getClientRects()], box = banner.getBoundingClientRect();
          const within = ({ left, right }) => left >= box.left - 1 && right <= Math.min(box.right, innerWidth) + 1;
          return [lines.every(within), lines.every(({ top, bottom }) => top >= head.top && bottom <= head.bottom)];
        }"""
    )
    page.set_viewport_size(before)
    assert across
    assert down


def test_on_paper_an_absent_finding_says_so_whichever_page_it_comes_to(page, film_open):
    row = page.locator(".finding").first
    row.evaluate("(row) => { row.className = 'finding absent'; }")
    for media, words in (("screen", "none"), ("print", '": absent"')):
        page.emulate_media(media=media)
        assert row.locator(".name").evaluate("(name) => getComputedStyle(name, '::after').content") == words
    page.emulate_media(media="screen")


def test_on_paper_the_finding_that_is_open_is_black_on_white_as_the_others(page, film_open):
    row = page.locator(".finding").first
    row.locator("summary").click()
    page.emulate_media(media="print")
    style = "(row) => [getComputedStyle(row).backgroundColor, getComputedStyle(row.querySelector('.name')).color]"
    assert row.evaluate(style) == ["rgba(0, 0, 0, 0)", "rgb(0, 0, 0)"]
    page.emulate_media(media="screen")


def test_each_note_to_the_findings_has_a_line_of_its_own(page, tmp_path):
    drop(page, film(tmp_path / "a", PixelSpacing=[0.5, 0.25]))
    page.locator("body[data-findings=told]").wait_for()
    first, second = (each.bounding_box() for each in page.locator("#findings .notes li").all())
    assert (first["x"], first["width"]) == (second["x"], second["width"])
    assert first["y"] + first["height"] <= second["y"]


def test_a_map_is_off_until_asked_and_comes_with_its_hit_rate(page, film_open):
    assert page.locator(".finding button").count() == 1  # of the one finding whose maps find it
    assert page.locator("#map").is_hidden()
    page.locator(".finding[data-finding=effusion] button").click()
    page.locator(".pane[data-map=true]").wait_for()
    told = page.locator("#map").inner_text()
    assert "70 % of 40 test pictures with it (60 to 80 %), the centre of the picture in 30 %" in told
    lit, place = painted(page), page.locator(".pane").bounding_box()
    page.keyboard.press("o")
    page.locator(".pane[data-map=false]").wait_for()
    assert page.locator("#map .what").is_hidden()
    assert page.locator(".pane").bounding_box() == place  # with and without are compared at one place and size
    assert (painted(page) != lit).any()
    page.keyboard.press("o")
    page.locator(".pane[data-map=true]").wait_for()
    assert (painted(page) == lit).all()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1400, 900)])
def test_a_map_comes_into_sight_and_its_legend_covers_none_of_the_picture(page, film_open, width, height):
    before = page.viewport_size
    page.set_viewport_size({"width": width, "height": height})
    page.locator(".finding[data-finding=effusion] button").click()
    page.locator("#map .what").wait_for()
    pane, legend = (page.locator(each).bounding_box() for each in (".pane", "#map"))
    page.set_viewport_size(before)
    top, bottom = round(pane["y"]), round(pane["y"] + pane["height"])  # pages are scrolled by parts of a pixel
    assert 0 <= top < bottom <= round(legend["y"]) < height


def test_the_sliders_of_a_map_are_moved_by_keys(page, film_open):
    page.locator(".finding[data-finding=effusion] button").click()
    page.locator(".pane[data-map=true]").wait_for()
    before = painted(page)
    slider = page.locator("#map-opacity")
    slider.focus()
    for key, value in (("ArrowRight", "56"), ("ArrowLeft", "55"), ("Home", "0"), ("End", "100")):
        page.keyboard.press(key)
        assert slider.input_value() == value
        assert f"{value} %" in page.locator("#map").inner_text()
    assert (painted(page) != before).any()
    assert page.evaluate("document.activeElement.id") == "map-opacity"
    page.keyboard.press("o")  # every other key is a shortcut as elsewhere
    page.locator(".pane[data-map=false]").wait_for()


def test_a_finding_without_a_hit_rate_has_no_map(page, film_open):
    page.locator(".finding[data-finding=edema] summary").click()
    page.keyboard.press("o")
    assert "no measured hit rate" in page.locator("#map").inner_text()
    assert page.locator(".pane[data-map=true]").count() == 0


def test_a_sentence_is_put_against_its_denial(page, film_open):
    page.keyboard.press("a")
    page.keyboard.type("Left pleural effusion.")
    page.keyboard.press("Enter")
    page.locator("#ask .answer").wait_for()
    said = page.locator("#ask .answer").inner_text()
    assert "“Left pleural effusion.”" in said
    assert "no left pleural effusion" in said.lower()


def test_a_word_without_an_end_makes_the_panel_no_wider(page, film_open):
    word, says = "W" * 300, page.locator("#says")
    page.locator("#sentence").fill(f"Left pleural effusion {word}")
    page.locator("#ask button").click()
    page.locator("#ask .answer").wait_for()
    page.locator("#text").fill(word)
    page.locator("#report button[type=submit]").click()
    page.locator("#report .sentence").wait_for()
    wide = says.evaluate("(panel) => [panel.scrollWidth, panel.clientWidth]")
    for field in ("#sentence", "#text"):  # the page is other tests' too
        page.locator(field).fill("")
    assert wide[0] == wide[1]


def test_verdicts_on_a_report_come_with_how_good_they_were_found_to_be(page, film_open, sure):
    page.locator("#text").fill("No pneumothorax is seen.")
    page.locator("#report button[type=submit]").click()
    page.locator("#report .sentence").wait_for()
    said = page.locator("#report .body").inner_text()
    evidence = sure.model.bundle.sentences["evidence"]
    told = {
        "on synthetic patients not trained on: like true and false sentences told apart, AUROC": "sentence_alike",
        "; true sentences told from false copies, AUROC": "sentence_calibrated",
        "; false sentences called supported": "false_supported",
        "; true sentences called contradicted": "true_contradicted",
    }
    for words, name in told.items():
        value, low, high, n = map(float, re.search(rf"{words} (\S+) \((\S+) to (\S+), n (\d+)\)", said).groups())
        row = evidence[name]
        assert (value, low, high) == pytest.approx((row["value"], row["low"], row["high"]), abs=0.0051)
        assert n == row["n"]


def test_questions_one_after_the_other_are_one_session_of_the_servers(page, film_open):
    """The server keeps messages for each session that it was told of: a new one for each call would fill its memory."""
    sessions = []
    page.on("request", lambda each: "/call/ask" in each.url and each.post_data and sessions.append(each.post_data_json))
    for words in ("Left pleural effusion.", "Right pleural effusion.", "Edema."):
        page.locator("#sentence").fill(words)
        page.locator("#ask button").click()
        page.locator("#ask .answer", has_text=words).wait_for()
    assert [each["data"][-1] for each in sessions] == ["Left pleural effusion.", "Right pleural effusion.", "Edema."]
    assert len({each["session_hash"] for each in sessions}) == 1


def test_what_is_exported_is_a_file_with_the_banner(page, film_open):
    page.keyboard.press("Escape")
    with page.expect_download() as waiting:
        page.locator("#export button", has_text="SR").click()
    path = waiting.value.path()
    import pydicom

    report = pydicom.dcmread(path)
    assert (report.Modality, report.VerificationFlag, report.CompletionFlag) == ("SR", "UNVERIFIED", "PARTIAL")
    assert waiting.value.suggested_filename.startswith("medvlp-report-")
