"""Six visitors of one reading room, scoring for minutes: errors, cross-talk, and the memory of the server.

    OMP_NUM_THREADS=1 python tests/benchmarks/reading_room_crowd.py runs/quickstart/run/bundle

Each is a context of one Chromium with a cookie of its own, and drops its own synthetic film again and again, waits for
the findings, asks a sentence, and looks whether both are what it was told the first time; it then asks for a picture of
every other visitor's study and must be refused. The server is `medvlp demo` in a process of its own; its memory is the
mean resident size over the last ten seconds of the first and of the last minute, helper processes included. Exit 1
where something went wrong, anybody saw another's, or the last is above 1.05 of the first.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _report import print_report

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from medvlp.phantom.cohort import make_cohort  # noqa: E402
from tests.serving.browsing import CHROMIUM, FLAGS  # noqa: E402

VISITORS, SENTENCE = 6, "Left pleural effusion."
_PIXELS = "async ([key]) => (await fetch(`/rr/studies/${key}/series/0/pixels/0/1`)).status"


class Visitor:
    """One context with its film."""

    def __init__(self, browser: Any, url: str, film: Path) -> None:
        self.film, self.key, self.wrong, self.rounds = film, "", list[str](), 0
        self.first: tuple[str, str] | None = None
        self.page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        self.page.set_default_timeout(120_000)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("response", self._heard)
        self.page.goto(url)
        self.page.locator("body[data-state=ready]").wait_for()

    def _heard(self, response: Any) -> None:
        found = re.search(r"/rr/studies/([^/]+)/series", response.url)
        self.key = found[1] if found and response.ok else self.key

    def begin(self) -> None:
        """Drop the film and go on with the next visitor while it is read."""
        self.page.locator("#files").set_input_files(str(self.film))

    def end(self, others: list[Visitor]) -> None:
        """Read what was said and compare it with the first time."""
        page = self.page
        page.locator("body[data-state=open][data-findings=told]").wait_for()
        page.locator("#sentence").fill(SENTENCE)
        page.locator("#ask button").click()
        page.locator("#ask .answer, #ask .wrong").first.wait_for()
        told = page.locator("#findings .body").text_content(), page.locator("#ask .body").text_content()
        self.first = self.first or told
        if told != self.first:
            self.wrong.append("was told another thing than the first time")
        for other in others:
            if other.key and page.evaluate(_PIXELS, [other.key]) != 404:
                self.wrong.append("saw another's picture")
        self.rounds += 1


def resident(process: int) -> int:
    """Bytes of a process and its helpers."""
    total = 0
    for each in (process, *_children(process)):
        status = Path(f"/proc/{each}/status")
        found = re.search(r"VmRSS:\s+(\d+)", status.read_text()) if status.exists() else None
        total += 1024 * int(found[1]) if found else 0
    return total


def nearest(sizes: list[tuple[float, int]], at: float) -> int:
    """The size that was measured nearest to a moment."""
    return min(sizes, key=lambda each: abs(each[0] - at))[1]


def _children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(each) for each in listed.read_text().split()] if listed.exists() else []


def main() -> None:
    """Print one line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("--minutes", type=float, default=3)
    chosen = arguments.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as made, sync_playwright() as driver:
        hospital = make_cohort(Path(made, "hospital"), patients=VISITORS, image_size=512, workers=1).root
        films = [next(iter(sorted(each.rglob("*.dcm")))) for each in sorted((hospital / "dicom").iterdir())]
        command = [sys.executable, "-m", "medvlp", "demo", str(chosen.bundle), "--port", "0"]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
            assert server.stdout is not None
            url = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            visitors = [Visitor(browser, url, film) for film in films[:VISITORS]]
            begin, sizes = time.monotonic(), list[tuple[float, int]]()
            while time.monotonic() - begin < 60 * chosen.minutes:
                for visitor in visitors:
                    visitor.begin()
                for visitor in visitors:
                    visitor.end([other for other in visitors if other is not visitor])
                    sizes.append((time.monotonic() - begin, resident(server.pid)))
            browser.close()
            server.terminate()
    # Where rounds are so long that none ends within these ten seconds, the nearest measurement counts.
    first, last = (
        statistics.mean([size for at, size in sizes if 60 * m - 10 <= at <= 60 * m] or [nearest(sizes, 60 * m)])
        for m in (1, chosen.minutes)
    )
    wrong = [each for visitor in visitors for each in visitor.wrong]
    same = len({visitor.first for visitor in visitors})
    print_report(
        "reading_room_crowd", n={"visitors": VISITORS, "rounds": sum(each.rounds for each in visitors)},
        packages=("gradio", "playwright"), minutes=chosen.minutes, wrong=wrong, different_answers=same,
        memory_mib={"minute_1": round(first / 2**20, 1), "last": round(last / 2**20, 1)},
        memory_ratio=round(last / first, 4),
    )  # fmt: skip
    sys.exit(1 if wrong or last > 1.05 * first else 0)


if __name__ == "__main__":
    main()
