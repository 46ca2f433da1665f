"""What a bundle says of a picture beside scores, in words and places, with how good that was found to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlp.core.answers import Answer, Asks
from medvlp.evaluation.words import finding, name_of, number
from medvlp.models.bundle import StoredAnswer

_PARTS = ("text", "relations", "boxes", "masks")
_MOST = 10  # places, as many as the command prints
_UNMEASURED = (
    "Nobody has measured on this bundle how good this is, so it is not shown: evaluate it with into_bundle=true on "
    "data that hold the truth."
)
_UNREADABLE = "What this bundle says was measured of this cannot be read, so it is not shown: evaluate it again."


def said_of(
    result: Mapping[str, Any], answers: Mapping[str, Answer], stored: Sequence[StoredAnswer], *, asks: Asks = "nothing"
) -> list[dict[str, Any]]:
    """Return an entry for each answer in words, relations, boxes or masks; without numbers behind it, why it is hidden.

    Args:
        result: of `predict_files`.
        answers: of the model.
        stored: of the bundle.
        asks: which of the answers.

    Example:
        >>> from medvlp.answers.report import Report
        >>> (entry,) = said_of({"text": "Edema."}, {"report": Report()}, [StoredAnswer("report", "report")])
        >>> entry["title"], entry["text"], entry["why"].partition(",")[0]
        ('Report', None, 'Nobody has measured on this bundle how good this is')
    """
    measured, cases = {each.name: each.measured for each in stored}, "questions" if asks == "question" else "pictures"
    found = []
    for name, answer in answers.items():
        parts = answer.gives.intersection(_PARTS)
        if answer.asks == asks and parts:
            own = result.get("answers", {}).get(name, {})  # there stands what another answer says already
            said = {part: own.get(part, result.get(part)) for part in parts}
            entry = {"answer": name, "title": answer.title or name_of(name), **dict.fromkeys(("text", "places"))}
            try:
                found.append(entry | _entry(said, measured.get(name), cases))
            # bundle.yaml may have any value in any place
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
                found.append(entry | {"why": _UNREADABLE})
    return found


def _entry(said: Mapping[str, Any], measured: Mapping[str, Any] | None, cases: str) -> dict[str, Any]:
    if measured is None:
        return {"why": _UNMEASURED}
    first = measured["rows"][0]
    patients = "synthetic patients" if measured["data"]["synthetic"] else "patients"
    judged = f"{first['n']} {cases} of {first['patients']} {patients}"
    return {
        "why": None,
        "text": said.get("text"),
        "places": None if said.keys() == {"text"} else _places(said, measured),
        "measured": f"{measured['title']}: {name_of(first['metric'])} {_spread(first)}, on {judged}.",
        "over": [_against(row, first) for row in measured["over"]],
        "rows": [
            {"name": _name(row) + less, "value": _counted(each)}
            for row in (*measured["rows"][1:], *measured["labels"].values())
            for each, less in ((row, ""), *((other, f", less {other['control']}") for other in row.get("over", ())))
        ],
    }


def _against(row: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a paired difference from a control in words, and whether its interval lies above 0."""
    beaten = row["low"] is not None and row["low"] > 0
    words = "Better than" if beaten else "Not shown to be better than"
    theirs = number(own["value"] - row["value"], 2)
    return {"sentence": f"{words} {row['control']}: difference {_spread(row)} from {theirs}.", "beaten": beaten}


def _places(said: Mapping[str, Any], measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what lies where, surest first: as many as were judged, and only boxes of what boxes were judged of."""
    if "masks" in said:
        return [_mask(name, mask, measured["labels"].get(name)) for name, mask in (said["masks"] or {}).items()]
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
                {"finding": name, "box": box, "hit": f"{name_of(row['metric'])} {_counted(row)}"}
                for name, box in boxes
                if (row := measured["labels"].get(name)) and len(box) == 4
            ],
        }
        for words, score, boxes in listed[: int(which) if which.isdigit() else _MOST]
    ]


def _mask(finding: str, mask: Mapping[str, Any], row: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a mask with the Dice of its finding; only words of one that is not judged, empty or of a volume."""
    place = {"words": [finding], "score": None, "over": [], "boxes": []}
    if row is None:
        return {**place, "hit": "not measured, not shown"}
    hit, alarm = f"{name_of(row['metric'])} {_counted(row)}", row.get("false_alarm")
    if "runs" not in mask or not mask["pixels"]:
        return {**place, "hit": "of a volume: medvlp predict --out writes it" if mask["pixels"] else "nothing drawn"}
    whole = hit + (f". False alarms where there is none: {_counted(alarm)}" if alarm else "")
    boxes = [{"finding": finding, "shape": mask["shape"], "runs": mask["runs"], "hit": whole}]
    return {**place, "hit": hit, "over": [_against(each, row) for each in row.get("over", ())], "boxes": boxes}


def _name(row: Mapping[str, Any]) -> str:
    of = "" if row["label"] in ("all", "reports") else f", {finding(row['label'])}"
    return name_of(row["metric"]) + of


def _counted(row: Mapping[str, Any]) -> str:
    return f"{_spread(row)}, n {row['n']}"


def _spread(row: Mapping[str, Any]) -> str:
    ends = "no interval" if row["low"] is None else f"{number(row['low'], 2)} to {number(row['high'], 2)}"
    return f"{number(row['value'], 2)} ({ends})"
