"""The explorer in a real browser: what it shows, what leaves the machine, what stays of an upload, who is let in."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("gradio", reason='the explorer needs gradio: pip install "openmedvlp[demo]"')
pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
httpx = pytest.importorskip("httpx")
import tests.serving.browsing  # noqa: E402, F401  (skips where there is no browser)
from medvlp.core.errors import UserError  # noqa: E402
from medvlp.serving import Options, open_explorer  # noqa: E402
from medvlp.serving.browse.results import compared  # noqa: E402
from medvlp.serving.browse.shelf import result_of  # noqa: E402
from tests.serving.room_files import SECRETS, film  # noqa: E402

_STORES = """async () => [document.cookie, localStorage.length, sessionStorage.length,
  (await indexedDB.databases()).length]"""


@pytest.fixture(scope="module")
def explorer(runs_folder):
    running = open_explorer(runs_folder, Options(port=0))
    yield running
    running.close()
    assert not running.folder.exists()


@pytest.fixture(scope="module")
def page(explorer, browser):
    """A page; requests to other hosts, refused ones, errors of scripts and what the content policy forbids are kept."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(120_000)
    page.wrong, page.urls = [], []
    page.on("request", lambda request: page.urls.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda m: page.wrong.append(m.text) if "Content Security" in m.text else None)
    page.goto(explorer.url)
    cell(page, "#runs", "tiny").wait_for()
    yield page
    page.close()


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def cell(page, table, text):
    """A cell of a table; gradio keeps a hidden copy of each table to measure it."""
    return page.locator(table).get_by_text(text, exact=True).locator("visible=true").first


def test_each_tab_shows_what_the_files_say(page, runs_folder):
    stored = json.loads((runs_folder / "tiny" / "results" / "zero_shot.json").read_text())["metrics"]
    effusion = next(row for row in stored if (row["metric"], row["label"]) == ("auroc", "effusion"))
    tab(page, "Results")
    cell(page, "#metrics", f"{effusion['value']:.3f}").wait_for()
    assert "Synthetic patients" in page.locator("#notes").inner_text()
    tab(page, "Errors")
    page.locator("#cards img").first.wait_for()
    tab(page, "Embeddings")
    point = page.locator("#map path[data-row]").first
    point.wait_for()
    point.click(force=True)
    page.locator("#map-case img").wait_for()
    tab(page, "Parts")
    cell(page, "#components", "clip").click()
    page.locator("#component").get_by_text("Named in: phases[].objectives").wait_for()
    assert page.wrong == []


_CONTRAST_TO_WHITE = """async (element, of) => {
  await Promise.all(element.getAnimations().map((each) => each.finished));
  const parts = getComputedStyle(element)[of].match(/\\d+/g).map((v) => v / 255);
  const [r, g, b] = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 1.05 / (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05);
}"""


def test_the_chosen_tab_and_the_button_under_the_pointer_are_legible(page):
    assert page.get_by_role("tab", selected=True).first.evaluate(_CONTRAST_TO_WHITE, "color") >= 4.5  # WCAG 2.2, 1.4.3
    tab(page, "Sentences")
    button = page.locator("#ask")
    assert button.evaluate("(element) => getComputedStyle(element).color") == "rgb(255, 255, 255)"
    for each in (page.locator("#sentences"), button):
        each.hover()
        assert button.evaluate(_CONTRAST_TO_WHITE, "backgroundColor") >= 4.5


_FOCUSED = "() => [document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"


def test_what_has_the_keyboard_is_seen(page):  # WCAG 2.2, 2.4.7
    tab(page, "Sentences")
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(_FOCUSED))
    assert {"INPUT", "TEXTAREA", "BUTTON"} <= {tag for tag, _ in seen}
    assert [tag for tag, outline in seen if outline == "none" and tag != "BODY"] == []


@pytest.mark.parametrize(("many", "seed"), [("99", "0"), ("0", "0"), ("8", "-1")])
def test_a_number_that_is_none_is_a_sentence_on_the_page_and_nothing_in_the_terminal(page, capfd, many, seed):
    tab(page, "Sentences")
    page.get_by_label("How many").fill(many)
    page.get_by_label("Drawn by seed").fill(seed)
    page.locator("#ask").click()
    page.get_by_text(f"Ask of 1 to 24 pictures drawn by a seed from 0 on, not of {many} by {seed}.").wait_for()
    assert capfd.readouterr().err == ""


def choose(page, field, value):
    """Type into a list of gradio's and take what it offers."""
    page.locator(f"{field} input").fill(value)
    page.locator(field).get_by_role("option", name=value, exact=True).click()


def test_two_results_are_compared_as_the_command_compares_them(page, runs_folder):
    first, second = (
        result_of(runs_folder / "tiny" / "results" / f"{name}.json") for name in ("zero_shot", "gate_zero_shot")
    )
    shown, _ = compared(first, second, "auroc")
    tab(page, "Results")
    page.get_by_text("Compare two", exact=True).click()
    choose(page, "#first", "tiny: zero_shot")
    choose(page, "#second", "tiny: gate_zero_shot")
    page.locator("#compare").click()
    for value in shown.iloc[0].astype(str):
        cell(page, "#differences", value).wait_for()
    page.set_viewport_size({"width": 1000, "height": 900})
    table, last = (
        each.bounding_box() for each in (page.locator("#differences"), cell(page, "#differences", "p corrected"))
    )
    assert last["x"] + last["width"] <= table["x"] + table["width"]  # every column is seen
    page.set_viewport_size({"width": 1400, "height": 900})
    assert page.wrong == []


def test_a_running_training_is_followed_without_a_click(page, runs_folder):
    tab(page, "Runs")
    log = runs_folder / "live" / "log.jsonl"
    before = log.read_text()
    row = json.loads(before.splitlines()[1])
    row["samples_seen"] += 1  # it has not come to its end
    try:
        log.write_text("".join(before.splitlines(keepends=True)[:2]) + json.dumps(row) + "\n")
        cell(page, "#runs", str(row["samples_seen"])).wait_for()
    finally:
        log.write_text(before)


def test_an_uploaded_file_is_asked_and_neither_it_nor_its_name_stays(page, explorer, tmp_path):
    tab(page, "Sentences")
    secret = film(tmp_path / "DOE^JANE_MRN12345.dcm")
    with page.expect_file_chooser() as asked:
        page.locator("#own").click()
    asked.value.set_files(str(secret))
    page.locator("#answers img").wait_for()
    shown = page.locator("#answers").inner_text()
    assert "file 1" in shown
    assert "against: There is no left pleural effusion." in shown
    told = page.content() + " ".join(page.urls)
    assert [each for each in (*SECRETS, secret.name) if each in told] == []
    left = [path for path in explorer.folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) == 0  # gradio leaves an empty file for each upload
    assert [path.name for path in left if "DOE" in path.name] == []


def test_nothing_leaves_the_machine_and_nothing_is_stored(page, explorer):
    foreign = [url for url in page.urls if not url.startswith((explorer.url, "data:", "blob:"))]
    assert (foreign, page.wrong) == ([], [])
    assert len(page.urls) > 20
    assert page.evaluate(_STORES) == ["", 0, 0, 0]


def test_the_rooms_rules_say_who_is_let_in(explorer, runs_folder):
    with pytest.raises(UserError, match="give --auth FILE with users"):
        open_explorer(runs_folder, Options(host="0.0.0.0"))
    with httpx.Client(base_url=explorer.url) as client:
        policy = client.get("/").headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "http" not in policy
        assert client.get("/", headers={"host": "evil.example"}).status_code == 400
        assert client.post("/gradio_api/queue/join", headers={"origin": "http://evil.example"}).status_code == 403
        assert client.get("/config", headers={"sec-fetch-site": "cross-site"}).status_code == 403
        for path in ("gradio_api/file=/etc/passwd", "gradio_api/proxy=http://x/", "monitoring", "login", "docs"):
            assert client.get(f"/{path}").status_code == 404
