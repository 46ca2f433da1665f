from __future__ import annotations

import re

from medvlp.core.progress import Lines


def test_a_line_gives_the_rate_and_the_time_left_of_the_last_minute() -> None:
    lines: list[str] = []
    seconds = iter(range(0, 200, 5))
    tell = Lines("Training", "samples", write=lines.append, clock=lambda: float(next(seconds)))
    done = 0
    for step in range(25):  # five seconds each: 100 a second for half a minute, then 10
        tell(done, 10_000)
        done += 500 if step < 6 else 50
    rates = [int(found) for found in re.findall(r"(\d+)/s", " ".join(lines))]
    assert rates == [100, 100, 70, 55, 32, 10, 10, 10]
    assert lines[-1] == "Training: 3,900 of 10,000 samples, 10/s, 10 min 10 s left"


def test_work_that_was_resumed_is_not_counted_as_done_now() -> None:
    lines: list[str] = []
    seconds = iter([0.0, 20.0])
    tell = Lines("Reading", "", write=lines.append, clock=lambda: next(seconds))
    tell(900, 1000)
    tell(920, 1000)
    assert lines == ["Reading: 920 of 1,000, 1/s, 1 min 20 s left"]
