"""A draft is shown as one, with what it is worth; relations draw their boxes where they lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason='the reading room needs gradio: pip install "openmedvlp[demo]"')
pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")

import medvlp
from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.models.bundle import load_bundle
from medvlp.serving.launch import Options, open_room
from medvlp.serving.reader import Reader
from medvlp.text.sentences import split_sentences
from tests.serving.browsing import drawn, drop, opened, painted

UNSIGNED = "a machine's draft, signed by nobody"


@pytest.fixture(scope="module")
def room(proven, written, drawing):
    """As if controls were beaten, as it was judged, and as nobody had judged it; and one that draws and is asked."""
    bundle = load_bundle(written / "bundle")
    bare = replace(bundle, answers=tuple(replace(each, measured=None) for each in bundle.answers))
    readers = [Reader(VisionLanguageModel(each), name=name) for name, each in (("judged", bundle), ("bare", bare))]
    readers.append(Reader(medvlp.load(drawing / "bundle"), name="drawing"))
    running = open_room(Options(port=0, samples=False), readers=(proven, *readers))
    yield running
    running.close()


@pytest.fixture(scope="module")
def page(room, browser):
    with opened(room, browser) as page:
        yield page


def read_by(page, film, model=0):
    page.locator("#model").select_option(str(model))
    drop(page, film)
    page.locator(".pane[data-state=painted]").wait_for()
    page.locator("body[data-findings=told]").wait_for()


def test_a_draft_stands_as_one_beside_what_it_is_worth(page, films, proven):
    report, relations = proven.findings(proven.prepare(films[0]))["said"]
    read_by(page, films[0])
    shown = page.locator("#said section[data-answer=report]")
    assert shown.locator(".draft p").text_content() == report["text"].capitalize()  # it has no marks
    assert shown.locator(".draft").is_visible()
    assert UNSIGNED in shown.locator("h2").inner_text()
    said = shown.inner_text()
    assert report["measured"] in said
    assert all(each["sentence"] in said for each in report["over"])
    rows = shown.locator("dt").all_text_contents(), shown.locator("dd").all_text_contents()
    assert [*zip(*rows, strict=True)] == [(row["name"], row["value"]) for row in report["rows"]]
    listed = page.locator("#said section[data-answer=relations] li")
    names = [" ".join(each["words"]).replace("_", " ") for each in relations["places"]]
    assert [listed.nth(n).locator("> :first-child").text_content() for n in range(len(names))] == names
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    regions = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "region"]
    assert f"Report: {UNSIGNED}" in regions
    assert "Relations" in regions
    assert page.locator("#text").input_value() == ""  # nor does it stand where a report is written


def test_a_draft_of_small_letters_is_set_and_checked_as_sentences(page):
    words = page.evaluate(
        """async () => {
          const { saidOf } = await import("/rr/web/said.js"), checked = [];
          const of = { answer: "report", title: "Report", places: null, why: null, measured: "", over: [], rows: [] };
          const text = "no effusion , no edema . is the heart enlarged ? approx. 15 cm .";
          const [made] = saidOf([{ ...of, text }], { check: (given) => checked.push(given) });
          made.querySelector(".draft button").click();
          return [made.querySelector(".draft p").textContent, ...checked];
        }"""
    )
    assert words == 2 * ["No effusion, no edema. Is the heart enlarged? Approx. 15 cm."]
    assert split_sentences(words[0])[0] == "No effusion, no edema."


def test_on_paper_relations_keep_their_words(page, films):
    read_by(page, films[0])
    page.emulate_media(media="print")
    names = page.locator(".places button").all_inner_texts()
    page.emulate_media(media="screen")
    assert names
    assert all("located at" in name for name in names)


def test_what_is_copied_of_a_draft_says_that_it_is_one(page, films):
    read_by(page, films[0])
    words = page.evaluate(
        """() => {
          let words = "";
          const heard = (event) => { words = event.clipboardData.getData("text/plain"); };
          document.addEventListener("copy", heard, { once: true });
          getSelection().selectAllChildren(document.querySelector(".draft p"));
          document.execCommand("copy");
          return words;
        }"""
    )
    assert words == f"[{UNSIGNED}] {page.locator('.draft p').text_content()}"


def test_boxes_of_a_relation_lie_where_the_answer_says_and_go_when_it_is_pressed_again(page, films, proven):
    places = proven.findings(proven.prepare(films[0]))["said"][1]["places"]
    read_by(page, films[0])
    buttons = page.locator(".places button")
    asked = [each for each in places if each["boxes"]]
    assert buttons.count() == len(asked) >= 1
    buttons.first.focus()
    page.keyboard.press("Enter")
    assert buttons.first.get_attribute("aria-pressed") == "true"
    drawn(page)
    place, scale = asked[0], float(page.locator(".pane").get_attribute("data-zoom"))
    size = page.locator(".pane canvas").evaluate("(canvas) => [canvas.width, canvas.height]")
    rows, columns = page.evaluate("[...document.querySelectorAll('.series .fine')][0].textContent").split(" × ")
    corners = page.locator("polygon.box").evaluate_all("(all) => all.map((each) => each.getAttribute('points'))")
    assert len(corners) == len(place["boxes"])
    for points, each in zip(corners, place["boxes"], strict=True):
        x0, y0, x1, y1 = each["box"]
        given = [tuple(map(float, point.split(","))) for point in points.split()]
        for (x, y), (column, row) in zip(given, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)], strict=True):
            assert x == pytest.approx((column - int(columns) / 2) * scale + size[0] / 2, abs=1.5)
            assert y == pytest.approx((row - int(rows) / 2) * scale + size[1] / 2, abs=1.5)
    assert page.locator("text.box").all_text_contents() == [b["finding"].replace("_", " ") for b in place["boxes"]]
    told = page.locator("#said [role=status]").inner_text()
    assert "drawn. Box overlap@0.5 0.40 (0.30 to 0.50), n 40." in told  # what is drawn is told in words too
    page.keyboard.press("Space")
    drawn(page)
    assert page.locator("polygon.box").count() == 0
    assert page.locator(".pane").get_attribute("data-boxes") == "0"


def test_boxes_are_of_the_first_image(page, tmp_path):
    page.locator("#model").select_option("0")
    first, *others = (Image.fromarray(np.full((80, 60), level, np.uint8)) for level in (90, 120, 150))
    first.save(tmp_path / "pages.tif", save_all=True, append_images=others)
    drop(page, tmp_path / "pages.tif")
    page.locator("body[data-findings=told]").wait_for()
    button = page.locator(".places button").first
    button.click()
    page.locator(".pane[data-boxes='0']").wait_for(state="detached")
    page.locator(".pane").focus()
    page.keyboard.press("ArrowDown")
    page.locator(".pane[data-boxes='0']").wait_for()
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    assert "leaf back" in page.locator("#said [role=status]").inner_text()
    assert page.locator("polygon.box").count() == 0


def test_what_beat_no_control_is_closed_until_it_is_asked_for(page, films, written):
    read_by(page, films[0], model=1)
    shown = page.locator("#said section[data-answer=report]")
    assert not shown.locator(".draft").is_visible()
    assert "Not shown to be better than one report for everybody" in shown.locator(".doubted").all_inner_texts()[1]
    shown.locator("summary", has_text="Show it all the same").click()
    assert shown.locator(".draft").is_visible()


def test_what_nobody_measured_says_so_and_is_nowhere_on_the_page(page, films, proven):
    text = proven.findings(proven.prepare(films[0]))["said"][0]["text"]
    read_by(page, films[0], model=2)
    shown = page.locator("#said section")
    assert shown.count() == 2
    assert all("Nobody has measured" in each for each in shown.all_inner_texts())
    assert page.locator(".draft, .places").count() == 0
    assert text not in page.content()
    assert "This model scores no findings unasked." in page.locator("#findings .body").inner_text()


def test_a_mask_lies_in_the_pixels_of_the_file_until_it_is_pressed_again(page, drawing, squares, tmp_path):
    told = predict_files(medvlp.load(drawing / "bundle"), [squares / "71.png"], out=tmp_path)["results"][0]
    mask = np.asarray(Image.open(told["masks"]["square"]["path"])) > 0
    assert mask[:, 45:].sum() > 0 == mask[:, :45].sum()  # on the right alone: a mirrored one would be found
    read_by(page, squares / "71.png", model=3)
    button = page.locator(".places button", has_text="square")
    page.locator(".pane").focus()
    page.keyboard.press("x")  # one pixel of the file to one of the screen
    before = painted(page, colours=True)
    assert page.locator(".pane").get_attribute("data-boxes") == "0"
    button.click()
    apart = (painted(page, colours=True) != before).any(axis=2)
    rows, columns = apart.shape
    places = [(y, x) for y in (0, 1) for x in (0, 1)]  # where half a pixel is rounded to
    top, left = (rows - 60) // 2, (columns - 90) // 2
    assert any(np.array_equal(apart[top + y : top + y + 60, left + x : left + x + 90], mask) for y, x in places)
    assert apart.sum() == mask.sum()
    said = page.locator("#said section[data-answer=segmentation]").inner_text()
    assert "Mask of square drawn. Dice 0." in said
    assert "False alarms where there is none: " in said
    button.click()
    np.testing.assert_array_equal(painted(page, colours=True), before)


def test_a_mask_that_beat_no_control_is_closed_and_the_others_are_not(page, squares):
    read_by(page, squares / "71.png", model=3)
    shown = page.locator("#said section[data-answer=segmentation]")
    assert shown.locator("button", has_text="square").is_visible()
    assert not shown.locator("button", has_text="corner").is_visible()
    shown.locator("summary", has_text="corner: Not shown to be better than one training mask a finding").click()
    shown.locator("button", has_text="corner").click()
    page.locator(".pane[data-boxes='1']").wait_for()
    shown.locator("summary", has_text="corner: Not shown").click()
    page.locator(".pane[data-boxes='0']").wait_for()  # nothing is over the picture that nobody could take off


def test_a_question_is_shown_as_text_and_its_reply_unsigned_beside_what_it_is_worth(page, squares):
    read_by(page, squares / "71.png", model=0)
    assert not page.locator("#question").is_visible()  # it answers none
    read_by(page, squares / "71.png", model=3)
    asked = '<img src=x onerror="document.title=1"> is there a square ? & so'
    page.locator("#asked").fill(asked)
    page.keyboard.press("Enter")
    reply = page.locator("#question section")
    reply.wait_for()
    assert page.locator("#question .asked").text_content() == f"“{asked}”"
    assert page.locator("#question img").count() == 0
    assert page.title() == "Reading room"
    said = reply.inner_text()
    assert "a machine's reply, signed by nobody" in said
    assert "Accuracy 1.00 (no interval), on 30 questions of 30 patients. Better than most frequent answers: " in said
    assert "Accuracy, closed" in said  # open, as it stands beside the reply
    page.locator("#asked").evaluate("(field) => { field.value = 'x'.repeat(10000); field.form.requestSubmit(); }")
    page.locator("#question .wrong").wait_for()
    assert page.locator("#question .body").inner_text() == (
        "The text has 10000 characters, more than 400: send a part of it."
    )
    read_by(page, squares / "72.png", model=3)
    assert page.locator("#asked").input_value() == ""  # another patient's
    assert page.locator("#question .body").inner_text() == ""


def test_on_a_phone_nothing_is_wider_than_the_page_and_boxes_come_into_sight(page, films):
    before = page.viewport_size
    page.set_viewport_size({"width": 390, "height": 844})
    read_by(page, films[0])
    page.locator(".places button").first.click()
    drawn(page)
    width, pane = page.evaluate("document.scrollingElement.scrollWidth"), page.locator(".pane").bounding_box()
    page.set_viewport_size(before)
    assert width == 390
    assert 0 <= round(pane["y"]) < round(pane["y"] + pane["height"]) <= 844
