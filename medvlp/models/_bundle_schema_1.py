"""Bundles of schema 1, which knew two answers by their own keys: read as if they had been written today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def upgraded(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of ``bundle.yaml`` in the form of schema 2; any other schema is returned as it is."""
    if described.get("schema") != "medvlp.bundle/1":
        return dict(described)
    rest = {
        key: value
        for key, value in described.items()
        if key not in ("score", "labels", "zero_shot", "operating_points", "calibration", "text_cache")
    }
    return {**rest, "schema": "medvlp.bundle/2", "answers": _answers(described)}


def _answers(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    score = {"name": described.get("score", "dot")}
    prompts = described.get("zero_shot") or []
    if prompts:
        labels = [each["label"] for each in prompts]
        answers.append(_answer("zero_shot", described, {"prompts": list(prompts)}, labels, score))
    heads = described["model"].get("heads") or {}
    for name in [name for name, head in heads.items() if head.get("name") == "dual_stream"]:
        labels = [] if prompts else list(described.get("labels") or ())
        head = name.partition("/")[2]
        answers.append(_answer("existence", described, {"head": head, "labels": labels}, labels))
        answers.append(_answer("pairs", described, {"head": head}, []))
    if "text" in described["model"] or described["model"].get("name") == "single":
        answers.append(_answer("retrieval", described, {}, [], score))
    return answers


def _answer(
    name: str, described: Mapping[str, Any], options: Mapping[str, Any], labels: list[str], score: object = None
) -> dict[str, Any]:
    answer = {"name": name, "component": name, "options": dict(options), "labels": labels, "score": score}
    for key in ("operating_points", "calibration"):
        stored = described.get(key)
        plain = dict(stored) if isinstance(stored, Mapping) else {}
        answer[key] = plain if plain.pop("recipe", None) == name else None
    return answer
