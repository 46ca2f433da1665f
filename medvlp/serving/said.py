"""What a bundle says of a picture beside scores, words and places alike, with how good that was found to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlp.core.answers import Answer
from medvlp.evaluation.words import finding, name_of, number
from medvlp.models.bundle import StoredAnswer

_PARTS = ("text", "relations", "boxes")
_MOST = 10  # places, as many as the command prints
_UNMEASURED = (
    "Nobody has measured on this bundle how good this is, so it is not shown: evaluate it with into_bundle=true on "
    "data that hold the truth."
)
_UNREADABLE = "What this bundle says was measured of this cannot be read, so it is not shown: evaluate it again."


def said_of(
    result: Mapping[str, Any], answers: Mapping[str, Answer], stored: Sequence[StoredAnswer]
) -> list[dict[str, Any]]:
    """Return an entry for each answer in words, relations or boxes; without numbers behind it, why it is not shown.

    Args:
        result: of `predict_files`, asked without a question.
        answers: of the model.
        stored: of the bundle.

    Example:
        >>> from medvlp.answers.report import Report
        >>> (entry,) = said_of({"text": "Edema."}, {"report": Report()}, [StoredAnswer("report", "report")])
        >>> entry["title"], entry["text"], entry["why"].partition(",")[0]
        ('Report', None, 'Nobody has measured on this bundle how good this is')
    """
    measured = {each.name: each.measured for each in stored}
    found = []
    for name, answer in answers.items():
        parts = answer.gives.intersection(_PARTS)
        if answer.asks == "nothing" and parts:
            own = result.get("answers", {}).get(name, {})  # there stands what another answer says already
            said = {part: own.get(part, result.get(part)) for part in parts}
            entry = {"answer": name, "title": answer.title or name_of(name), **dict.fromkeys(("text", "places"))}
            try:
                found.append(entry | _entry(said, measured.get(name)))
            # bundle.yaml may have any value in any place
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
                found.append(entry | {"why": _UNREADABLE})
    return found


def _entry(said: Mapping[str, Any], measured: Mapping[str, Any] | None) -> dict[str, Any]:
    if measured is None:
        return {"why": _UNMEASURED}
    first = measured["rows"][0]
    patients = "synthetic patients" if measured["data"]["synthetic"] else "patients"
    judged = f"{first['n']} pictures of {first['patients']} {patients}"
    return {
        "why": None,
        "text": said.get("text"),
        "places": None if said.keys() == {"text"} else _places(said, measured),
        "measured": f"{measured['title']}: {name_of(first['metric'])} {_spread(first)}, on {judged}.",
        "over": [_against(row) for row in measured["over"]],
        "rows": [
            {"name": _name(row), "value": f"{_spread(row)}, n {row['n']}"}
            for row in (*measured["rows"][1:], *measured["labels"].values())
        ],
    }


def _against(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a paired difference from a control in words, and whether its interval lies above 0."""
    beaten = row["low"] is not None and row["low"] > 0
    words = "Better than" if beaten else "Not shown to be better than"
    return {"sentence": f"{words} {row['control']}: difference {_spread(row)}.", "beaten": beaten}


def _places(said: Mapping[str, Any], measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what lies where, surest first: as many as were judged, and only boxes of what boxes were judged of."""
    which = measured["rows"][0]["metric"].partition("@")[2]
    listed = [
        (each["triplet"], each["score"], zip(each["triplet"][::2], (each["boxes"][:4], each["boxes"][4:]), strict=True))
        for each in said.get("relations") or ()
    ]
    listed += [([each["finding"]], each["score"], [(each["finding"], each["box"])]) for each in said.get("boxes") or ()]
    return [
        {
            "words": words,
            "score": score,
            "boxes": [
                {"finding": name, "box": box, "hit": f"{name_of(row['metric'])} {_spread(row)}, n {row['n']}"}
                for name, box in boxes
                if (row := measured["labels"].get(name)) and len(box) == 4
            ],
        }
        for words, score, boxes in listed[: int(which) if which.isdigit() else _MOST]
    ]


def _name(row: Mapping[str, Any]) -> str:
    of = "" if row["label"] in ("all", "reports") else f", {finding(row['label'])}"
    return name_of(row["metric"]) + of


def _spread(row: Mapping[str, Any]) -> str:
    ends = "no interval" if row["low"] is None else f"{number(row['low'], 2)} to {number(row['high'], 2)}"
    return f"{number(row['value'], 2)} ({ends})"
