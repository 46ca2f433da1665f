"""What is said stands beside the picture, and comes from the model, that it was asked of; else it is not said."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("gradio", reason='the reading room needs gradio: pip install "openmedvlp[demo]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")

import medvlp  # noqa: E402
from medvlp.cli.main import app  # noqa: E402
from medvlp.data.layouts.phantom import index  # noqa: E402
from medvlp.models.bundle import save_bundle  # noqa: E402
from medvlp.serving import Reader  # noqa: E402
from medvlp.serving.launch import Options, open_room  # noqa: E402
from tests.serving.browsing import drop  # noqa: E402
from tests.serving.room_files import film  # noqa: E402

expect = playwright.expect
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def searching(sure, wide_cohort, tmp_path_factory) -> Reader:
    """The reader with a map of effusion, and six cases to search."""
    folder = tmp_path_factory.mktemp("searching")
    save_bundle(folder / "bundle", sure.model.bundle)
    cases = index(wide_cohort.root).where({"view_position": ["PA", "AP"]}).take(np.arange(6))
    cases.with_column("deidentified", ["yes"] * 6).save(folder / "m.parquet")
    asked = ["embed", folder / "bundle", folder / "m.parquet", "--out", folder / "t.parquet", "--index", folder / "i"]
    ran = CliRunner().invoke(app, [*map(str, asked), "--workers", "1"])
    assert ran.exit_code == 0, ran.output
    return Reader(medvlp.load(folder / "bundle"), name="first", index=folder / "i")


@pytest.fixture(scope="module")
def room(searching, reader):
    running = open_room(Options(port=0, samples=False), readers=(searching, reader))
    yield running
    running.close()


def told(page, *files):
    drop(page, *files)
    page.locator(".pane[data-state=painted]").first.wait_for()
    page.locator("body[data-findings=told]").wait_for()


def ask(page, what):
    if what == "ask":
        page.locator("#sentence").fill("Left pleural effusion.")
    elif what == "check_report":
        page.locator("#text").fill("Left pleural effusion.")
    button = {"ask": "#ask form button", "check_report": "#report button[type=submit]", "similar": "#alike"}
    page.locator({**button, "where": ".finding[data-finding=effusion] button"}[what]).click()


ANSWERS = {"ask": "#ask .answer", "check_report": "#report .sentence", "similar": "#similar .case",
           "where": ".pane[data-map=true]"}  # fmt: skip


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_about_one_patient_does_not_come_beside_another(page, films, what):
    told(page, films[0])
    held = []
    page.route(f"**/call/{what}/*", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request(f"**/call/{what}/*"):
        ask(page, what)
    told(page, films[1])
    with page.expect_event("requestfinished", lambda each: f"/call/{what}/" in each.url):
        held[0].continue_()
    page.wait_for_timeout(200)
    assert page.locator(ANSWERS[what]).count() == 0
    assert [page.locator(f"#{each} .body").inner_text() for each in ("ask", "report", "similar", "export")] == [""] * 4
    expect(page.locator("#map")).to_be_hidden()
    ask(page, what)  # of the one that is there now
    expect(page.locator(ANSWERS[what]).first).to_be_visible()


def test_a_file_of_one_patient_is_not_given_beside_another(page, films):
    told(page, films[0])
    held, given = [], []
    page.on("download", lambda download: given.append(download))
    page.route("**/call/export/*", lambda route: held.append(route))
    with page.expect_request("**/call/export/*"):
        page.locator("#export button", has_text="PNG").click()
    told(page, films[1])
    with page.expect_event("requestfinished", lambda each: "/call/export/" in each.url):
        held[0].continue_()
    page.wait_for_timeout(200)
    assert given == []
    assert page.locator("#export .body").inner_text() == ""


def map_of_effusion(page):
    ask(page, "where")
    page.locator(".pane[data-map=true]").wait_for()


def test_a_search_by_a_sentence_that_is_not_written_says_so_and_searches_nothing(page, films):
    told(page, films[0])
    asked = []
    page.on("request", lambda each: asked.append(each.post_data_json) if "/call/similar" in each.url else None)
    for empty in ("", "  "):
        page.locator("#sentence").fill(empty)
        page.locator("#alike-said").click()
        expect(page.locator("#similar .wrong")).to_contain_text("No sentence is written: state a finding")
        assert page.locator("#similar .case").count() == 0
    page.locator("#sentence").fill("Left pleural effusion.")
    page.locator("#alike-said").click()
    expect(page.locator("#similar .case").first).to_be_visible()
    assert [each["data"][-2] for each in asked if each] == ["Left pleural effusion."]  # the other fetches the answer


def test_a_map_goes_with_the_model_that_made_it(page, films):
    told(page, films[0])
    map_of_effusion(page)
    page.locator("#model").select_option("1")
    expect(page.locator(".pane[data-map=true]")).to_have_count(0)
    expect(page.locator("#map")).to_be_hidden()


def test_a_map_on_its_way_does_not_come_to_another_model(page, films):
    told(page, films[0])
    held = []
    page.route("**/call/where/*", lambda route: held.append(route))
    with page.expect_request("**/call/where/*"):
        ask(page, "where")
    page.locator("#model").select_option("1")
    page.locator("body[data-findings=told]").wait_for()
    with page.expect_event("requestfinished", lambda each: "/call/where/" in each.url):
        held[0].continue_()
    page.wait_for_timeout(200)
    assert page.locator(".pane[data-map=true]").count() == 0
    expect(page.locator("#map")).to_be_hidden()


def test_a_map_goes_with_its_legend_when_the_other_picture_is_chosen(page, tmp_path):
    day = {"StudyInstanceUID": "1.2.3", "StudyDate": "20200102"}
    lateral = film(tmp_path / "b", ViewPosition="LL", PatientOrientation=["A", "F"], **day)
    told(page, film(tmp_path / "a", **day), lateral)
    map_of_effusion(page)
    for number in (1, 0):
        page.locator(".pane").nth(number).focus()
        expect(page.locator(".pane").nth(number)).to_have_attribute("aria-current", "true")
        expect(page.locator(".pane[data-map=true]")).to_have_count(0)
        expect(page.locator("#map")).to_be_hidden()


def test_of_several_images_the_first_is_told_and_has_the_map(page, tmp_path):
    pixels = np.full((300, 200), 100, np.uint16)
    pixels[240:280, 150:190] = 4000
    told(page, film(tmp_path / "a", pixels, NumberOfFrames=2, PixelData=2 * pixels.tobytes()))
    expect(page.locator("#findings .group").first).to_have_text("Of the first image.")
    map_of_effusion(page)
    pane = page.locator(".pane")
    page.keyboard.press("ArrowDown")
    expect(pane).to_have_attribute("data-index", "1")
    expect(pane).to_have_attribute("data-map", "false")
    expect(page.locator("#map")).to_be_hidden()
    page.keyboard.press("o")
    expect(page.locator("#map")).to_contain_text("is of the first image")
    expect(pane).to_have_attribute("data-map", "false")
    page.keyboard.press("ArrowUp")
    expect(pane).to_have_attribute("data-index", "0")
    page.keyboard.press("o")
    expect(pane).to_have_attribute("data-map", "true")
