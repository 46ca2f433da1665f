"""A stranger's first minute, as docs/howto/reading_room.md tells it: all by keyboard, from the sample to the export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason='the reading room needs gradio: pip install "openmedvlp[demo]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")

from medvlp.serving.launch import Options, open_room  # noqa: E402
from tests.serving.browsing import opened, painted  # noqa: E402

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "reading_room.md"
_FOCUSED = "document.activeElement.textContent.trim()"


def tab_to(page, words: str) -> None:
    """Press Tab until the element with these words is focused."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(_FOCUSED) == words:
            return
    pytest.fail(f"Tab never comes to {words!r}")


@pytest.mark.slow
def test_the_first_minute_of_the_guide_works_by_keyboard_alone(sure, browser):
    expect = playwright.expect
    expect.set_options(timeout=30_000)
    told = GUIDE.read_text("utf-8").split("## The first minute, by keyboard")[1].split("## ")[0]
    assert all(word in told for word in ("Chest, two views", "Left pleural effusion.", "PNG"))
    running = open_room(Options(port=0), readers=(sure,))
    with opened(running, browser) as page:
        page.set_default_timeout(60_000)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        tab_to(page, "Chest, two views")
        page.keyboard.press("Enter")
        page.locator("body[data-state=open][data-findings=told]").wait_for()
        pane = page.locator(".pane[aria-current=true]")
        expect(page.locator(".pane[data-state=painted]")).to_have_count(2)
        page.keyboard.press("2")
        expect(pane).not_to_have_attribute("data-window", "file")
        page.keyboard.press("Space")
        expect(pane).to_have_attribute("data-window", "file")
        assert len([url for url in asked if "/rr/samples/" in url]) == 1  # the button that opened it has lost the focus
        page.keyboard.press("i")
        expect(pane).to_have_attribute("data-turned", "true")
        page.keyboard.press("i")
        expect(pane).to_have_attribute("data-turned", "false")
        chosen = page.locator(".finding.chosen")
        for _ in range(page.locator(".finding").count()):
            page.keyboard.press("n")
            if chosen.get_attribute("data-finding") == "effusion":
                break
        page.keyboard.press("e")
        expect(chosen.locator(".proof")).to_be_visible()
        page.keyboard.press("o")
        expect(pane).to_have_attribute("data-map", "true")
        mapped = painted(page)
        page.keyboard.press("o")  # off: the picture stays where it is
        expect(pane).not_to_have_attribute("data-map", "true")
        assert (painted(page) != mapped).any()
        page.keyboard.press("o")
        expect(pane).to_have_attribute("data-map", "true")
        page.keyboard.press("a")
        page.keyboard.type("Left pleural effusion.")
        page.keyboard.press("Enter")
        expect(page.locator("#ask .answer")).to_contain_text("“Left pleural effusion.”")
        page.keyboard.press("Escape")
        tab_to(page, "PNG")
        with page.expect_download() as waiting:
            page.keyboard.press("Enter")
        picture = np.asarray(Image.open(waiting.value.path()))
        series = page.locator(".series .fine").first.inner_text()
        rows, columns = (int(part) for part in series.split(" × "))
        assert picture.shape[0] > rows
        assert picture.shape[1] >= columns
        assert (np.ptp(picture.astype(int), axis=2) > 30).any()  # the banner and the map have colours
    running.close()
