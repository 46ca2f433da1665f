"""Maps of where a model's scores come from, by the method that hit best on validation pictures; drawn on pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medvlp.answers.applied.decisions import Decisions
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.answers.asking.places import stem_of
from medvlp.answers.prompting.class_vectors import Words, direction_of, directions
from medvlp.core.answers import Answer, Ask
from medvlp.core.errors import UserError
from medvlp.core.files import written_whole
from medvlp.core.map import Map
from medvlp.core.predictions import Predictions
from medvlp.core.registry import build
from medvlp.core.sample import Sample
from medvlp.io.read import read_image
from medvlp.models.bundle import StoredAnswer

MOST = 10  # as many as the command prints
_OWN = "answer"  # the method of an answer that says itself where it looked
_UNMEASURED = {"name": "occlusion"}  # of words, where nobody measured maps: it asks nothing of the tower
_OPACITY = 0.6  # the strongest place still lets the picture through


def looking(model: VisionLanguageModel) -> dict[str, Answer]:
    """Return the answers that can say where they looked."""
    return {name: each for name, each in model.answers.items() if type(each).look is not Answer.look}


def refuse_maps(model: VisionLanguageModel, answers: Mapping[str, Answer], folder: Path) -> None:
    """Refuse maps of a model of volumes, of answers that have none, and where a file is in the way."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, and maps go to a folder: name another.")
    if model.model.vision_kind != "image" or all(type(each).look is Answer.look for each in answers.values()):
        raise UserError(
            "There are no maps of what this model says: they need a model of pictures and an answer that shows "
            "where it looked; leave --maps out, or choose another answer with --recipe."
        )


def hit_rate(stored: StoredAnswer | None, finding: str, method: str | None = None) -> dict[str, Any] | None:
    """Return what a bundle keeps of a method's hits of a finding, by default of its best; None where nothing."""
    if stored is None or stored.maps is None:
        return None
    return stored.maps["hits"].get(finding, {}).get(method or default_method(stored.maps, finding))


def default_method(maps: Mapping[str, Any], finding: str) -> str:
    """Return the map of a finding: the one that hit it best on validation pictures, else the best over findings.

    Example:
        >>> maps = {"default": "hires_cam", "best": {"edema": "occlusion"}}
        >>> default_method(maps, "edema"), default_method(maps, "mass"), default_method({}, "mass")
        ('occlusion', 'hires_cam', 'answer')
    """
    return maps.get("best", {}).get(finding, maps.get("default", _OWN))


def offered(measured: Mapping[str, Any] | None) -> bool:
    """Whether a map is worth showing: the interval of its gain over the middle of the picture lies above 0.

    Example:
        >>> offered({"gain_low": 0.02}), offered({"gain_low": -0.02}), offered(None)
        (True, False, False)
    """
    return measured is not None and measured["gain_low"] is not None and measured["gain_low"] > 0


def maps_of_findings(
    model: VisionLanguageModel,
    name: str,
    answer: Answer,
    sample: Sample,
    asked: Sequence[tuple[str, str]],
    method: str | None = None,
) -> list[Map] | None:
    """Return the maps of findings in one picture, placed in its file; the picture is encoded once for all of them.

    Args:
        model: a loaded bundle.
        name: of the answer.
        answer: it.
        sample: the picture as the model sees it.
        asked: (finding, place) each, as for `Answer.look`.
        method: a component of `medvlp.features.maps`; None: of each finding the one that hit it best on validation
            pictures, or where nobody measured that the answer's own.

    Returns:
        None where the answer has no such map.

    Raises:
        ConfigError: for a method that there is not, or that this model cannot make.
        UserError: for a method that follows words, of a finding that has none.
    """
    stored = next((each.maps for each in model.bundle.answers if each.name == name), None) or {}
    chosen = [method or default_method(stored, finding) for finding, _ in asked]
    measured, named = stored.get("methods", {}), None if method is None else {"name": method}
    specs = {name: measured.get(name, named) for name in dict.fromkeys(chosen)}
    record, pixels = sample.record(model.model.vision_kind), sample.fields.get("image")
    if None in specs.values() or any(place for _, place in asked):
        found = answer.look(model.model, sample, model.begun(answer, Ask()), asked)
    else:
        prompts = {each.label: each for each in answer.prompts}
        unsaid = [finding for finding, _ in asked if finding not in prompts]
        if unsaid or not model.cosines or not isinstance(pixels, Tensor):
            raise UserError(
                f"This model compares {(unsaid or ['pictures'])[0]!r} with no words: leave {chosen[0]!r} out."
            )
        words = directions([prompts[finding] for finding, _ in asked], model.embed_text)
        drawn: dict[str, Map] = {}
        for name, spec in specs.items():
            some = [finding for (finding, _), own in zip(asked, chosen, strict=True) if own == name]
            drawn |= zip(some, _followed(model, pixels, [words[finding] for finding in some], spec), strict=True)
        found = [drawn[finding] for finding, _ in asked]
    return None if found is None else [each.placed(record) for each in found]


def maps_of_words(model: VisionLanguageModel, sample: Sample, said: str, denied: str, method: str | None = None) -> Map:
    """Return the map of a sentence against its denial; arguments and errors as `maps_of_findings`."""
    pixels = sample.fields.get("image")
    if not model.cosines or not isinstance(pixels, Tensor):
        raise UserError("This model compares no pictures with sentences: ask for a finding that it scores.")
    stored = next((each.maps for each in model.bundle.answers if each.maps is not None), None) or {}
    spec = {"name": method} if method else stored.get("methods", {}).get(stored.get("default")) or _UNMEASURED
    words = direction_of([said], [denied], model.embed_text)
    return _followed(model, pixels, [words], spec)[0].placed(sample.record("image"))


def _followed(model: VisionLanguageModel, pixels: Tensor, words: Sequence[Words], spec: Mapping[str, Any]) -> list[Map]:
    method = build("features/maps", spec, where="method")
    return method(model.model, pixels, torch.stack([each.on(method.scale) for each in words]))


@dataclass(frozen=True)
class DrawnMap:
    """A file with a picture and, in colour, where the model looked.

    Attributes:
        label: finding.
        place: where, of a pair; empty elsewhere.
        path: PNG of the size of the source.
        peak: (x, y) of the middle of the strongest cell, in pixels of the source.
    """

    label: str
    place: str
    path: Path
    peak: tuple[float, float]

    def plain(self) -> dict[str, Any]:
        """Return the map as plain data for JSON."""
        where = {"anatomy": self.place} if self.place else {}
        return {"finding": self.label, **where, "map": str(self.path), "peak": [round(v, 1) for v in self.peak]}


def draw_maps(
    model: VisionLanguageModel,
    name: str,
    answer: Answer,
    stated: Sequence[tuple[str, str]],
    sample: Sample,
    source: Path,
    folder: Path,
    *,
    number: int,
    names: set[str],
) -> list[DrawnMap]:
    """Write a PNG for each thing that one picture is said to show: ``FOLDER/001_effusion_at_left_costophrenic.png``.

    Names carry the number of the picture and not its file's name, which may tell who it is of. Of what is there
    already, by another answer, the name tells by which answer it is, too.

    Args:
        model: a loaded bundle.
        name: of one of its answers.
        answer: it.
        stated: findings and their places, see `stated_of`.
        sample: the picture as the model sees it.
        source: its file.
        folder: made if absent.
        number: of the picture.
        names: of what was written of that picture, without suffix; those of its maps are added.
    """
    drawn: list[DrawnMap] = []
    if not stated or type(answer).look is Answer.look:
        return drawn
    found = maps_of_findings(model, name, answer, sample, stated)
    if found is None:
        return drawn
    shown = read_image(source, preset=model.preset)
    gray = shown.stored(shown.pixels)  # maps lie over the file's pixels
    for (label, place), looked in zip(stated, found, strict=True):
        words = f"{label}_at_{place}" if place else label
        twice = stem_of(number, words) in names
        names.add(stem := stem_of(number, f"{words}_by_{name}" if twice else words, names))
        path = folder / f"{stem}.png"
        with written_whole(path) as temporary:
            Image.fromarray(shown.hung(overlay(gray, looked))).save(temporary, format="PNG")
        drawn.append(DrawnMap(label, place, path, looked.peak(gray.shape[:2])))
    return drawn


def overlay(gray: np.ndarray, looked: Map) -> np.ndarray:
    """Return a picture (H, W) in [0, 1] with the positive part of a map over it in orange, uint8 (H, W, 3).

    Example:
        >>> left = Map(np.array([[1.0, 0.0]], np.float32), (0.0, 0.0, 8.0, 8.0))
        >>> overlay(np.zeros((8, 8), np.float32), left)[4, [0, 7]].tolist()
        [[153, 76, 0], [0, 0, 0]]
    """
    heat = np.maximum(looked.in_source(*gray.shape), 0)
    share = (_OPACITY * heat / max(float(heat.max()), 1e-12))[..., None]
    mixed = (1 - share) * gray[..., None] + share * np.array([1.0, 0.5, 0.0], np.float32)
    return np.rint(255 * mixed.clip(0, 1)).astype(np.uint8)


def stated_of(said: Predictions, decisions: Decisions | None) -> list[tuple[str, str]]:
    """Return at most ten findings, with their places or "", that an answer states of one picture, the surest first.

    A finding is stated where it is said to be present; of one without thresholds, at a score of 0.5.

    Args:
        said: of this picture alone.
        decisions: the answer's, where the bundle has them.

    Example:
        >>> from medvlp.statistics.conformal_sets import SetRule
        >>> said = Predictions(("a",), scores={"edema": np.array([0.6]), "effusion": np.array([0.7])})
        >>> rule = SetRule(0.9, 0.4, 0.65, positives=50, negatives=50)
        >>> stated_of(said, None), stated_of(said, Decisions({}, {"edema": rule}, {}))
        ([('effusion', ''), ('edema', '')], [('effusion', '')])
    """
    if said.pairs is not None:
        return [(label, place) for label, place, _ in said.pairs.stated(0, most=MOST)]
    there = sorted(
        ((name, float(values[0])) for name, values in (said.scores or {}).items()), key=lambda item: -item[1]
    )
    return [(name, "") for name, score in there if _is_stated(name, score, decisions)][:MOST]


def _is_stated(name: str, score: float, decisions: Decisions | None) -> bool:
    category = None if decisions is None else decisions.category(name, score)
    return score >= 0.5 if category is None else category == "present"
