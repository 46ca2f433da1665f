"""Pictures of errors: for a finding surest hit, worst miss, worst false alarm and least decided case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.results import Result
from medvlp.evaluation.words import finding
from medvlp.pages.figures import Picture, picture
from medvlp.pages.inputs import CHOSEN, GalleryItem

__all__ = ["TITLES", "ErrorRow", "error_rows"]

TITLES = {
    "hit": "Surest hit",
    "miss": "Worst miss",
    "false_alarm": "Worst false alarm",
    "unsure": "Least decided",
}


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A finding with its pictures: (title, picture), in the order of `TITLES`."""

    finding: str
    pictures: tuple[tuple[str, Picture], ...]


def error_rows(items: Sequence[GalleryItem], results: Sequence[Result] = ()) -> list[ErrorRow]:
    """Return one row a finding, in the order met; `results` as for `picture`."""
    rows = []
    for name in dict.fromkeys(item.finding for item in items):
        mine = sorted((item for item in items if item.finding == name), key=lambda item: CHOSEN.index(item.chosen))
        rows.append(ErrorRow(finding(name), tuple((TITLES[item.chosen], picture(item, results)) for item in mine)))
    return rows
