"""Maps of findings on the pictures of a split: which are asked for, who draws them, and what is known of the place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medvlp.answers.prompting.class_vectors import Words
from medvlp.core.answers import Answer, Ask
from medvlp.core.errors import ConfigError
from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model
from medvlp.core.sample import ImageRecord, Sample
from medvlp.data.contents import Stamp, stamp_of
from medvlp.data.prepare import Prepared
from medvlp.evaluation.grounding.case import Box, Case
from medvlp.evaluation.grounding.evaluate import youden_threshold
from medvlp.evaluation.grounding.gain import CHOICE
from medvlp.evaluation.grounding.measures import pointing
from medvlp.evaluation.grounding.regions import Region, Regions
from medvlp.evaluation.results import ConfidenceInterval, Counts, Metric
from medvlp.features.maps import MapMethod
from medvlp.io.read import read_image

_TRAINING_PICTURES = 40  # of a finding, to fit the constant box: each is opened for its size


@dataclass(frozen=True)
class Question:
    """A finding asked of a picture, and what is known of its place."""

    index: int
    finding: str
    region: Region


@dataclass(frozen=True)
class Drawer:
    """Draws the maps of findings on the view that a model has of an image.

    Attributes:
        answer: name of the answer whose scores the maps are of.
        draw: a map a finding; ConfigError if this model makes no such map.
        scale: how its values are read, see `medvlp.core.map`.
        spec: component of `medvlp.features.maps` with its options; None where the answer itself looks.
    """

    answer: str
    draw: Callable[[Model, Sample, Sequence[str]], list[Map]]
    scale: Scale = "peak"
    spec: Mapping[str, Any] | None = None


def by_method(answer: str, method: MapMethod, words: Mapping[str, Words], spec: Mapping[str, Any]) -> Drawer:
    """Return the drawer of a component of `medvlp.features.maps`, by the words of findings."""

    def draw(model: Model, sample: Sample, findings: Sequence[str]) -> list[Map]:
        image = sample.fields["image"]
        assert isinstance(image, Tensor), "checked when the sample was read"
        return method(model, image, torch.stack([words[name].on(method.scale) for name in findings]))

    return Drawer(answer, draw, method.scale, spec)


def by_answer(name: str, answer: Answer) -> Drawer:
    """Return the drawer of what an answer itself says of where its score comes from."""
    begun: dict[int, tuple[Model, Any]] = {}  # holds the model: its id stays

    def draw(model: Model, sample: Sample, findings: Sequence[str]) -> list[Map]:
        if id(model) not in begun:
            begun[id(model)] = model, answer.begin(model, Ask())
        maps = answer.look(model, sample, begun[id(model)][1], [(finding, "") for finding in findings])
        if maps is None:
            raise ConfigError("Its answer does not say where it looked.")
        return maps

    return Drawer(name, draw)


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnMap:
    """The answer to a question; its case is as large as the picture and made when it is measured."""

    question: Question
    id: str
    patient: str
    values: np.ndarray
    record: ImageRecord
    size: tuple[int, int]
    root: Path
    most_pixels: int

    def case(self) -> Case:
        """Return the map beside the place."""
        return Case(
            id=self.id,
            patient=self.patient,
            finding=self.question.finding,
            values=Map(self.values).placed(self.record).values,
            view=self.record.box,
            size=self.size,
            boxes=self.question.region.boxes,
            mask=self.question.region.mask(self.root),
            most_pixels=self.most_pixels,
        )


def questions_of(prepared: Prepared, regions: Regions, findings: Sequence[str], most: int) -> list[Question]:
    """Return at most `most` pictures with and as many without each finding, evenly over the rows, by picture."""
    chosen, pictures = [], [i for i in range(len(prepared)) if prepared.manifest.value("image", i)]
    for finding in findings:
        known = [(i, regions.of(prepared.manifest, i, finding)) for i in pictures]
        for present in (True, False):
            some = [Question(i, finding, region) for i, region in known if region and region.present == present]
            chosen += [some[at] for at in evenly(len(some), most)]
    return sorted(chosen, key=lambda question: (question.index, question.finding))


def evenly(count: int, most: int) -> list[int]:
    """Return at most `most` places of `count`, evenly.

    Example:
        >>> evenly(5, 3)
        [0, 2, 4]
    """
    return [int(i) for i in np.linspace(0, count - 1, num=min(count, most)).round()]


def maps_of(
    drawer: Drawer, model: Model, prepared: Prepared, questions: Sequence[Question], most_pixels: int
) -> Iterator[DrawnMap]:
    """Yield the map of every question; a picture is opened once for all that is asked of it.

    Raises:
        ConfigError: if the model makes no such map, or the preprocessing reads no pictures.
    """
    manifest = prepared.manifest
    for index, group in groupby(questions, key=lambda question: question.index):
        asked = list(group)
        sample = prepared.sample(index)
        record, path = sample.record("image"), manifest.path(index)
        if not isinstance(sample.fields.get("image"), Tensor) or record is None or path is None:
            raise ConfigError(
                "Grounding needs images that a view of the preprocessing has read: set evaluation.measures.grounding "
                "to null."
            )
        facts, size = manifest.record(index), _size(path, stamp_of(path))
        for question, made in zip(asked, drawer.draw(model, sample, [each.finding for each in asked]), strict=True):
            yield DrawnMap(
                question=question,
                id=str(facts["id"]),
                patient=str(facts["id.patient"]),
                values=made.values,
                record=record,
                size=size,
                root=manifest.root,
                most_pixels=most_pixels,
            )


def choice_rows(maps: Sequence[DrawnMap], *, split: str) -> list[Metric]:
    """Return the pointing game on validation pictures, by which maps are chosen: of each finding, and their mean."""
    hits: dict[str, list[float]] = {}
    people: dict[str, set[str]] = {}
    for each in maps:
        case = each.case()
        if case.present:
            hits.setdefault(case.finding, []).append(pointing(case.evidence, case.region))
            people.setdefault(case.finding, set()).add(each.patient)
    if not hits:
        return []
    rate = {finding: float(np.mean(some)) for finding, some in hits.items()}

    def row(label: str, value: float, counts: Counts) -> Metric:
        interval = ConfidenceInterval(method="none", form="none")
        return Metric(
            metric=CHOICE, label=label, value=value, counts=counts, interval=interval, split=split, policy="none"
        )

    rows = [row(f, rate[f], Counts(n=len(hits[f]), patients=len(people[f]))) for f in sorted(hits)]
    patients = len(set.union(*people.values()))
    counts = Counts(n=sum(map(len, hits.values())), patients=patients, labels_used=len(hits))
    return [*rows, row("macro", float(np.mean(list(rate.values()))), counts)]


def thresholds_of(maps: Iterator[DrawnMap]) -> dict[str, float]:
    """Return the strongest value of a map from which on each finding is said to be there."""
    peaks: dict[str, list[tuple[float, bool]]] = {}
    for each in maps:
        case = each.case()
        if not np.isnan(case.evidence).all():
            peaks.setdefault(case.finding, []).append((float(np.nanmax(case.evidence)), case.present))
    found = {finding: youden_threshold(*map(np.array, zip(*some, strict=True))) for finding, some in peaks.items()}
    return {finding: threshold for finding, threshold in found.items() if threshold is not None}


def training_boxes(prepared: Prepared, regions: Regions, findings: Sequence[str]) -> dict[str, list[list[Box]]]:
    """Return the boxes of at most 40 training pictures a finding, in shares of the picture's sides."""
    found: dict[str, list[list[Box]]] = {}
    for question in questions_of(prepared, regions, findings, _TRAINING_PICTURES):
        path = prepared.manifest.path(question.index)
        if not question.region.boxes or path is None:
            continue
        height, width = _size(path, stamp_of(path))
        some = [(x0 / width, y0 / height, x1 / width, y1 / height) for x0, y0, x1, y1 in question.region.boxes]
        found.setdefault(question.finding, []).append(some)
    return found


@lru_cache(maxsize=8192)
def _size(path: Path, stamp: Stamp | None) -> tuple[int, int]:
    """Height and width as the file stores them, in whose pixels regions are drawn; kept by its `stamp` too."""
    image = read_image(path)
    height, width = image.stored(image.pixels).shape[:2]
    return int(height), int(width)
