"""The page in a real browser: what is painted, which way it hangs, what leaves the machine, what the keys do."""

from __future__ import annotations

import re
import struct

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.pixels import apply_rescale, apply_windowing

pytest.importorskip("gradio", reason='the reading room needs gradio: pip install "openmedvlp[demo]"')
pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import expect

from medvlp.io import read_frames, read_volume
from medvlp.io.stored_volume import stored_volume
from medvlp.serving.launch import Options, open_room
from medvlp.serving.studies import read_study
from tests.io.conftest import dicom_writer
from tests.io.deidentify.planted import DATES, PLANTED, planted
from tests.io.dx_files import DX_FILES
from tests.serving.browsing import drawn, drop, opened, painted
from tests.serving.room_files import SECRETS, ct_slices, film, leafed, nifti

expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def room():
    running = open_room(Options(port=0), readers=())
    yield running
    running.close()
    assert not running.folder.exists()


def at_one_to_one(page, rows, columns) -> np.ndarray:
    """The picture itself, cut out of the middle of its canvas."""
    page.keyboard.press("x")
    page.locator(".pane[data-zoom='1.0000']").first.wait_for()
    canvas = painted(page)
    top, left = round((canvas.shape[0] - rows) / 2), round((canvas.shape[1] - columns) / 2)
    # The canvas may be odd and the picture even: the corner is one of two pixels.
    return canvas[top - 1 : top + rows + 1, left - 1 : left + columns + 1]


def levels_off(window: np.ndarray, expected: np.ndarray) -> int:
    """Smallest over the (at most four) whole-pixel corners of the largest distance in levels."""
    rows, columns = expected.shape
    cut = (window[y : y + rows, x : x + columns].astype(int) for y in range(3) for x in range(3))
    return min(int(np.abs(part - expected).max()) for part in cut)


def test_each_scored_radiograph_is_painted_as_the_file_asks(page, tmp_path):
    dicom, off = dicom_writer(tmp_path), {}
    for case in (case for case in DX_FILES if case.scored):
        path = dicom(case.pixels, case.tags, **case.options)
        frame = next(read_frames(path))
        levels = frame.levels()
        if frame.spacing and frame.spacing[0] != frame.spacing[1]:
            continue  # shown with its pixels' own shape: no 1:1
        drop(page, path)
        page.locator(".pane[data-state=painted]").wait_for()
        off[case.name] = levels_off(at_one_to_one(page, *levels.shape), levels)
    assert off == dict.fromkeys(off, 0)
    assert len(off) >= 32


@pytest.mark.parametrize(
    ("slope", "intercept", "polarity"),
    [(0.37, 5, 2), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, 0, 2), (1, -1024, 2), (1, 0, 1)))],
)
def test_twenty_windows_are_pydicoms_to_the_level(page, tmp_path, slope, intercept, polarity):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 4096, (120, 130)).astype(np.uint16)
    for number in range(4):
        centres, widths = rng.normal(800, 400, 5), rng.uniform(1, 3000, 5)
        path = film(
            tmp_path / str(number), pixels, WindowCenter=[f"{c:.2f}" for c in centres], RescaleSlope=slope,
            WindowWidth=[f"{w:.2f}" for w in widths], RescaleIntercept=intercept,
            PhotometricInterpretation=f"MONOCHROME{polarity}",
        )  # fmt: skip
        drop(page, path)
        page.locator(".pane[data-state=painted]").wait_for()
        dataset = dcmread(path)
        for index in range(5):
            page.keyboard.press(str(index + 1))
            page.locator(f"body[data-did=preset-{index + 1}]").wait_for()
            modality = apply_rescale(pixels, dataset)
            low, high = (apply_rescale(np.array([end]), dataset)[0] for end in (0, 2**dataset.BitsStored - 1))
            shown = (apply_windowing(modality, dataset, index=index) - low) / (high - low)
            expected = np.rint(255 * (1 - shown if polarity == 1 else shown)).astype(int)
            assert levels_off(at_one_to_one(page, *pixels.shape), expected) == 0


def test_the_window_of_a_map_of_small_values_is_dragged_by_shares_of_itself(page, tmp_path):
    voxels = np.tile(np.linspace(0, 0.003, 64, dtype=np.float32)[:, None, None], (1, 64, 20))  # mm2/s
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    drop(page, tmp_path / "a.nii")
    pane = page.locator(".pane").first
    expect(pane).to_have_attribute("data-loading", "")
    centre, width = (float(part) for part in pane.get_attribute("data-window").split("/"))
    assert page.locator("#windows option").first.inner_text() == f"0.5 to 99.5 %  {width:.4g} / {centre:.4g}"
    box = pane.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] + 230, steps=4)
    page.mouse.up()
    drawn(page)
    dragged = tuple(float(part) for part in pane.get_attribute("data-window").split("/"))
    assert dragged == pytest.approx((centre + 0.1 * width, 0.5 * width), rel=1e-3)


def test_voxels_that_are_no_numbers_are_black_as_a_model_is_shown_them(page, tmp_path):
    voxels = np.full((40, 40, 5), 100, np.float32)
    voxels[:, :20] = -300  # the smallest value, grey in a window of the lung
    voxels[10:30, 15:30] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1, -1, 1, 1])), tmp_path / "a.nii")
    drop(page, tmp_path / "a.nii")
    expect(page.locator(".pane").first).to_have_attribute("data-loading", "")
    page.keyboard.press("m")
    page.keyboard.press("2")
    lung = np.rint(255 * np.clip((voxels[..., 2].T + 600.5) / 1499 + 0.5, 0, 1))
    assert levels_off(at_one_to_one(page, 40, 40), np.nan_to_num(lung).astype(int)) == 0


def brightest(levels: np.ndarray) -> tuple[float, float]:
    """Centre of what is white, as shares of what is painted: across, down."""
    there = np.argwhere(levels > 8)
    low, high = there.min(axis=0), there.max(axis=0) + 1
    row, column = (np.argwhere(levels > 250).mean(axis=0) - low) / (high - low)
    return column, row


@pytest.mark.parametrize("orientation", [["L", "F"], ["R", "F"], ["L", "H"], ["F", "L"]])
def test_left_of_a_film_is_at_the_right_hand(page, tmp_path, orientation):
    pixels = np.full((300, 300), 1000, np.uint16)
    pixels[220:280, 230:290] = 4000  # at the feet, on the left
    stored = {"R": pixels[:, ::-1], "H": pixels[::-1]}.get("".join(orientation).strip("LF"), pixels)
    stored = pixels.T if orientation == ["F", "L"] else stored
    drop(
        page,
        film(
            tmp_path / "a",
            np.ascontiguousarray(stored),
            PatientOrientation=orientation,
            WindowCenter=2000,
            WindowWidth=4000,
        ),
    )
    page.locator(".pane[data-state=painted]").wait_for()
    across, down = brightest(painted(page))
    assert across > 0.75
    assert down > 0.7
    assert [page.locator(f".at-{side}").inner_text() for side in ("left", "right", "top", "bottom")] == [
        "R",
        "L",
        "H",
        "F",
    ]


def test_a_picture_without_a_display_of_its_own_is_shown_as_stored_and_says_so(page, tmp_path):
    Image.fromarray(np.arange(30000, dtype=np.uint16).reshape(200, 150)).save(tmp_path / "a.png")
    for path, said in ((tmp_path / "a.png", "as stored"), (film(tmp_path / "a"), "file's own display")):
        drop(page, path)
        expect(page.locator(".corner.tr")).to_have_text(said)


def test_a_film_whose_file_tells_no_sides_has_no_letters_and_says_so(page, tmp_path):
    drop(page, film(tmp_path / "a", PatientOrientation=""))
    expect(page.locator(".corner.tl")).to_have_text("CR PA\nsides unknown")
    assert page.locator(".letter").all_inner_texts() == [""] * 4
    drop(page, film(tmp_path / "b"))
    expect(page.locator(".corner.tl")).to_have_text("CR PA")


@pytest.mark.parametrize("kind", ["dicom", "dicom turned", "nifti to left", "nifti to right"])
def test_left_of_a_volume_is_at_the_right_hand_in_every_plane(page, tmp_path, kind):
    if kind.startswith("dicom"):
        folder = ct_slices(tmp_path / "ct", axial_rows_to_left=kind == "dicom")
        drop(page, *sorted(folder.iterdir()))
    else:
        drop(page, nifti(tmp_path / "a.nii", to_left=kind == "nifti to left"))
    page.get_by_label("Window", exact=True).select_option(
        label=page.locator("#windows option", has_text="Bone").inner_text()
    )
    page.locator(".corner.tl", has_text="18 / 20").or_(page.locator(".pane").first).first.wait_for()
    for _ in range(7):  # towards the head: the block is left, behind, above
        page.keyboard.press("ArrowUp")
    page.locator(".pane").nth(1).focus()
    for _ in range(14):
        page.keyboard.press("ArrowDown")
    page.locator(".pane").nth(2).focus()
    for _ in range(17):
        page.keyboard.press("ArrowDown")
    expect(page.locator(".pane[data-loading='']")).to_have_count(3)
    where = [white(painted(page, n)) for n in range(3)]
    (across, down), (coronal, high), (sagittal, tall) = where
    assert (across > 0.6, down > 0.6) == (True, True)  # axial: left at the right, behind below
    assert (coronal > 0.6, high < 0.4) == (True, True)  # coronal: left at the right, head up
    assert (sagittal > 0.6, tall < 0.4) == (True, True)  # sagittal: behind at the right, head up


def white(levels: np.ndarray) -> tuple[float, float]:
    """Centre of what is white as shares of the pane."""
    there = np.argwhere(levels > 200)
    assert len(there)
    row, column = there.mean(axis=0) / levels.shape
    return column, row


def test_nothing_is_stored_asked_of_others_or_told_in_titles(room, browser, tmp_path):
    with opened(room, browser) as page:
        drop(page, planted(tmp_path))
        page.locator(".pane[data-state=painted]").wait_for()
        assert [secret for secret in (*PLANTED, *DATES) if secret in page.content() + page.title() + page.url] == []
        drop(page, film(tmp_path / "DOE^JANE_MRN12345.dcm"))
        page.locator(".pane[data-state=painted]").wait_for()
        kept = page.evaluate(
            "async () => [localStorage.length, sessionStorage.length, (await indexedDB.databases()).length,"
            " (await caches.keys()).length, document.cookie]"
        )
        assert kept == [0, 0, 0, 0, ""]
        assert len(page.context.cookies()) == 1
        expect(page.locator("#files-kept")).to_have_text("0")
        study = page.locator("body").get_attribute("data-said").partition("/")[0]  # a key: letters drawn by chance
        text = (page.content() + page.title() + page.url).replace(study, "")
        assert [secret for secret in (*SECRETS, "DOE", "MRN") if secret in text] == []
    assert [path for path in room.folder.rglob("*") if path.is_file()] == []


def test_what_is_kept_is_counted_when_a_study_is_opened(room, browser, tmp_path):
    """And not when the page next says that it is there: a count taken while files were read stood for 15 seconds."""
    page = browser.new_page()
    page.add_init_script("window.setInterval = () => 0")
    page.goto(room.url)
    page.locator("body[data-state=ready]").wait_for()
    for kept in ("1", "0"):
        (room.folder / "left").touch() if kept == "1" else (room.folder / "left").unlink()
        drop(page, film(tmp_path / "a"))
        expect(page.locator("#files-kept")).to_have_text(kept)
    page.close()


def test_a_closed_tab_takes_its_studies_with_it(room, browser, tmp_path):
    context = browser.new_context()
    page = context.new_page()
    page.goto(room.url)
    page.locator("body[data-state=ready]").wait_for()
    drop(page, film(tmp_path / "a"))
    another = context.new_page()  # the same browser, to ask after the tab
    page.close(run_before_unload=False)
    while another.request.get(f"{room.url}rr/room.json").status != 403:  # its word comes when the machine has time
        another.wait_for_timeout(20)
    context.close()


def test_a_reloaded_page_works_on(room, browser):
    page = browser.new_context().new_page()
    page.goto(room.url)
    for _ in range(2):
        page.locator("body[data-state=ready]").wait_for()
        page.reload()
    page.locator("body[data-state=ready]").wait_for()
    page.wait_for_timeout(500)  # the old page's word that it goes has come
    assert page.request.get(f"{room.url}rr/room.json").status == 200
    page.context.close()


def test_refusals_are_sentences(page, tmp_path):
    for name, data in (("a.html", b"<html><script>alert(1)</script>"), ("b.dcm", struct.pack("<64s", b""))):
        (tmp_path / name).write_bytes(data)
        drop(page, tmp_path / name)
        assert page.locator("body[data-state=refused]").count() == 1
        assert re.fullmatch(r"This cannot be read: .+; .+\.", page.locator("#drop-say").inner_text())
    drop(page, film(tmp_path / "film"))
    page.locator(".pane[data-state=painted]").wait_for()
    drop(page, tmp_path / "b.dcm")
    assert page.locator("#drop-say").inner_text().endswith(". The study opened before still hangs.")


def test_each_reason_why_files_are_left_out_is_told_with_their_number(page, tmp_path):
    for name in "ab":
        (tmp_path / name).write_text("a note\n")
    (tmp_path / "c").write_bytes(b"")
    drop(page, film(tmp_path / "film"), *(tmp_path / name for name in "abc"))
    assert page.locator("#drop-say").inner_text().splitlines() == [
        "Left out (2 files): it is text; give a DICOM, NIfTI, PNG, JPEG or TIFF file.",
        "Left out: it has 0 bytes; copy or export the file again.",
    ]
    empty = page.evaluate_handle("new DataTransfer()")
    page.locator(".stage").dispatch_event("drop", {"dataTransfer": empty})
    page.get_by_text("No file was in it.").wait_for()


def test_a_ruler_measures_millimetres_stays_with_its_picture_and_backspace_takes_it_away(page, tmp_path):
    study, pixels = {"StudyInstanceUID": "1.2.3"}, np.full((300, 200), 100, np.uint16)
    two = film(tmp_path / "a", pixels, NumberOfFrames=2, PixelData=2 * pixels.tobytes(), **study)
    drop(page, two, film(tmp_path / "b", ViewPosition="", **study))
    page.locator(".pane[data-state=painted]").wait_for()
    assert "measured\nthe file does not say where" in page.locator("#facts dl").inner_text()  # PixelSpacing alone
    page.keyboard.press("x")
    page.keyboard.press("d")
    box = page.locator(".pane").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 40, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=4)
    page.mouse.up()
    assert page.locator("text.ruler").text_content() == "40.0 mm"  # 80 pixels of 0.5 mm
    for away, back in (("ArrowDown", "ArrowUp"), ("PageDown", "PageUp")):  # another frame, another series
        page.keyboard.press(away)
        expect(page.locator("text.ruler")).to_have_count(0)
        page.keyboard.press("Backspace")
        page.keyboard.press(back)
        expect(page.locator("text.ruler")).to_have_text("40.0 mm")
    page.keyboard.press("Backspace")
    expect(page.locator("text.ruler")).to_have_count(0)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 30, y, steps=4)
    page.mouse.up()
    drawn(page)
    length = page.locator("text.ruler").bounding_box()
    assert length["x"] + length["width"] <= box["x"] + box["width"]  # what lies outside is not seen
    page.keyboard.press("Backspace")
    two_fingers_zoom(page, x, y)


def two_fingers_zoom(page, x, y):
    """And do nothing else, whatever the tool, nor does the one that is lifted later."""
    touch, pane = page.context.new_cdp_session(page).send, page.locator(".pane")
    for tool in "dw":
        page.keyboard.press(tool)
        page.keyboard.press("x")
        one, other, far, low = ((x + right, y + down) for right, down in ((0, 0), (40, 0), (160, 0), (0, 90)))
        for kind, *fingers in (
            ("Start", one),
            ("Start", one, other),
            ("Move", one, far),
            ("End", one),
            ("Move", low),
            ("End",),
        ):
            points = [{"x": across, "y": down, "id": n} for n, (across, down) in enumerate(fingers)]
            touch("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
        expect(pane).to_have_attribute("data-zoom", "4.0000")
        assert (pane.get_attribute("data-rulers"), pane.get_attribute("data-window")) == ("0", "file")


def test_current_and_prior_are_looked_at_alike_with_millimetres_of_one_length(page, tmp_path):
    prior = film(tmp_path / "b", np.zeros((600, 500), np.uint16), StudyDate="20190101", PixelSpacing=[0.25, 0.25])
    drop(page, film(tmp_path / "a", StudyDate="20200101"), prior)
    page.locator(".pane[data-state=painted]").nth(1).wait_for()
    panes = page.locator(".pane").all()
    drawn(page)
    height, width = painted(page).shape
    upright, lying = min(height / 300, width / 250), min(height / 250, width / 300)  # what both are wholly seen at
    for key, zoom in (
        ("f", None), ("f", upright), ("+", 1.25 * upright), ("x", 1.0), ("Space", upright), ("r", min(upright, lying)),
        ("l", upright), ("-", upright / 1.25), ("=", upright),
    ):  # fmt: skip
        page.keyboard.press(key)
        drawn(page)
        zooms = [float(each.get_attribute("data-zoom")) for each in panes]
        assert zooms == pytest.approx([zooms[0] if zoom is None else zoom, zooms[0] / 2], abs=2e-4)


def test_a_notch_of_the_wheel_is_a_slice_and_a_touchpad_goes_as_far_as_its_fingers(page, tmp_path):
    drop(page, *sorted(ct_slices(tmp_path / "ct").iterdir()))
    pane = page.locator(".pane").first
    rolled = "(pane, [by, times]) => { for (; times; times--) pane.dispatchEvent(new WheelEvent('wheel', by)); }"
    for by, times, slices in (({"deltaY": 100}, 3, 3), ({"deltaY": 3, "deltaMode": 1}, 2, 2), ({"deltaY": 3}, 50, 5)):
        page.keyboard.press("Home")
        expect(pane).to_have_attribute("data-index", "19")
        pane.evaluate("() => new Promise((done) => setTimeout(done, 250))")  # another turn of the wheel
        pane.evaluate(rolled, [by, times])
        expect(pane).to_have_attribute("data-index", str(19 - slices))


def test_the_value_under_a_pointer_that_rests_is_that_of_the_image_that_is_seen(page, tmp_path):
    paths = leafed(tmp_path)
    images = [dcmread(path).pixel_array for path in paths]
    drop(page, *paths)
    pane = page.locator(".pane[data-state=painted][data-loading='']")
    box = pane.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2 + 60)
    seen = []
    for index, key in enumerate(("i", "ArrowDown", "ArrowDown", "h")):
        page.keyboard.press(key)
        page.locator(f".pane[data-index='{min(index, 2)}'][data-state=painted][data-loading='']").wait_for()
        drawn(page)
        place, value = page.locator(".corner.br").inner_text().splitlines()[0].split("  ")  # apart, as all are numbers
        column, row = map(int, place.split(", "))
        assert int(value) == images[min(index, 2)][row, column]
        seen.append(column)
    assert seen == [seen[0]] * 3 + [199 - seen[0]]  # the last is flipped under the pointer


@pytest.mark.parametrize("moved", [(0, 0), (0, 1.1), (0, -1.1), (0.9, 0)], ids=str)
def test_a_ruler_is_true_in_every_plane_of_a_tilted_series(page, tmp_path, moved):
    folder = ct_slices(tmp_path / "ct", moved=moved)
    affine = stored_volume(read_volume(folder, on_tilt="shear")).affine[:3, :3]
    drop(page, *sorted(folder.iterdir()))
    page.locator(".pane[data-count='20'][data-loading='']").first.wait_for()
    page.keyboard.press("d")
    mm = np.linalg.norm(affine, axis=0)
    for number, (across, down, sense) in enumerate(((0, 1, 1), (0, 2, -1), (1, 2, -1))):  # slices run to the head
        pane = page.locator(".pane").nth(number)
        box, zoom = pane.bounding_box(), float(pane.get_attribute("data-zoom"))
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for side in (1, -1):
            page.mouse.move(x - 60 * side, y - 60)
            page.mouse.down()
            page.mouse.move(x + 60 * side, y + 60, steps=4)
            page.mouse.up()
            index = np.zeros(3)
            index[across] = side * 120 / zoom
            index[down] = sense * 120 / zoom * mm[across] / mm[down]
            shown = pane.locator("text.ruler")
            shown.wait_for()
            assert float(shown.text_content().removesuffix(" mm")) == pytest.approx(
                np.linalg.norm(affine @ index), abs=0.1
            )
            page.keyboard.press("Backspace")
            shown.wait_for(state="detached")


@pytest.mark.parametrize("turns", range(4))
def test_a_flip_is_what_the_eye_sees_however_the_picture_is_turned(page, tmp_path, turns):
    pixels = np.full((300, 200), 100, np.uint16)
    pixels[20:60, 10:90] = 4000
    drop(page, film(tmp_path / "a", pixels))
    page.locator(".pane[data-state=painted]").wait_for()
    for _ in range(turns):
        page.keyboard.press("r")
    for key, axis in (("h", 1), ("v", 0)):
        before = [painted(page).mean(way) for way in (0, 1)]
        page.keyboard.press(key)
        after = [painted(page).mean(way) for way in (0, 1)]
        before[1 - axis] = before[1 - axis][::-1]
        for seen, mirrored in zip(after, before, strict=True):
            assert np.abs(np.cumsum(seen - mirrored)).max() < 300  # a line of pixels may go to either side


_PLACES = """() => {
  const box = (element) => element.getBoundingClientRect(), shut = box(document.querySelector(".tools"));
  const tools = [...document.querySelectorAll(".tools button, .tools select")].map(box);
  const out = tools.filter((each) => each.right > shut.right || each.bottom > shut.bottom).length;
  return { page: document.documentElement.scrollWidth, pane: box(document.querySelector(".pane")), out };
}"""


@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1180, 820), (1366, 768), (2560, 1440)])
def test_the_page_fits_a_phone_a_tablet_and_a_wide_screen(room, browser, width, height):
    with opened(room, browser) as page:
        page.set_viewport_size({"width": width, "height": height})
        page.locator(".samples button").nth(1).click()
        page.locator(".pane[data-state=painted]").nth(1).wait_for()
        found = page.evaluate(_PLACES)
        assert found["page"] <= width
        assert found["out"] == 0  # tools that lie out of their bar cannot be seen or pressed
        assert 0 <= found["pane"]["top"] < height / 2  # the picture is in view, where the button was below it too
        assert min(found["pane"]["width"], found["pane"]["height"]) > 0.25 * min(width, height)
        assert page.locator(".model").is_hidden()  # there is none to choose


def expected_slice(k: int) -> np.ndarray:
    """Levels of a slice of `ct_slices` in the soft tissue window, 40 / 400."""
    values = np.full((40, 48), -1000.0)
    if k >= 15:
        values[30:38, 36:46] = 2000
    return np.rint(255 * np.clip((values - 39.5) / 399 + 0.5, 0, 1)).astype(int)


@pytest.mark.parametrize("left", [True, False], ids=["rows to the left", "rows to the right"])
def test_a_slice_is_seen_while_its_series_is_on_its_way_and_all_that_is_told_of_it_is_true(page, tmp_path, left):
    paths = sorted(ct_slices(tmp_path / "ct", axial_rows_to_left=left).iterdir())
    held = []
    page.route("**/rr/studies", lambda route: held.append(route))
    page.locator("#files").set_input_files([str(path) for path in paths])
    page.locator(".pane[data-state=painted][data-loading^=Reading]").wait_for()
    sides = [page.locator(f".at-{side}").inner_text() for side in ("left", "right", "top", "bottom")]
    assert sides == ["R", "L", "A", "P"]
    page.keyboard.press("x")
    page.locator(".pane[data-zoom='1.0000']").wait_for()
    # Files are named from the head down, the eleventh by name is the tenth from the feet.
    assert levels_off(at_one_to_one(page, 40, 48), expected_slice(9)) == 0
    shown = page.locator(".pane").inner_text()
    assert "soft tissue" in shown
    assert "/ 20" not in shown
    facts = page.locator("#facts").inner_text().replace("\u200a", "")
    assert "2×2" in facts
    assert "step" not in facts
    page.keyboard.press("2")
    page.locator(".pane[data-window='-600/1500']").wait_for()
    held[0].continue_()
    page.locator("body[data-state=open]").wait_for()
    page.locator(".pane[data-count='20'][data-loading='']").first.wait_for()
    axial = page.locator(".pane").first
    assert (axial.get_attribute("data-index"), axial.get_attribute("data-window")) == ("9", "-600/1500")
    assert "3×2×2" in page.locator("#facts").inner_text().replace("\u200a", "")


def test_the_window_is_that_of_all_slices_once_they_are_here(page, tmp_path):
    paths = sorted(ct_slices(tmp_path / "ct").iterdir())
    for n, path in enumerate(paths):
        one = dcmread(path)
        one.Modality, one.RescaleType, one.RescaleSlope, one.RescaleIntercept = "MR", "US", 1 + n, 0
        one.save_as(path)
    drop(page, *paths)
    expect(page.locator(".pane").first).to_have_attribute("data-loading", "")
    expect(page.locator("#windows option:checked")).to_have_text(re.compile(r"^0\.5 to 99\.5 %"))
    ((_, centre, width, _),) = read_study(paths).series[0].document["windows"]
    shown = page.locator(".pane").first.get_attribute("data-window")
    assert [*map(float, shown.split("/"))] == pytest.approx([centre, width])


def test_the_window_of_a_volume_stays_when_three_planes_become_one_and_back(page, tmp_path):
    drop(page, *sorted(ct_slices(tmp_path / "ct").iterdir()))
    page.locator(".pane[data-count='20'][data-loading='']").first.wait_for()
    page.keyboard.press("2")
    for panes in (1, 3):
        page.keyboard.press("m")
        expect(page.locator(".pane[data-window='-600/1500']")).to_have_count(panes)
        expect(page.locator("#windows :checked")).to_have_text("Lung  1500 / -600")


def test_a_look_at_a_series_that_is_refused_is_taken_back(page, tmp_path):
    paths = sorted(ct_slices(tmp_path / "ct").iterdir())
    stranger = film(tmp_path / "stranger", PatientID="OTHER")
    drop(page, *paths, stranger)
    assert "The files are of 2 patients" in page.locator("#drop-say").inner_text()
    assert page.locator(".pane").count() == 0
    drop(page, film(tmp_path / "film"))
    page.locator(".pane[data-state=painted]").wait_for()
    drop(page, *paths, stranger)
    page.get_by_text("The files are of 2 patients").wait_for()
    page.locator(".pane[data-state=painted]").wait_for()  # the film again
    assert page.locator(".corner.tl").inner_text().startswith("CR PA")
    drop(page, *paths)
    page.locator(".pane[data-count='20'][data-loading='']").first.wait_for()


def test_a_window_is_dragged_coarsely_and_at_rest_each_pixel_is_the_formulas(page, tmp_path):
    rng = np.random.default_rng(5)
    pixels = (np.linspace(200, 3600, 1600)[None] + rng.normal(0, 40, (2000, 1600))).clip(0, 4095).astype(np.uint16)
    drop(page, film(tmp_path / "a", pixels, WindowCenter=2000, WindowWidth=3000, PixelPaddingValue=0))
    page.locator(".pane[data-state=painted]").wait_for()
    box = page.locator(".pane").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y - 30, steps=6)
    page.locator(".pane[data-drawn=coarse]").wait_for()
    dragged = painted(page).astype(int)
    page.mouse.up()
    page.locator(".pane[data-drawn=exact]").wait_for()
    rest = painted(page)
    assert np.abs(dragged - rest).mean() < 4  # the same picture but for its noise
    for _ in range(2):
        page.keyboard.press("i")  # painted anew
    assert (painted(page) == rest).all()
    centre, width = (float(part) for part in page.locator(".pane").get_attribute("data-window").split("/"))
    shown = np.clip((pixels - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    page.keyboard.press("x")
    page.locator(".pane[data-zoom='1.0000']").wait_for()
    seen = painted(page)
    rows, columns = seen.shape
    expected = np.rint(255 * shown).astype(int)
    top, left = (2000 - rows) // 2 + 1, (1600 - columns) // 2 + 1
    inner = [expected[top + dy :, left + dx :][: rows - 2, : columns - 2] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    assert min(np.abs(seen[1:-1, 1:-1].astype(int) - each).max() for each in inner) == 0


@pytest.mark.parametrize("kind", ["png", "dicom"])
def test_a_coloured_picture_is_painted_in_its_colours_and_its_value_is_its_luma(page, tmp_path, kind):
    pixels = np.random.default_rng(2).integers(0, 256, (90, 110, 3)).astype(np.uint8)
    if kind == "png":
        Image.fromarray(pixels).save(tmp_path / "a.png")
    else:
        plain = film(tmp_path / "a.png", PatientOrientation=None)
        made = dcmread(plain)
        made.Rows, made.Columns, made.SamplesPerPixel, made.PlanarConfiguration = 90, 110, 3, 0
        made.PhotometricInterpretation, made.BitsAllocated, made.BitsStored, made.HighBit = "RGB", 8, 8, 7
        made.PixelData = pixels.tobytes()
        made.save_as(plain)
    drop(page, tmp_path / "a.png")
    page.locator(".pane[data-state=painted]").wait_for()
    for key, expected in (("x", pixels), ("i", 255 - pixels)):
        page.keyboard.press(key)
        page.locator(".pane[data-zoom='1.0000']").wait_for()
        canvas = painted(page, colours=True)
        top, left = round((canvas.shape[0] - 90) / 2), round((canvas.shape[1] - 110) / 2)
        near = [canvas[top + y :, left + x :][:90, :110] for y in (-1, 0, 1) for x in (-1, 0, 1)]
        assert min(int(np.abs(each.astype(int) - expected).max()) for each in near) == 0
    assert "a model is shown its luma" in page.locator("#facts").inner_text()
    seen = page.locator("#series canvas").evaluate(
        "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 52, 52).data]"
    )
    small = np.array(seen, np.uint8).reshape(52, 52, 4)[5:46, :51, :3]  # every 110/52-th pixel, in the middle
    rows, columns = ((np.arange(many) * (110 / 52)).astype(int) for many in small.shape[:2])
    assert (small == pixels[rows][:, columns]).all()


@pytest.mark.parametrize(
    ("tags", "milliseconds"),
    [
        ({"RecommendedDisplayFrameRate": 20, "CineRate": 10, "FrameTime": "200"}, 50),
        ({"CineRate": 10, "FrameTime": "200"}, 100),
        ({"CineRate": 0, "FrameTime": "200"}, 200),
        ({"FrameTime": "0.1"}, 1000 / 60),
        ({"FrameTime": "0"}, 1000 / 11),
        ({}, 1000 / 11),
    ],
)
def test_frames_are_played_as_fast_as_the_file_wants_and_a_screen_can(page, tmp_path, tags, milliseconds):
    paths = leafed(tmp_path)
    for path in paths:
        made = dcmread(path)
        for keyword, value in tags.items():  # PS3.3 C.7.6.5
            setattr(made, keyword, value)
        made.save_as(path)
    drop(page, *paths)
    page.locator(".pane[data-state=painted]").wait_for()
    beats = page.evaluate(
        """() => { const asked = [], real = window.setInterval;
          window.setInterval = (what, every) => { asked.push(every); return real(what, every); };
          document.querySelector('[data-action=cine]').click(); window.setInterval = real; return asked; }"""
    )
    page.locator(".pane[data-index='2']").wait_for()
    assert beats == [milliseconds]


def test_letters_and_windows_are_those_of_the_frame_that_is_looked_at(page, tmp_path):
    tags = {"Modality": "CT", "SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", "PatientOrientation": None}
    tags |= {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImagePositionPatient": [0, 0, 0], "WindowWidth": 400}
    for name, across, centre in (("frontal", [1, 0, 0], 50), ("lateral", [0, 1, 0], 70)):
        film(tmp_path / name, ImageOrientationPatient=[*across, 0, 0, -1], WindowCenter=centre, **tags)
    drop(page, tmp_path / "frontal", tmp_path / "lateral")
    for index, letters, window in (("0", "RLHF", "400 / 50"), ("1", "APHF", "400 / 70")):
        page.locator(f".pane[data-state=painted][data-index='{index}']").wait_for()
        told = [page.locator(f".at-{side}").inner_text() for side in ("left", "right", "top", "bottom")]
        assert "".join(told) == letters
        assert window in page.locator("#windows option").nth(1).inner_text()
        page.keyboard.press("ArrowDown")
