"""Rows that attacks are fitted on, and pictures with reports scored and embedded as they are and as they were moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medvlp.answers.asking.model import load
from medvlp.core.answers import Answer
from medvlp.core.attack import Perturbation
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import keys
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch, Sample
from medvlp.core.table import FeatureTable
from medvlp.data.collate import collate
from medvlp.data.prepare import Prepared
from medvlp.evaluation.evaluation import Evaluation, Part
from medvlp.evaluation.results import Metric
from medvlp.evaluation.robustness.evaluate import Condition
from medvlp.features.embed import in_groups
from medvlp.measures._attack_rows import Embedded, recall_rows
from medvlp.measures._changed_pictures import BATCH, ChangedPictures
from medvlp.measures._grounding_maps import evenly

_FIT_BATCH = 8


@dataclass(frozen=True)
class Attacked:
    """Asks an answer about some rows of what is judged, perturbed batch by batch."""

    evaluation: Evaluation
    answer: Answer
    cases: Sequence[int]

    def condition(self, group: str, perturb: Perturbation | None) -> tuple[Condition, Embedded]:
        """Return the scores, and the embeddings of images and texts, after an attack ``NAME=SIZE`` or as they are."""
        factor, _, level = group.partition("=")
        pieces: list[FeatureTable] = []

        def samples() -> Iterator[Sample]:
            for batch in batches_of(self.evaluation.judged.prepared, self.cases):
                moved = batch if perturb is None else perturb(batch)
                for name, pixels, text in zip(batch.ids, moved["image"].values, moved.strings("text"), strict=True):
                    yield Sample(name, {"image": pixels, "text": text})

        wanted = ("image/embedding", "text/embedding")
        found = ChangedPictures(self.evaluation, self.answer).condition(
            factor, level, self.cases, samples(), more=keys(*wanted), watch=lambda group, table: pieces.append(table)
        )
        image, text = (np.concatenate([table[key] for table in pieces]) for key in wanted)
        return found, Embedded(image, text)

    def recalls(self, seen: Embedded, moved: Embedded) -> list[Metric]:
        """Return what becomes of recalls."""
        judged = self.evaluation.judged
        reports = [str(judged.table.columns["text"][at]) for at in self.cases]
        patients = judged.manifest.take(np.array(self.cases)).column("id.patient").tolist()
        return recall_rows(seen, moved, reports, patients, **self.evaluation.drawn)


def fitted_on(evaluation: Evaluation) -> Part:
    """Return the validation part, else the training part, of patients that nothing is judged on.

    Raises:
        DataError: if there is none.
    """
    if evaluation.validation is not None:
        return evaluation.validation
    if "train" in evaluation.splits and evaluation.options.split != "train" and evaluation.knows_patients:
        part = evaluation.part("train")
        held, judged = (set(each.manifest.column("id.patient").tolist()) for each in (part, evaluation.judged))
        if not held & judged:
            return part
    raise DataError(
        "evaluation.measures.attacks fits on patients that nothing is judged on, of the split evaluation.fit or train; "
        f"the data has the splits {', '.join(sorted(evaluation.splits)) or 'none'}: name a split rule, or leave it out."
    )


def surrogate_of(path: str, evaluation: Evaluation) -> Model:
    """Return the model of another bundle that is shown the same pictures.

    Raises:
        ConfigError: if it is shown pictures of another size, or does not compare them with texts.
    """
    other, plain = load(path), np.zeros((64, 64), np.float32)
    shown = [each.prepare(plain).pixels for each in (other, evaluation.model)]
    sizes = {tuple(pixels.shape) for pixels in shown if isinstance(pixels, Tensor)}
    if len(sizes) != 1 or not other.cosines:
        raise ConfigError(
            f"evaluation.measures.attacks.surrogate {Path(path).name!r} must compare texts with pictures of the size "
            "that this model is shown, since attacks are made in the victim's pixels: choose another bundle."
        )
    return other.model


def whole_cases(prepared: Prepared, rows: Iterable[int], most: int) -> list[int]:
    """Return at most so many rows, evenly, that have an image and a text."""
    there = []
    for at in rows:
        fields = prepared.sample(at).fields
        if isinstance(fields.get("image"), Tensor) and str(fields.get("text", "")).strip():
            there.append(at)
    return [there[at] for at in evenly(len(there), most)]


def batches_of(prepared: Prepared, rows: Sequence[int], *, fit: bool = False) -> Iterator[Batch]:
    """Yield batches of rows with their image and text; those to fit on are small, and have labels too."""
    for some in in_groups(rows, _FIT_BATCH if fit else BATCH):
        samples = []
        for at in some:
            sample = prepared.sample(at)
            wanted = {n for n in sample.fields if n in ("image", "text") or (fit and n.startswith("label."))}
            samples.append(Sample(sample.id, {name: sample.fields[name] for name in wanted}))
        yield collate(samples, torch.tensor(some))
