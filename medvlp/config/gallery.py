"""Pictures for the page: representative positives with planted boxes and heat maps, and ranked reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medvlp.config.judge import Judge
from medvlp.core.errors import ConfigError
from medvlp.core.sample import ImageRecord, Sample, Stack
from medvlp.core.table import FeatureTable
from medvlp.data.prepare import Prepared
from medvlp.data.stacks import LazyStack, taken
from medvlp.evaluation.error_cases import error_cases, hardest_findings
from medvlp.evaluation.page.inputs import CHOSEN, Box, GalleryItem, RetrievalExample, RetrievalHit
from medvlp.evaluation.ranks import rank_queries
from medvlp.features.heat_map import heat_map
from medvlp.phantom.planted import Planted
from medvlp.prediction.findings import locate, mounted_streams
from medvlp.prediction.model import VisionLanguageModel
from medvlp.prediction.slices import slice_weights

__all__ = ["make_errors", "make_gallery", "make_retrieval_examples", "picture_of", "pictures"]

# Findings whose errors are shown.
_HARDEST = 3


def pictures(judge: Judge) -> tuple[list[GalleryItem], list[RetrievalExample]]:
    """Return the gallery and the retrieval examples of an evaluation."""
    scores = judge.zero_shot_scores() if judge.prompts else judge.existence_scores()
    known = {label: values for label, values in scores.items() if f"label.{label}" in judge.manifest}
    gallery = make_gallery(judge.model, judge.prepared, known, judge.truth, count=judge.options.gallery)
    gallery += make_errors(judge.model, judge.prepared, known, judge.truth, count=min(_HARDEST, judge.options.gallery))
    examples = []
    if "text/embedding" in judge.table.columns:
        first = ~pd.Series(judge.prepared.manifest.column("id.study")).duplicated().to_numpy()
        examples = make_retrieval_examples(judge.model, judge.prepared, judge.table, first)
    return gallery, examples


def make_gallery(
    model: VisionLanguageModel,
    prepared: Prepared,
    scores: Mapping[str, np.ndarray],
    truth: Planted | None,
    *,
    count: int,
) -> list[GalleryItem]:
    """Take for each finding the positive whose score is the median of its positives: neither the best nor the worst."""
    items = []
    for label, values in list(scores.items())[:count]:
        positive = np.flatnonzero(np.asarray(prepared.manifest.column(f"label.{label}"), dtype=float) == 1)
        if len(positive):
            index = int(positive[np.argsort(values[positive], kind="stable")[len(positive) // 2]])
            items.append(_item(model, prepared, index, label, float(values[index]), truth))
    return items


def make_errors(
    model: VisionLanguageModel,
    prepared: Prepared,
    scores: Mapping[str, np.ndarray],
    truth: Planted | None,
    *,
    count: int,
) -> list[GalleryItem]:
    """Take for the findings of lowest AUROC a hit, a miss, a false alarm and an undecided case, by `error_cases`."""
    columns = {n.removeprefix("label."): prepared.manifest.column(n) for n in prepared.manifest.names_of("label")}
    labels = {name: np.asarray(column, dtype=float) for name, column in columns.items()}
    asked = {name: values for name, values in scores.items() if name in labels and np.isfinite(values).all()}
    items = []
    for label in hardest_findings({name: labels[name] for name in asked}, asked, count=count):
        cases = error_cases(labels[label], asked[label])
        if cases is None:
            continue
        for chosen, index in zip(CHOSEN[1:], astuple(cases), strict=True):
            item = _item(model, prepared, index, label, float(asked[label][index]), truth)
            others = [name.replace("_", " ") for name, values in labels.items() if values[index] == 1 and name != label]
            here = item.truth or "present" if labels[label][index] == 1 else "absent"
            items.append(replace(item, truth=f"{here}; also {', '.join(others)}" if others else here, chosen=chosen))
    return items


def _item(
    model: VisionLanguageModel, prepared: Prepared, index: int, label: str, score: float, truth: Planted | None
) -> GalleryItem:
    sample = prepared.sample(index)
    record = prepared.manifest.record(index)
    stack = taken(sample.fields.get("stack"))
    notes: list[str] = []
    values = None
    if stack is not None:
        weights = slice_weights(model.model, stack)
        pixels = picture_of(sample, weights.shown)
        share = "" if weights.weights is None else f", weight {weights.weights[weights.shown]:.2f}"
        notes.append(f"slice {weights.shown + 1} of {len(stack.pixels)}{share}")
    else:
        pixels = picture_of(sample)
        try:
            values = _heat(model, pixels, label)
        except ConfigError as error:
            notes.append(f"no heat map: {error}")
    study = str(record.get("id.study", ""))
    boxes = record.get(f"boxes.{label}")
    drawn = boxes if isinstance(boxes, list) else ()
    planted = () if truth is None else truth.findings.get(study, ())
    words = ", ".join(" ".join(w for w in (f.side, f.lobe, f.severity) if w) for f in planted if f.name == label)
    return GalleryItem(
        image=_bytes(pixels),
        finding=label,
        score=score,
        boxes=_boxes(sample.record("image"), pixels, str(record.get("image", "")), label, truth, drawn),
        heat_map=values,
        truth=words,
        sentence="" if truth is None else truth.sentences.get((study, label), ""),
        note=", ".join([str(record[n]) for n in ("view_position", "site") if n in record] + notes),
    )


def _heat(model: VisionLanguageModel, pixels: Tensor, label: str) -> np.ndarray:
    """Return where the score comes from or, of a model that asks for findings, where it looked; the largest value 1."""
    if not model.bundle.zero_shot and mounted_streams(model.model) is not None:
        whole = ImageRecord(0, (0, 0, pixels.shape[-1], pixels.shape[-2]))
        found = locate(model.model, pixels[None], whole, observation=label)
        large = found.in_source(*pixels.shape[-2:])
        return large / max(float(large.max()), 1e-12)
    direction = torch.from_numpy(np.asarray(model.zero_shot.direction(label), dtype=np.float32))
    return heat_map(model.model, pixels[None], direction).resized(pixels.shape[-1])


def _boxes(
    record: ImageRecord | None, pixels: Tensor, path: str, label: str, truth: Planted | None, known: Sequence[Any]
) -> tuple[Box, ...]:
    if record is None:
        return ()
    drawn = [each.box for each in truth.boxes.get(path, ()) if each.name == label] if truth is not None else known
    left, top, right, bottom = record.box
    across, down = pixels.shape[-1] / (right - left), pixels.shape[-2] / (bottom - top)
    return tuple(
        Box((x0 - left) * across, (y0 - top) * down, (x1 - left) * across, (y1 - top) * down, label)
        for x0, y0, x1, y1 in drawn
    )


def make_retrieval_examples(
    model: VisionLanguageModel, prepared: Prepared, table: FeatureTable, first: np.ndarray, *, count: int = 4
) -> list[RetrievalExample]:
    """Take queries evenly over the studies, in order: not chosen by how well they went."""
    rows = np.flatnonzero(first & np.isfinite(table["text/embedding"]).all(1))
    images, texts = table[f"{model.model.pictures}/embedding"][rows], table["text/embedding"][rows]
    reports = [str(table.columns["text"][int(i)]) for i in rows]
    names = {text: i for i, text in enumerate(dict.fromkeys(" ".join(r.lower().split()) for r in reports))}
    group = np.array([names[" ".join(r.lower().split())] for r in reports])
    chosen = np.linspace(0, len(rows) - 1, num=min(count, len(rows))).astype(int)
    similarity = images[chosen] @ texts.T
    ranks = rank_queries(similarity, group[chosen], group)
    examples = []
    for at, query in enumerate(chosen):
        order = np.argsort(-similarity[at], kind="stable")[:5]
        hits = tuple(
            RetrievalHit(
                rank=r + 1, text=reports[c], score=float(similarity[at, c]), correct=bool(group[c] == group[query])
            )
            for r, c in enumerate(order)
        )
        examples.append(
            RetrievalExample(
                image=_bytes(picture_of(prepared.sample(int(rows[query])))),
                hits=hits,
                expected_rank=float(ranks.expected_rank()[at]),
                pool=len(rows),
                relevant=int(ranks.relevant[at]),
            )
        )
    return examples


def picture_of(sample: Sample, shown: int | None = None) -> Tensor:
    """Return (H, W) in [0, 1] of a prepared sample: its image, or one slice of its stack (the middle one by default).

    Raises:
        ConfigError: if the sample has no pixels.
    """
    image, stack = sample.fields.get("image"), sample.fields.get("stack")
    if isinstance(image, Tensor):
        return image[0]
    if isinstance(stack, LazyStack | Stack):
        one = taken(stack, [len(stack.position) // 2 if shown is None else shown])
        if one is not None and min(one.pixels.shape[-2:]) > 1:
            return one.pixels[0, 0]
    raise ConfigError("The preprocessing makes no pixels: a gallery needs a model of images or volumes.")


def _bytes(pixels: Tensor) -> np.ndarray:
    return np.rint(pixels.numpy() * 255).clip(0, 255).astype(np.uint8)
