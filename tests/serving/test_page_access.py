"""The page on paper, by keys and for whoever hears it: nothing is stretched, cut off, out of reach or unsaid."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio", reason='the reading room needs gradio: pip install "openmedvlp[demo]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")

from tests.serving.browsing import drop  # noqa: E402
from tests.serving.room_files import ct_slices, film  # noqa: E402

expect = playwright.expect


def boxes(page):
    return [pane.bounding_box() for pane in page.locator(".pane").all()]


@pytest.mark.parametrize("wide", [1400, 360])
def test_panes_have_the_same_shape_on_paper_as_on_the_screen(page, tmp_path, wide):
    page.set_viewport_size({"width": wide, "height": 900})
    drop(page, *(film(tmp_path / view, ViewPosition=view, StudyInstanceUID="1.2") for view in ("PA", "LL")))
    expect(page.locator(".pane[data-state=painted]")).to_have_count(2)
    screen = boxes(page)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1047})  # A4 less margins of 1 cm
    paper = boxes(page)
    assert [box["width"] / box["height"] for box in paper] == pytest.approx(
        [box["width"] / box["height"] for box in screen], rel=0.01
    )
    assert max(box["x"] + box["width"] for box in paper) <= 718
    assert min(box["height"] for box in paper) > 250
    stage = page.locator(".stage").bounding_box()  # no black beside the panes
    assert stage["width"] == pytest.approx(page.locator(".panes").bounding_box()["width"], abs=1)
    assert page.locator(".says section:visible").evaluate_all("(all) => all.map((each) => each.id)") == ["findings"]
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": wide, "height": 900})
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert boxes(page) == screen


def test_the_slider_says_the_slice_and_its_arrows_move_it(page, tmp_path):
    drop(page, *sorted(ct_slices(tmp_path / "ct").iterdir()))
    page.locator(".pane[data-count='20'][data-loading='']").first.wait_for()
    slider = page.locator("#slice")
    expect(slider).to_have_attribute("aria-valuetext", "10 of 20")
    slider.focus()
    for key, said in (("ArrowRight", "9 of 20"), ("ArrowLeft", "10 of 20"), ("ArrowDown", "9 of 20")):
        page.keyboard.press(key)
        expect(slider).to_have_attribute("aria-valuetext", said)
        expect(slider).to_be_focused()


def test_no_fact_of_a_picture_is_cut_off(page, tmp_path):
    long = film(tmp_path / "a", Manufacturer="A maker " * 6, FrameTime=40)
    drop(page, *sorted(ct_slices(tmp_path / "ct").iterdir()), long)
    page.locator(".pane[data-state=painted]").first.wait_for()
    for series in page.locator(".series button").all():
        series.click()
        cut = page.locator("#facts dd").evaluate_all("(all) => all.filter((dd) => dd.scrollWidth > dd.clientWidth)")
        assert cut == []
        assert page.locator("#facts dt", has_text=", mm").bounding_box()["height"] < 24  # one line
    lines = page.locator("#facts dd", has_text="MONOCHROME2").or_(page.locator("#facts dt", has_text="bits"))
    assert len({each.bounding_box()["height"] for each in lines.all()}) == 1  # no word is broken


def test_a_window_chosen_by_mouse_gives_the_keys_back_to_the_picture(page, tmp_path):
    drop(page, *sorted(ct_slices(tmp_path / "ct").iterdir()))
    page.locator(".pane[data-count='20'][data-loading='']").first.wait_for()
    windows, pane = page.locator("#windows"), page.locator(".pane[aria-current=true]")
    windows.click()
    windows.select_option(label="Lung  1500 / -600")
    expect(pane).to_be_focused()
    page.keyboard.press("i")
    expect(pane).to_have_attribute("data-turned", "true")
    windows.focus()
    page.keyboard.press("Shift")
    windows.select_option(label="Bone  2500 / 480")
    expect(windows).to_be_focused()  # whoever chooses by keys goes on


_OUT = """(parent) => {
  const box = (each) => each.getBoundingClientRect(), { right, bottom } = box(parent);
  const out = (each) => box(each).right > right || box(each).bottom > bottom || each.scrollWidth > each.clientWidth;
  return [...parent.children].filter((each) => each.checkVisibility() && out(each)).map((each) => each.outerHTML);
}"""


@pytest.mark.parametrize("letters", [16, 24, 32])
def test_letters_of_any_size_are_within_their_place(page, letters):
    sizes = {"fontSizes": {"standard": letters, "fixed": letters}}  # of the browser's settings
    page.context.new_cdp_session(page).send("Page.setFontSizes", sizes)
    expect(page.locator("html")).to_have_css("font-size", f"{letters}px")
    page.keyboard.press("?")
    for each in page.locator(".top, .foot, #keys td:first-child").all():
        assert each.evaluate(_OUT) == []


def test_tab_leaves_the_picture_that_is_asked_about_and_arrows_go_to_the_other(page, tmp_path):
    drop(page, *(film(tmp_path / view, ViewPosition=view, StudyInstanceUID="1.2") for view in ("PA", "LL")))
    expect(page.locator(".pane[data-state=painted]")).to_have_count(2)
    first, second = page.locator(".pane").all()
    first.focus()
    page.keyboard.press("Tab")
    expect(second).not_to_be_focused()
    expect(first).to_have_attribute("aria-current", "true")
    page.keyboard.press("Shift+Tab")
    expect(first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(second).to_be_focused()
    expect(second).to_have_attribute("aria-current", "true")
