"""What failed to come is told in its pane, no other picture stands in its place, and the next try asks for it again."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("gradio", reason='the reading room needs gradio: pip install "openmedvlp[demo]"')
pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from pydicom import dcmread

from tests.serving.browsing import drawn, drop, painted
from tests.serving.room_files import ct_slices, leafed

REFUSED = "There is no such picture in this session."


def refusing(page, path):
    """Refuse requests for a path until what this returns is cleared."""
    broken = [True]
    answer = {"status": 404, "json": {"error": REFUSED}}
    page.route(path, lambda route: route.fulfill(**answer) if broken else route.continue_())
    return broken


def test_slices_that_failed_to_come_are_told_and_the_next_step_asks_again(page, tmp_path):
    broken = refusing(page, "**/series/0/pixels/0/8")
    drop(page, *sorted(ct_slices(tmp_path / "ct").iterdir()))
    page.locator(f".pane[data-count='20'][data-loading='{REFUSED}']").first.wait_for()
    assert REFUSED in page.locator(".corner.tl").first.inner_text()
    broken.clear()
    page.keyboard.press("ArrowUp")
    page.locator(".pane[data-count='20'][data-loading='']").first.wait_for()


def test_a_frame_that_failed_to_come_is_told_over_no_other_and_asked_for_again(page, tmp_path):
    broken = refusing(page, "**/series/0/pixels/1/2")
    held = []
    page.route("**/series/0/pixels/0/1", lambda route: held.append(route))
    drop(page, *leafed(tmp_path))
    page.locator(".pane[data-state=waiting][data-loading='loading ...']").wait_for()  # not a pane that is black alone
    assert page.locator(".corner.tl").inner_text() == "US PA\n1 / 3\nloading ..."
    held[0].continue_()
    page.locator(".pane[data-state=painted][data-loading='']").wait_for()
    page.keyboard.press("ArrowDown")
    page.locator(f".pane[data-index='1'][data-state=waiting][data-loading='{REFUSED}']").wait_for()
    assert REFUSED in page.locator(".corner.tl").inner_text()
    assert painted(page).max() == 0
    broken.clear()
    page.keyboard.press("ArrowUp")
    page.locator(".pane[data-index='0'][data-state=painted][data-loading='']").wait_for()
    page.keyboard.press("ArrowDown")
    page.locator(".pane[data-index='1'][data-state=painted][data-loading='']").wait_for()
    assert painted(page).max() > 0


def test_the_facts_are_those_of_the_frame_that_is_looked_at(page, tmp_path):
    paths = leafed(tmp_path)
    for path, pixel in zip(paths, (0.1, 0.2, 0.3), strict=True):
        one = dcmread(path)
        one.PixelSpacing = [pixel, pixel]
        one.save_as(path)
    drop(page, *paths)
    for index, pixel in enumerate((0.1, 0.2, 0.3)):
        page.locator(f".pane[data-index='{index}'][data-state=painted]").wait_for()
        assert f"{pixel}\u200a×\u200a{pixel}" in page.locator("#facts dl").inner_text()
        page.keyboard.press("ArrowDown")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_searches_of_the_archive_the_later_ones_list_stays(page, order):
    page.route("**/rr/room.json", lambda route: route.fulfill(json={**route.fetch().json(), "archive": True}))
    page.route("**/gradio_api/call/archive", lambda route: route.fulfill(json={"event_id": "1"}))
    held = []
    page.route("**/gradio_api/call/archive/1", lambda route: held.append(route))
    page.reload()
    page.locator("body[data-state=ready]").wait_for()
    listed = page.locator("#archive ul")
    for patient in ("A", "B"):
        page.locator("#patient").fill(patient)
        with page.expect_request("**/gradio_api/call/archive/1"):
            page.locator("#archive button[type=submit]").click()
        assert listed.inner_text() == "asking ..."
    for number in order:
        row = {"StudyDate": f"2026010{number + 1}", "ModalitiesInStudy": "CR", "NumberOfStudyRelatedInstances": "1"}
        answer = json.dumps([{"list": str(number), "studies": [row], "more": False}])
        with page.expect_response("**/gradio_api/call/archive/1"):
            held[number].fulfill(body=f"event: complete\ndata: {answer}\n\n", content_type="text/event-stream")
        drawn(page)
        assert listed.inner_text() == ("2026-01-02 CR 1" if number or order[0] else "asking ...")
