"""Pictures for the page: representative positives with their boxes and heat maps, and ranked reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.answers.asking.slices import slice_weights
from medvlp.core.answers import Answer, Ask
from medvlp.core.errors import ConfigError
from medvlp.core.places import to_view
from medvlp.core.sample import ImageRecord
from medvlp.core.table import FeatureTable
from medvlp.data.prepare import Prepared
from medvlp.data.stacks import stack_of
from medvlp.evaluation.error_cases import error_cases, hardest_findings
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.shown import shown_pixels
from medvlp.evaluation.words import words_of
from medvlp.pages.inputs import CHOSEN, Box, GalleryItem, RetrievalExample, RetrievalHit
from medvlp.statistics.ranks import rank_queries

# Findings whose errors are shown.
_HARDEST = 3


def gallery_of(evaluation: Evaluation, *, count: int) -> tuple[list[GalleryItem], list[RetrievalExample]]:
    """Return the gallery, of `count` findings, of the first answer that gives scores, and examples of retrieval."""
    gallery: list[GalleryItem] = []
    scored = next(evaluation.giving("scores"), None)
    if scored is not None:
        _, answer, predictions = scored
        known = {n: values for n, values in (predictions.scores or {}).items() if f"label.{n}" in evaluation.manifest}
        asked = _Asked(evaluation.model, answer, evaluation.judged.prepared)
        gallery = [*_typical(asked, known, count=count), *_errors(asked, known, count=min(_HARDEST, count))]
    examples = []
    if evaluation.compares and "text/embedding" in evaluation.judged.table.columns:
        examples = _retrieval_examples(evaluation.model, evaluation.judged.prepared, evaluation.judged.table)
    return gallery, examples


@dataclass(frozen=True)
class _Asked:
    """An answer, and the pictures that it was asked about."""

    model: VisionLanguageModel
    answer: Answer
    prepared: Prepared

    @cached_property
    def begun(self) -> Any:  # noqa: ANN401
        return self.answer.begin(self.model.model, Ask())

    def labels(self, finding: str) -> np.ndarray:
        return np.asarray(self.prepared.manifest.column(f"label.{finding}"), dtype=float)

    def item(self, index: int, finding: str, score: float) -> GalleryItem:
        sample, record = self.prepared.sample(index), self.prepared.manifest.record(index)
        stack = stack_of(sample.fields.get("stack"))
        notes: list[str] = []
        values = None
        if stack is not None:
            weights = slice_weights(self.model.model, stack)
            pixels = shown_pixels(sample, weights.shown)
            share = "" if weights.weights is None else f", weight {weights.weights[weights.shown]:.2f}"
            notes.append(f"slice {weights.shown + 1} of {len(stack.pixels)}{share}")
        else:
            pixels = shown_pixels(sample)
            try:
                found = self.answer.look(self.model.model, sample, self.begun, [(finding, "")])
                values = None if found is None else found[0].resized(pixels.shape[-1])
            except ConfigError as error:
                notes.append(f"no heat map: {error}")
        seen = sample.record("image")
        return GalleryItem(
            image=_bytes(pixels),
            finding=finding,
            score=score,
            boxes=() if seen is None else _boxes(seen, pixels, finding, record.get(f"boxes.{finding}")),
            heat_map=values,
            truth=" ".join(w for n in ("side", "lobe", "severity") if (w := _words(record.get(f"{n}.{finding}")))),
            sentence=_words(record.get(f"sentence.{finding}")),
            note=", ".join([f"{words_of(n)} {record[n]}" for n in ("view_position", "site") if n in record] + notes),
        )


def _typical(asked: _Asked, scores: Mapping[str, np.ndarray], *, count: int) -> list[GalleryItem]:
    """Take for each finding the positive whose score is the median of its positives: neither the best nor the worst."""
    items = []
    for finding, values in list(scores.items())[:count]:
        positive = np.flatnonzero((asked.labels(finding) == 1) & np.isfinite(values))
        if len(positive):
            index = int(positive[np.argsort(values[positive], kind="stable")[len(positive) // 2]])
            items.append(asked.item(index, finding, float(values[index])))
    return items


def _errors(asked: _Asked, scores: Mapping[str, np.ndarray], *, count: int) -> list[GalleryItem]:
    """Take for the findings of lowest AUROC a hit, a miss, a false alarm and an undecided case, by `error_cases`."""
    names = [name.removeprefix("label.") for name in asked.prepared.manifest.names_of("label")]
    labels = {name: asked.labels(name) for name in names}
    scored = {name: values for name, values in scores.items() if name in labels and np.isfinite(values).all()}
    items = []
    for finding in hardest_findings({name: labels[name] for name in scored}, scored, count=count):
        cases = error_cases(labels[finding], scored[finding])
        if cases is None:
            continue
        for chosen, index in zip(CHOSEN[1:], astuple(cases), strict=True):
            item = asked.item(index, finding, float(scored[finding][index]))
            others = [n.replace("_", " ") for n, values in labels.items() if values[index] == 1 and n != finding]
            here = item.truth or "present" if labels[finding][index] == 1 else "absent"
            items.append(replace(item, truth=f"{here}; also {', '.join(others)}" if others else here, chosen=chosen))
    return items


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


def _boxes(record: ImageRecord, pixels: Tensor, finding: str, known: object) -> tuple[Box, ...]:
    """Return boxes of the file in the pixels of the view."""
    drawn: Sequence[Any] = known if isinstance(known, list) else ()
    if not drawn:
        return ()
    corners = to_view(torch.tensor(drawn), record, tuple(pixels.shape[-2:])).tolist()
    return tuple(Box(x0, y0, x1, y1, finding) for x0, y0, x1, y1 in corners)


def _retrieval_examples(model: VisionLanguageModel, prepared: Prepared, table: FeatureTable) -> list[RetrievalExample]:
    """Take queries evenly over the studies with picture and text, in order: not chosen by how well they went."""
    images, texts = table[f"{model.model.vision_kind}/embedding"], table["text/embedding"]
    rows = np.flatnonzero(np.isfinite(images).all(1) & np.isfinite(texts).all(1))
    rows = rows[~pd.Series(prepared.manifest.column("id.study")[rows]).duplicated().to_numpy()]
    images, texts = images[rows], texts[rows]
    reports = [str(table.columns["text"][int(i)]) for i in rows]
    group, _ = pd.factorize(np.array([" ".join(r.lower().split()) for r in reports], object))
    chosen = np.linspace(0, len(rows) - 1, num=min(4, len(rows))).astype(int)
    similarity = images[chosen] @ texts.T
    ranks = rank_queries(similarity, group[chosen], group)
    examples = []
    for at, query in enumerate(chosen):
        order = np.argsort(-similarity[at], kind="stable")[:5]
        right = group == group[query]
        hits = tuple(
            RetrievalHit(rank=r, text=reports[c], score=float(similarity[at, c]), correct=bool(right[c]))
            for r, c in enumerate(order, start=1)
        )
        examples.append(
            RetrievalExample(
                image=_bytes(shown_pixels(prepared.sample(int(rows[query])))),
                hits=hits,
                expected_rank=float(ranks.expected_rank()[at]),
                pool=len(rows),
                relevant=int(ranks.relevant[at]),
            )
        )
    return examples


def _bytes(pixels: Tensor) -> np.ndarray:
    return np.rint(pixels.numpy() * 255).clip(0, 255).astype(np.uint8)
