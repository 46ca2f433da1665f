"""A browser on the reading room; where there is none, the modules that import this are skipped with the reason."""

from __future__ import annotations

import base64
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("there is no chromium on the path (Debian: apt-get install chromium)", allow_module_level=True)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
# The levels of a pane's canvas, grey or of each colour.
_READ = """(pane, colours) => {
  const canvas = pane.querySelector('canvas'), pen = canvas.getContext('2d');
  const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  let text = '';
  for (let k = 0; k < data.length; k += 4) {
    text += String.fromCharCode(data[k]);
    if (colours) text += String.fromCharCode(data[k + 1], data[k + 2]);
  }
  return { width: canvas.width, height: canvas.height, levels: btoa(text) };
}"""


@contextmanager
def opened(room, browser, **options):
    context = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    page.on(
        "request", lambda request: None if request.url.startswith((room.url, "blob:")) else wrong.append(request.url)
    )
    page.goto(room.url)
    page.locator("body[data-state=ready]").wait_for()
    yield page
    assert wrong == []
    assert page.locator("#outside").inner_text() == "0"
    context.close()


def drop(page, *files: Path) -> None:
    page.locator("#files").set_input_files([str(file) for file in files])
    page.locator("body[data-state=open], body[data-state=refused]").wait_for()


# Painting waits for the browser's next frame, which a busy machine makes late.
_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def drawn(page) -> None:
    """Wait until what was done so far is on the page."""
    page.evaluate(_FRAMES)


def painted(page, number=0, *, colours=False) -> np.ndarray:
    pane = page.locator(".pane").nth(number)
    drawn(page)
    told = pane.evaluate(_READ, colours)
    shape = (told["height"], told["width"], *((3,) if colours else ()))
    return np.frombuffer(base64.b64decode(told["levels"]), np.uint8).reshape(shape)
