"""A map of a finding or a sentence for a reader, by the method that hit best on validation pictures; its hit rate."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from medvlp.answers.asking.model import Prepared, VisionLanguageModel
from medvlp.answers.prompting.directions import Words, direction_of
from medvlp.core.answers import Answer, Ask
from medvlp.core.errors import UserError
from medvlp.core.map import Map
from medvlp.core.registry import build
from medvlp.models.bundle import KeptAnswer

__all__ = ["ANSWERS_OWN", "draw", "hit_rate", "looking", "offered", "plain_map"]

ANSWERS_OWN = "answer"  # the method of an answer that says itself where it looked
_UNMEASURED = "occlusion"  # of a sentence in a bundle whose maps nobody measured: it asks nothing of the tower


def looking(model: VisionLanguageModel) -> dict[str, Answer]:
    """Return the answers that can say where they looked."""
    return {name: each for name, each in model.answers.items() if type(each).look is not Answer.look}


def hit_rate(kept: KeptAnswer | None, finding: str, method: str | None = None) -> dict[str, Any] | None:
    """Return what a bundle keeps of a method's hits of a finding, by default of the best method; None where nothing."""
    if kept is None or kept.maps is None:
        return None
    return kept.maps["findings"].get(finding, {}).get(method or kept.maps["default"])


def offered(measured: Mapping[str, Any] | None) -> bool:
    """Whether a map is worth showing: the interval of its gain over the middle of the picture lies above 0.

    Example:
        >>> offered({"gain_low": 0.02}), offered({"gain_low": -0.02}), offered(None)
        (True, False, False)
    """
    return measured is not None and measured["gain_low"] is not None and measured["gain_low"] > 0


def draw(
    model: VisionLanguageModel, prepared: Prepared, asked: str, denied: str, method: str | None
) -> tuple[Map, dict[str, Any] | None]:
    """Return the map of a finding, or of a sentence against its denial, and its measured hit rate.

    Args:
        model: at work.
        prepared: a picture of a file.
        asked: a finding, or the sentence.
        denied: what stands against the sentence; empty for a finding.
        method: a component of `medvlp.features.maps`; None: the bundle's best.

    Raises:
        ConfigError: for a method that there is not, or that this model cannot make.
        UserError: if there is no map of that.
    """
    pixels = prepared.pixels
    if not isinstance(pixels, Tensor) or prepared.record is None:
        raise UserError("A map is of a picture in a file: of a volume ask for the weights of its slices.")
    kept = {each.name: each for each in model.bundle.answers}
    for name, answer in {} if denied else looking(model).items():
        if asked in answer.labels:
            measured = kept[name].maps or {}
            chosen = method or measured.get("default", ANSWERS_OWN)
            spec = measured.get("methods", {}).get(chosen, None if method is None else {"name": method})
            prompts = next((each for each in answer.prompts if each.label == asked), None)
            if spec is not None and (prompts is None or not model.cosines):
                raise UserError(f"This model compares {asked!r} with no words: leave the method {chosen!r} out.")
            if spec is None or prompts is None:
                made = _own(model, answer, prepared, asked)
            else:
                words = direction_of(prompts.positive, prompts.negative, model.embed_text)
                made = _followed(model, pixels, words, spec)
            if made is not None:
                return made.placed(prepared.record), hit_rate(kept[name], asked, chosen)
    if not denied or not model.cosines:
        raise UserError(f"This model says nothing of where it looked for {asked!r}: ask for a finding that it scores.")
    known = next((each.maps for each in model.bundle.answers if each.maps is not None), None) or {}
    spec = {"name": method} if method else known.get("methods", {}).get(known.get("default"))
    words = direction_of([asked], [denied], model.embed_text)
    return _followed(model, pixels, words, spec or {"name": _UNMEASURED}).placed(prepared.record), None


def _own(model: VisionLanguageModel, answer: Answer, prepared: Prepared, finding: str) -> Map | None:
    found = answer.look(model.model, prepared.sample, model.begun(answer, Ask()), [(finding, "")])
    return None if found is None else found[0]


def _followed(model: VisionLanguageModel, pixels: Tensor, words: Words, spec: Mapping[str, Any]) -> Map:
    method = build("features/maps", spec, where="method")
    return method(model.model, pixels, words.on(method.scale)[None])[0]


def plain_map(made: Map, measured: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a map as plain data: its positive part in 255 steps of its largest value, over a box of the source.

    Example:
        >>> plain = plain_map(Map(np.array([[0.0, 2.0]]), (0, 0, 8, 4), "occlusion"), None)
        >>> plain["rows"], plain["columns"], list(base64.b64decode(plain["values"])), plain["box"]
        (1, 2, [0, 255], [0.0, 0.0, 8.0, 4.0])
    """
    there = np.maximum(made.values, 0)
    top = float(there.max())
    steps = np.rint(255 * there / top if top > 0 else there).astype(np.uint8)
    rows, columns = steps.shape
    return {
        "method": made.method,
        "rows": rows,
        "columns": columns,
        "values": base64.b64encode(np.ascontiguousarray(steps).tobytes()).decode(),
        "box": [float(each) for each in made.box or (0, 0, columns, rows)],
        "hit_rate": None if measured is None else dict(measured),
    }
