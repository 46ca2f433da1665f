"""Grounding in an evaluation: maps of a bundle's findings against boxes and masks, baselines and tests of the maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medvlp.config.regions import Region, Regions
from medvlp.config.tree import GroundingConfig
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model
from medvlp.core.registry import build
from medvlp.core.sample import ImageRecord
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import Prepared
from medvlp.evaluation.grounding.baselines import centre_prior, constant_box, fit_constant_box
from medvlp.evaluation.grounding.case import Box, Case
from medvlp.evaluation.grounding.evaluate import evaluate_grounding, youden_threshold
from medvlp.evaluation.grounding.sanity import evaluate_sanity
from medvlp.evaluation.results import Result
from medvlp.features.maps import MapMethod
from medvlp.features.randomised import randomised
from medvlp.io.read import read_image
from medvlp.prediction.model import VisionLanguageModel, prompt_sets
from medvlp.prediction.zero_shot import unit_mean

__all__ = ["grounding_results"]

_DEFAULTS = ("hires_cam", "similarity")  # the first that the model can make
_STAGES = (0.25, 0.5, 0.75)
_TRAINING_PICTURES = 40  # of a finding, to fit the constant box: each is opened for its size


def grounding_results(
    model: VisionLanguageModel,
    prepared: Prepared,
    manifest: Manifest,
    open_split: Callable[[str], Prepared],
    *,
    options: GroundingConfig,
    split: str,
    seed: int,
    resamples: int,
    min_positives: int,
    recipe: str,
    synthetic: bool,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Result]:
    """Yield the results of every map, its sanity checks and the baselines; nothing where no region is known.

    Args:
        model: the bundle.
        prepared: what is judged.
        manifest: all of the data, to find the training boxes and the validation pictures.
        open_split: prepares another split.
        options: which maps, how many pictures.
        split: name of what is judged.
        seed: of the bootstrap and of random weights.
        resamples: over patients.
        min_positives: of a finding in the macro average.
        recipe: hash of the evaluation.
        synthetic: the data is synthetic.
        say: told why there is no grounding where regions are known.

    Raises:
        ConfigError: for a map that was asked for and cannot be made.
    """
    if model.model.pictures != "image" or not manifest.pictures or options.cases == 0:
        return
    words = _directions(model)
    regions = Regions(manifest)
    asked = [finding for finding in words if finding in regions.findings]
    questions = _questions(prepared, regions, asked, options.cases)
    if not any(question.region.present for question in questions):
        return
    methods = _methods(model, prepared, questions, words, options, say)
    if not methods:
        return
    there = set(manifest.column("split").tolist()) if "split" in manifest else set()
    tuning: list[_Question] = []
    validate = None
    if "validate" in there and split != "validate":
        validate = open_split("validate")
        tuning = _questions(validate, regions, asked, options.cases)
    facts = {"seed": seed, "recipe": recipe, "data": manifest.hash, "split": split, "synthetic": synthetic}
    measure = partial(evaluate_grounding, resamples=resamples, min_positives=min_positives, **facts)
    random = randomised(model.model, seed=seed)
    last: list[_Map] = []
    for name, method in methods.items():
        thresholds: dict[str, float] = {}
        if validate is not None:
            thresholds = _thresholds(_maps(method, model.model, validate, tuning, words, options))
        last = list(_maps(method, model.model, prepared, questions, words, options))
        of_random = list(_maps(method, random, prepared, questions, words, options))
        own = partial(measure, scale=method.scale)
        titled = {"name": f"grounding_{name}", "title": f"Grounding: {name}"}
        yield own((each.case() for each in last), thresholds=thresholds, **titled)
        titled = {"name": f"grounding_{name}_random", "title": f"Control: {name} of random weights"}
        yield own((each.case() for each in of_random), role="control", **titled)
        if options.sanity:
            some = [at for at, question in enumerate(questions) if question.region.present]
            some = [some[i] for i in _evenly(len(some), options.sanity)]
            stages = {}
            for share in _STAGES:
                other = randomised(model.model, share=share, seed=seed)
                again = _maps(method, other, prepared, [questions[at] for at in some], words, options)
                stages[f"top {share:.0%}"] = [each.values for each in again]
            stages["all"] = [of_random[at].values for at in some]
            yield evaluate_sanity(
                [last[at].values for at in some],
                stages,
                ids=[last[at].id for at in some],
                patients=[last[at].patient for at in some],
                findings=[last[at].question.finding for at in some],
                resamples=resamples,
                name=f"grounding_{name}_sanity",
                title=f"Sanity of the map {name}",
                **facts,
            )
    control = partial(measure, scale="peak", role="control")
    titled = {"name": "grounding_centre", "title": "Control: middle of the picture"}
    yield control((centre_prior(each.case()) for each in last), **titled)
    boxes = _training_boxes(open_split("train"), regions, asked) if "train" in there and split != "train" else {}
    if boxes:
        pooled = fit_constant_box([some for each in boxes.values() for some in each])
        fitted = {finding: fit_constant_box(each) for finding, each in boxes.items()}
        titled = {"name": "grounding_constant_box", "title": "Control: one training box"}
        cases = (constant_box(each.case(), fitted.get(each.question.finding, pooled)) for each in last)
        yield control(cases, **titled)


@dataclass(frozen=True)
class _Question:
    """A finding asked of a picture, and what is known of its place."""

    index: int
    finding: str
    region: Region


@dataclass(frozen=True, kw_only=True, eq=False)
class _Map:
    """The answer to a question; its case is as large as the picture and made when it is measured."""

    question: _Question
    id: str
    patient: str
    values: np.ndarray
    record: ImageRecord
    size: tuple[int, int]
    root: Path
    most_pixels: int

    def case(self) -> Case:
        return Case(
            id=self.id,
            patient=self.patient,
            finding=self.question.finding,
            values=self.values,
            view=self.record.box,
            size=self.size,
            boxes=self.question.region.boxes,
            mask=self.question.region.mask(self.root),
            flip=self.record.flip,
            most_pixels=self.most_pixels,
        )


@dataclass(frozen=True)
class _Words:
    """Vectors of a finding: of its presence, and from its absence to its presence."""

    positive: Tensor
    direction: Tensor


def _directions(model: VisionLanguageModel) -> dict[str, _Words]:
    found = {}
    for prompts in prompt_sets(model.bundle):
        positive, negative = (unit_mean(list(model.embed_text(t))) for t in (prompts.positive, prompts.negative))
        vectors = [torch.from_numpy(np.asarray(v, dtype=np.float32)) for v in (positive, positive - negative)]
        found[prompts.label] = _Words(*vectors)
    return found


def _questions(prepared: Prepared, regions: Regions, findings: Sequence[str], most: int) -> list[_Question]:
    """Return at most `most` pictures with and as many without each finding, evenly over the rows, by picture."""
    chosen = []
    for finding in findings:
        known = [(i, regions.of(prepared.manifest, i, finding)) for i in range(len(prepared))]
        for present in (True, False):
            some = [_Question(i, finding, region) for i, region in known if region and region.present == present]
            chosen += [some[at] for at in _evenly(len(some), most)]
    return sorted(chosen, key=lambda question: (question.index, question.finding))


def _evenly(count: int, most: int) -> list[int]:
    return [int(i) for i in np.linspace(0, count - 1, num=min(count, most)).round()]


def _methods(
    model: VisionLanguageModel,
    prepared: Prepared,
    questions: Sequence[_Question],
    words: Mapping[str, _Words],
    options: GroundingConfig,
    say: Callable[[str], None],
) -> dict[str, MapMethod]:
    """Build the maps that are asked for; by default the first of two that the model can make."""
    if options.maps is not None:
        found: dict[str, MapMethod] = {}
        for at, spec in enumerate(options.maps):
            name = str(spec.get("name"))
            key = name if name not in found else f"{name}_{at}"
            found[key] = build("features/maps", spec, where=f"evaluation.grounding.maps[{at}]")
        return found
    reasons = []
    for name in _DEFAULTS:
        method: MapMethod = build("features/maps", {"name": name}, where="evaluation.grounding.maps")
        try:
            next(_maps(method, model.model, prepared, questions[:1], words, options))
        except ConfigError as error:
            reasons.append(str(error))
        else:
            return {name: method}
    say(f"No grounding, this model makes no map: {' '.join(reasons)}")
    return {}


def _maps(
    method: MapMethod,
    model: Model,
    prepared: Prepared,
    questions: Sequence[_Question],
    words: Mapping[str, _Words],
    options: GroundingConfig,
) -> Iterator[_Map]:
    """Yield the map of every question; a picture is opened once for all that is asked of it."""
    manifest = prepared.manifest
    opened, size = None, (0, 0)
    image, record = None, None
    for question in questions:
        if question.index != opened:
            sample = prepared.sample(question.index)
            image, record = sample.fields.get("image"), sample.record("image")
            path = manifest.path(question.index)
            if not isinstance(image, Tensor) or record is None or path is None:
                raise ConfigError("Grounding needs images that a view of the preprocessing has read: set cases to 0.")
            opened, size = question.index, _size(path)
        assert isinstance(image, Tensor), "set with the first question"
        assert record is not None, "set with the first question"
        vectors = words[question.finding]
        found = method(model, image, vectors.positive if method.scale == "own" else vectors.direction)
        facts = manifest.record(question.index)
        yield _Map(
            question=question,
            id=str(facts["id"]),
            patient=str(facts["id.patient"]),
            values=found.values,
            record=record,
            size=size,
            root=manifest.root,
            most_pixels=options.most_pixels,
        )


@lru_cache(maxsize=8192)
def _size(path: Path) -> tuple[int, int]:
    height, width = read_image(path).pixels.shape[:2]
    return int(height), int(width)


def _thresholds(maps: Iterator[_Map]) -> dict[str, float]:
    """Return the strongest value of a map from which on each finding is said to be there."""
    peaks: dict[str, list[tuple[float, bool]]] = {}
    for each in maps:
        case = each.case()
        if not np.isnan(case.evidence).all():
            peaks.setdefault(case.finding, []).append((float(np.nanmax(case.evidence)), case.present))
    found = {}
    for finding, some in peaks.items():
        threshold = youden_threshold(np.array([peak for peak, _ in some]), np.array([there for _, there in some]))
        if threshold is not None:
            found[finding] = threshold
    return found


def _training_boxes(prepared: Prepared, regions: Regions, findings: Sequence[str]) -> dict[str, list[list[Box]]]:
    """Return the boxes of at most 40 training pictures a finding, in shares of the picture's sides."""
    found: dict[str, list[list[Box]]] = {}
    for question in _questions(prepared, regions, findings, _TRAINING_PICTURES):
        path = prepared.manifest.path(question.index)
        if not question.region.boxes or path is None:
            continue
        height, width = _size(path)
        some = [(x0 / width, y0 / height, x1 / width, y1 / height) for x0, y0, x1, y1 in question.region.boxes]
        found.setdefault(question.finding, []).append(some)
    return found
