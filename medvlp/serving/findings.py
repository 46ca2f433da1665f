"""What `predict` says of a picture as rows for a reader: category first, the number in words, then its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlp.answers.applied.decisions import read_decisions
from medvlp.models.bundle import StoredAnswer
from medvlp.models.gate import REASONS, Verdict
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary

NOT_HERE = "not_for_this_picture"


def refusal(verdict: Verdict | None) -> dict[str, str] | None:
    """Return why a picture is held back, as a code and a sentence; None where it is let in.

    Example:
        >>> refusal(Verdict(0.0, ("blank",)))
        {'reason': 'blank', 'sentence': 'This picture is unlike those of the training: the picture is blank.'}
    """
    if verdict is None or not verdict.flagged:
        return None
    why = "; ".join(REASONS[word] for word in verdict.reasons)
    return {"reason": verdict.reasons[0], "sentence": f"This picture is unlike those of the training: {why}."}


def finding_rows(
    result: Mapping[str, Any],
    answers: Sequence[StoredAnswer],
    scoring: Sequence[str],
    refused: Mapping[str, str] | None,
) -> list[dict[str, Any]]:
    """Return a row for each finding, the surest category first, within it by how far the number is above its base rate.

    Args:
        result: of `predict_files`.
        answers: of the bundle.
        scoring: names of the answers whose scores `result` holds, in its order.
        refused: of `refusal`; then no number is shown.
    """
    rows: dict[str, dict[str, Any]] = {}
    released = {each.name: each for each in answers}
    parts = [result, *result.get("answers", {}).values()]
    for name, part in zip(scoring, parts, strict=False):
        for finding in part.get("scores", {}):
            rows.setdefault(finding, _row(finding, result, part, released.get(name), name, refused))
    order = ("present", "indeterminate", "absent", "uncalibrated", NOT_HERE)
    return sorted(rows.values(), key=lambda row: (order.index(row["category"]), -_lift(row), row["finding"]))


def _place(finding: str, result: Mapping[str, Any]) -> dict[str, str | None]:
    """Return where the likeliest pair of a finding lies, and its side, where the model says such a thing."""
    words = load_medslip_vocabulary().findings  # pairs are of words: "opacity" is lung_opacity, "tube" is one of three
    names = {finding, *(word for name, word in words.items() if name == finding and [*words.values()].count(word) == 1)}
    place = next((pair["anatomy"] for pair in result.get("pairs", ()) if pair["observation"] in names), None)
    side = next((side for side in ("left", "right") if side in (place or "").split("_")), None)
    return {"side": side, "place": place}


def _row(
    finding: str,
    result: Mapping[str, Any],
    part: Mapping[str, Any],
    released: StoredAnswer | None,
    answer: str,
    refused: Mapping[str, str] | None,
) -> dict[str, Any]:
    raw = part.get("raw_scores", part["scores"])[finding]
    calibrated = "raw_scores" in part and finding not in part.get("uncalibrated", ())
    probability = part["scores"][finding] if calibrated else None
    limits = part.get("limits", {}).get(finding)
    evidence = None if released is None else (released.evidence or {}).get(finding)
    category = part.get("category", {}).get(finding, "uncalibrated")
    base = None if evidence is None else evidence["base_rate"]
    if released is not None and calibrated:  # that of the pictures which the probability was calibrated on
        fitted = read_decisions(None, released.calibration).calibrators[finding]
        base = fitted.positives / fitted.n
    row = {
        "finding": finding,
        "answer": answer,
        "category": category,
        "probability": probability,
        "score": raw,
        "threshold": None if limits is None else limits["present_from"],
        "limits": limits,
        "base_rate": base,
        "evidence": evidence,
        "map": False,
        **({"side": None, "place": None} if category == "absent" else _place(finding, result)),
    }
    row["sentence"] = in_words(category, probability, base, limits)
    if refused is not None or raw != raw:
        why = "the picture was held back" if refused is not None else "the model reads it in pictures of another kind"
        row |= {"category": NOT_HERE, "sentence": f"Not for this picture: {why}."}
        row |= dict.fromkeys(("probability", "score", "side", "place"))
    return row


def in_words(
    category: str, probability: float | None, base_rate: float | None, limits: Mapping[str, float | None] | None
) -> str:
    """Return a number in words that cannot be read as a bare probability: beside its base rate and its thresholds.

    Example:
        >>> in_words("present", 0.2, 0.1, {"absent_to": 0.1, "present_from": 0.15})
        '0.20, twice its base rate, above its threshold 0.15'
        >>> in_words("indeterminate", 0.43, 0.4, {"absent_to": 0.3, "present_from": 0.5})
        '0.43, near its base rate, between its thresholds 0.30 and 0.50'
        >>> in_words("uncalibrated", None, None, None)
        'not calibrated: the score orders pictures and is no probability'
    """
    if probability is None:
        return "not calibrated: the score orders pictures and is no probability"
    sides = {"present": ("present_from",), "absent": ("absent_to",), "indeterminate": ("absent_to", "present_from")}
    beside = [each for side in sides.get(category, ()) if limits and (each := limits[side]) is not None]
    numbers = {probability, *beside}  # as many digits as tell them apart
    digits = next((n for n in (2, 3, 4, 5) if len({f"{each:.{n}f}" for each in numbers}) == len(numbers)), 6)
    first, *known = (f"{each:.{digits}f}" for each in (probability, *beside))
    words = [first]
    if base_rate:
        words.append(_against(probability / base_rate))
    if len(known) == 2:
        words.append(f"between its thresholds {' and '.join(known)}")
    elif known:
        side = "at" if known == [first] else "above" if probability > beside[0] else "below"
        words.append(f"{side} its threshold {known[0]}")
    if category == "indeterminate" and len(known) < 2:
        named = "to call it absent" if limits and limits["absent_to"] is None else "to call it present"
        words.append(f"too few cases {named if known else 'for a threshold'}")
    return ", ".join(words)


def _against(times: float) -> str:
    if 0.8 <= times <= 1.25:
        return "near its base rate"
    if 1.75 <= times < 2.25:
        return "twice its base rate"
    if 0.45 <= times < 0.55:
        return "half its base rate"
    return f"{times:.1f} times its base rate" if times >= 0.1 else "less than a tenth of its base rate"


def _lift(row: Mapping[str, Any]) -> float:
    if row["probability"] is None or not row["base_rate"]:
        return row["score"] or 0.0
    return row["probability"] / row["base_rate"]
