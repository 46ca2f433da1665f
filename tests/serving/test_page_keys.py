"""Every key of the table that `?` prints has its effect; the weights of slices of a model of volumes are a strip."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gradio", reason='the reading room needs gradio: pip install "openmedvlp[demo]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")

from medvlp.io import read_volume  # noqa: E402
from medvlp.io.stored_volume import stored_volume  # noqa: E402
from medvlp.serving.launch import Options, open_room  # noqa: E402
from tests.serving.browsing import drawn, drop, opened, painted  # noqa: E402
from tests.serving.room_files import ct_slices, film  # noqa: E402

expect = playwright.expect
expect.set_options(timeout=30_000)
OF_VOLUMES = {"j"}


@pytest.fixture
def page(request, browser):
    """A page on a room with the reader that a test names."""
    running = open_room(Options(port=0, samples=False), readers=(request.getfixturevalue(request.param),))
    with opened(running, browser) as page:
        yield page
    running.close()


def study(folder):
    """A CT of 20 slices, frontal and lateral films with five windows, and a prior."""
    day = {"StudyInstanceUID": "1.2.3", "StudyDate": "20200102"}
    windows = {"WindowCenter": [1000, 1500, 2000, 2500, 3000], "WindowWidth": [800, 900, 1000, 1100, 1200]}
    return [
        *sorted(ct_slices(folder / "ct").iterdir()),
        film(folder / "a", **day, **windows),
        film(folder / "b", ViewPosition="LL", PatientOrientation=["A", "F"], **day),
        film(folder / "c", StudyInstanceUID="1.2.4", StudyDate="20190101"),
    ]


@pytest.mark.parametrize("page", ["sure"], indirect=True)
def test_every_key_of_the_printed_table_does_what_it_says(page, tmp_path, films):
    drop(page, *study(tmp_path))
    pane, tested = page.locator(".pane[aria-current=true]"), set(OF_VOLUMES)
    state = lambda name: pane.get_attribute(f"data-{name}")  # noqa: E731

    def press(key, **effect):
        tested.add(key)
        page.keyboard.press(key if key != " " else "Space")
        for name, value in effect.items():
            expect(pane).to_have_attribute(f"data-{name}", value)

    def drag(across, down):
        box = pane.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + across, y + down, steps=4)
        page.mouse.up()
        drawn(page)

    press("?")
    expect(page.locator("#keys")).to_be_visible()
    table = page.locator("#keys tr").evaluate_all("(rows) => rows.map((row) => row.dataset.key)")
    press("Escape")
    expect(page.locator("#keys")).to_be_hidden()

    # hanging: the volume that was looked at first, before it the frontal film beside its prior, before it the lateral
    expect(page.locator(".pane")).to_have_count(3)
    press(",")
    expect(page.locator(".corner.tl").nth(1)).to_contain_text("CR PA · prior")
    press(",")
    expect(page.locator(".corner.tl").nth(1)).to_contain_text("CR LL")
    press(".")
    expect(page.locator(".corner.tl").nth(1)).to_contain_text("CR PA · prior")
    press(",")
    press("ArrowRight")
    expect(page.locator(".pane").nth(1)).to_have_attribute("aria-current", "true")
    press("ArrowLeft")
    expect(page.locator(".pane").first).to_have_attribute("aria-current", "true")
    number = page.locator(".series button[aria-current=true]")
    press("PageDown")
    expect(number).to_contain_text("CR LL")
    press("PageUp")
    expect(number).to_contain_text("CR PA")
    expect(page.locator(".pane")).to_have_count(1)

    # looking
    for key, centre, width in zip("12345", range(1000, 3500, 500), range(800, 1300, 100), strict=True):
        press(key, window=f"{centre}/{width}")
    fitted = state("zoom")
    press("+")
    expect(pane).not_to_have_attribute("data-zoom", fitted)
    assert float(state("zoom")) == pytest.approx(1.25 * float(fitted), abs=2e-4)
    press("-", zoom=fitted)
    press("x", zoom="1.0000")
    press("=", zoom=fitted)
    press("r", turns="1")
    press("l", turns="0")
    press("r", turns="1")
    press("h", down="true")  # of a picture on its side left and right are the file's up and down
    press("v", across="true")
    press("i", turned="true")
    press(" ", turned="false", turns="0", across="false", down="false", window="file", zoom=fitted)

    # tools, each by a drag
    press("w", tool="window")
    drag(40, 20)
    assert state("window") not in ("file", None)
    press(" ", window="file")
    press("z", tool="zoom")
    drag(0, -60)
    assert float(state("zoom")) > float(fitted)
    press("=", zoom=fitted)
    press("p", tool="pan")
    before = painted(page)
    drag(50, 0)
    there = [float(np.argwhere(each > 200).mean(axis=0)[1]) for each in (before, painted(page))]
    assert there[1] - there[0] == pytest.approx(50, abs=1)
    press("d", tool="ruler")
    drag(60, 0)
    assert state("rulers") == "1"
    press("Backspace", rulers="0")

    # the volume: one pane, three planes, its slices, by hand and by themselves
    press("PageUp")
    expect(page.locator(".pane")).to_have_count(3)
    press("m")
    expect(page.locator(".pane")).to_have_count(1)
    press("Home", index="19")
    press("ArrowDown", index="18")
    press("ArrowUp", index="19")
    press("End", index="0")
    press("s", tool="scroll")
    drag(0, -36)
    assert state("index") == "6"
    press("c")
    expect(page.locator("#tools [data-action=cine]")).to_have_attribute("aria-pressed", "true")
    expect(pane).not_to_have_attribute("data-index", "6")
    press("c")
    expect(page.locator("#tools [data-action=cine]")).to_have_attribute("aria-pressed", "false")
    press("m")
    expect(page.locator(".pane")).to_have_count(3)

    # around it
    press("b")
    expect(page.locator("#made")).to_have_attribute("open", "")
    press("f")
    expect(page.locator("#says")).to_be_hidden()
    press("f")
    expect(page.locator("#says")).to_be_visible()
    drop(page, films[0])
    page.locator("body[data-findings=told]").wait_for()
    for key, field in (("a", "sentence"), ("t", "text")):
        press("f")
        press(key)  # what is written in is shown, else letters of a sentence are keys
        expect(page.locator(f"#{field}")).to_be_focused()
        press("Escape")
        expect(pane).to_be_focused()
    names = [row.get_attribute("data-finding") for row in page.locator(".finding").all()]
    chosen = page.locator(".finding.chosen")
    for name in names[: names.index("effusion") + 1]:
        press("n")
        expect(chosen).to_have_attribute("data-finding", name)
    press("e")
    expect(chosen).to_have_attribute("open", "")
    press("e")
    assert chosen.get_attribute("open") is None
    press("o", map="true")
    press("o", map="false")
    assert tested == set(table)


@pytest.mark.parametrize("page", ["of_volumes"], indirect=True)
def test_slices_that_count_are_a_strip_to_jump_along(page, of_volumes, ct_hospital):
    path = sorted((ct_hospital / "ct").rglob("*.nii.gz"))[0]
    found = of_volumes.model.slice_weights(path)
    told = of_volumes.slices(of_volumes.prepare(path))
    assert told["weights"] == pytest.approx(found.weights.tolist(), abs=1e-6)
    assert sum(told["weights"]) == pytest.approx(1, abs=1e-4)
    back = np.linalg.inv(stored_volume(read_volume(path)).affine)
    heaviest = round(float((back @ [*found.position[found.shown], 1])[2]))
    drop(page, path)
    bars, pane = page.locator("#weights .bar"), page.locator(".pane").first
    expect(bars).to_have_count(len(found.weights))
    assert page.locator("#weights .heaviest").count() == 1
    assert f"{found.weights.max():.2f}, " in page.locator("#weights output").inner_text()
    page.keyboard.press("Home")
    expect(pane).to_have_attribute("data-index", str(len(found.weights) - 1))
    page.keyboard.press("j")
    expect(pane).to_have_attribute("data-index", str(heaviest))
    box = page.locator("#weights svg").bounding_box()
    page.mouse.click(box["x"] + 10, box["y"] + 12)  # the head is at the left
    expect(pane).to_have_attribute("data-index", str(len(found.weights) - 1))


@pytest.mark.parametrize("page", ["sure"], indirect=True)
def test_a_model_that_weighs_no_slices_has_no_strip(page, sure, ct_hospital):
    assert sure.describe()["cannot"]["slices"] == "This model gives no slice a weight."
    drop(page, sorted((ct_hospital / "ct").rglob("*.nii.gz"))[0])
    page.locator("body[data-findings=failed]").wait_for()
    assert "This model looks at pictures, and this is a volume" in page.locator("#findings").inner_text()
    expect(page.locator("#weights")).to_be_hidden()
